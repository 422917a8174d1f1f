import { describe, expect, test } from "bun:test"
import { mkdirSync } from "node:fs"
import type { ReplicaStream } from "../../src/http/streams/replica-stream.ts"
import { Column } from "../../src/store/counters.ts"
import { posOf, StatusNode } from "../support/status-node.ts"

/** Checks the form of every line, and returns the samples by name and labels. */
async function samplesOf(node: StatusNode): Promise<Map<string, number>> {
  const response = await node.get("/metrics")
  expect(response.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8")
  const samples = new Map<string, number>()
  let family = ""
  for (const line of (await response.text()).trimEnd().split("\n")) {
    const comment = /^# (HELP|TYPE) ([a-z_]+) (.+)$/.exec(line)
    if (comment !== null) {
      if (comment[1] === "HELP") family = comment[2] as string
      else expect(comment[3]).toMatch(/^(counter|gauge|histogram)$/)
      continue
    }
    const sample = /^([a-z_]+)(\{[a-z]+="[^"]*"(?:,[a-z]+="[^"]*")*\})? (\S+)$/.exec(line)
    expect(sample, line).not.toBeNull()
    expect(sample?.[1]).toStartWith(family)
    const key = `${sample?.[1]}${sample?.[2] ?? ""}`
    expect(samples.has(key), `${key} is there once`).toBe(false)
    samples.set(key, Number(sample?.[3]))
  }
  return samples
}

describe("GET /metrics", () => {
  test("tells a primary's databases under the original's names", async () => {
    await using node = await StatusNode.start()
    node.commit("a.db", 12)
    node.commit("b.db", 1)
    node.counters.add(0, Column.WAL_WRITES, 40)
    node.counters.add(0, Column.COMMITS, 12)
    node.counters.add(1, Column.JOURNAL_WRITES, 3)
    node.api.ltx.counted("a.db", { count: 20, size: 5000 })
    node.counters.add(0, Column.COMMITS, 2)
    node.counters.add(0, Column.LTX_BYTES, 300)
    node.api.countReaped("a.db", 4)
    node.api.countReaped("a.db", 5)
    const samples = await samplesOf(node)
    const expected = {
      litefs_db_count: 2,
      litefs_is_primary: 1,
      litefs_subscriber_count: 0,
      litefs_lag_seconds: 0,
      'litefs_db_txid{db="a.db"}': 12,
      'litefs_db_txid{db="b.db"}': 1,
      'litefs_db_database_write_count{db="a.db"}': 0,
      'litefs_db_journal_write_count{db="b.db"}': 3,
      'litefs_db_wal_write_count{db="a.db"}': 40,
      'litefs_db_shm_write_count{db="a.db"}': 0,
      'litefs_db_commit_count{db="a.db"}': 14,
      'litefs_db_ltx_count{db="a.db"}': 22,
      'litefs_db_ltx_bytes{db="a.db"}': 5300,
      'litefs_db_ltx_reap_count{db="a.db"}': 9,
      'litefs_db_ltx_reap_count{db="b.db"}': 0,
      'litefs_db_lag_seconds{db="a.db"}': 0,
      'litefs_db_size_bytes{db="a.db"}': 8192,
      litefs_http_stream_count: 0,
    }
    for (const [name, value] of Object.entries(expected))
      expect([name, samples.get(name)]).toEqual([name, value])
    expect(samples.get("process_resident_memory_bytes")).toBeGreaterThan(1e6)
    expect(samples.get('litefs_thread_heap_bytes{thread="main"}')).toBeGreaterThan(1e5)
  })

  test("tells what is sent to replicas, and merges those of one name", async () => {
    await using node = await StatusNode.start()
    node.commit("a.db", 12)
    for (const [name, txid] of [
      ["two", 12],
      ["two", 3],
      ["three", 11],
    ] as const) {
      const replica = { id: undefined, name, connectedMs: 0 }
      const stream = { replica, sent: new Map([["a.db", posOf(txid)]]), isWanted: () => true }
      node.streams.add(stream as unknown as ReplicaStream)
    }
    node.totals.frame("a.db", "ltx")
    node.totals.frame("a.db", "ltx")
    node.totals.frame("a.db", "ltx:snapshot")
    node.totals.bytes(5000)
    const samples = await samplesOf(node)
    expect(samples.get("litefs_http_stream_count")).toBe(3)
    expect(samples.get('litefs_http_frame_send_count{db="a.db",type="ltx"}')).toBe(2)
    expect(samples.get('litefs_http_frame_send_count{db="a.db",type="ltx:snapshot"}')).toBe(1)
    expect(samples.get("litefs_stream_sent_bytes_total")).toBe(5000)
    expect(samples.get('litefs_replica_lag_transactions{replica="two",db="a.db"}')).toBe(9)
    expect(samples.get('litefs_replica_lag_transactions{replica="three",db="a.db"}')).toBe(1)
  })

  test("tells a replica's lag and what it has applied", async () => {
    await using node = await StatusNode.start("replica")
    node.commit("a.db", 12)
    await node.heartbeat()
    node.progress?.head("a.db", 15n)
    node.clock.advance(250)
    const applied = node.progress?.applied(1)
    node.progress?.write(1, "a.db", new Uint8Array(70), true, () => {})
    const during = await samplesOf(node)
    expect(during.get('litefs_db_lag_bytes{db="a.db"}')).toBe(70)
    node.applies.resolve()
    await applied
    mkdirSync(node.dataDir.divergedDir("then-a.db-there"), { recursive: true })
    const samples = await samplesOf(node)
    expect(samples.get("litefs_is_primary")).toBe(0)
    expect(samples.get("litefs_lag_seconds")).toBe(0.25)
    expect(samples.get('litefs_db_age_seconds{db="a.db"}')).toBe(0.25)
    expect(samples.get('litefs_db_lag_seconds{db="a.db"}')).toBe(0)
    expect(samples.get('litefs_db_lag_transactions{db="a.db"}')).toBe(3)
    expect(samples.get('litefs_db_lag_bytes{db="a.db"}')).toBe(0)
    expect(samples.get('litefs_db_received_bytes_total{db="a.db"}')).toBe(70)
    expect(samples.get('litefs_db_apply_count{db="a.db"}')).toBe(1)
    expect(samples.get("litefs_apply_seconds_count")).toBe(1)
    expect(samples.get("litefs_diverged_count")).toBe(1)
    expect(samples.has("litefs_commit_seconds_count")).toBe(false)
  })

  test("tells the requests of the kernel by their names", async () => {
    await using node = await StatusNode.start()
    node.counters.requests[15] = 7
    node.counters.requests[63] = 1
    const samples = await samplesOf(node)
    expect(samples.get('litefs_fuse_request_count{op="read"}')).toBe(7)
    expect(samples.get('litefs_fuse_request_count{op="63"}')).toBe(1)
    expect(samples.has('litefs_fuse_request_count{op="write"}')).toBe(false)
  })

  test("refuses parameters", async () => {
    await using node = await StatusNode.start()
    expect((await node.get("/metrics?name[]=up")).status).toBe(400)
  })
})
