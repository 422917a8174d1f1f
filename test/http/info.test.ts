import { describe, expect, test } from "bun:test"
import { mkdirSync, writeFileSync } from "node:fs"
import type { NodeInfo } from "../../src/http/status/info.ts"
import type { ReplicaStream } from "../../src/http/streams/replica-stream.ts"
import { posOf, StatusNode } from "../support/status-node.ts"

/** Gives the database a file whose header says its journal mode. */
function writeHeader(node: StatusNode, database: string, version: number): void {
  const header = new Uint8Array(100)
  header[18] = header[19] = version
  mkdirSync(node.dataDir.databaseDir(database), { recursive: true })
  writeFileSync(node.dataDir.path(database, "database"), header)
}

function connect(node: StatusNode, name: string, sent: Record<string, number>): void {
  const stream = {
    replica: { id: "00000000000000CD", name, connectedMs: node.nowMs },
    leftOut: new Set(),
    sent: new Map(Object.entries(sent).map(([database, txid]) => [database, posOf(txid)])),
    isWanted: (database: string) => database !== "gone.db",
  }
  node.streams.add(stream as unknown as ReplicaStream)
}

async function infoOf(node: StatusNode): Promise<NodeInfo> {
  return (await (await node.get("/info")).json()) as NodeInfo
}

describe("GET /info", () => {
  test("begins as the original's does, on a primary", async () => {
    await using node = await StatusNode.start()
    const response = await node.get("/info")
    expect(response.headers.get("content-type")).toBe("application/json")
    const text = await response.text()
    expect(text).toStartWith(`{
  "clusterID": "LFSC0000000000000001",
  "isPrimary": true,
  "candidate": true,
  "path": "/data",
  "primary": {
    "hostname": "one",
    "advertiseURL": "http://one:20202"
  },
`)
    expect(text).toEndWith("}\n")
  })

  test("tells a primary's databases and replicas", async () => {
    await using node = await StatusNode.start()
    node.commit("w.db", 5)
    node.commit("a.db", 3, { commit: 7 })
    node.commit("gone.db", 2, { commit: 0 })
    writeHeader(node, "w.db", 2)
    writeHeader(node, "a.db", 1)
    connect(node, "two", { "w.db": 5, "a.db": 1, "made-up.db": 9 })
    node.api.status.markReady()
    const info = await infoOf(node)
    expect(info).toMatchObject({
      id: "00000000000000AB",
      version: "9.8.7",
      mount: "/litefs",
      role: "primary",
      isReady: true,
      isConnected: true,
      lag: { ms: 0, transactions: 0, bytes: 0 },
    })
    const databases = info.databases.map((database) => [
      database.name,
      database.position,
      database.pageCount,
      database.size,
      database.journalMode,
    ])
    expect(databases).toEqual([
      ["a.db", "0000000000000003/8000000000000003", 7, 28672, "rollback"],
      ["gone.db", "0000000000000002/8000000000000002", 0, 0, null],
      ["w.db", "0000000000000005/8000000000000005", 2, 8192, "wal"],
    ])
    expect(info.replicas).toEqual([
      {
        id: "00000000000000CD",
        hostname: "two",
        connectedAt: new Date(node.nowMs).toISOString(),
        lag: { transactions: 2 }, // of a.db; it does not want gone.db
        databases: [
          { name: "a.db", position: "0000000000000001/8000000000000001" },
          { name: "w.db", position: "0000000000000005/8000000000000005" },
        ],
        leftOut: [],
      },
    ])
  })

  test("tells what a replica knows of its primary and its lag", async () => {
    await using node = await StatusNode.start("replica")
    const before = await infoOf(node)
    expect(before).toMatchObject({
      isPrimary: false,
      candidate: false,
      primary: { hostname: "", advertiseURL: "http://zero:20202" },
      isReady: false,
      isConnected: false,
      lag: { ms: null },
    })
    node.api.setPrimaryName("zero")
    node.commit("a.db", 3)
    await node.heartbeat()
    node.progress?.head("a.db", 10n)
    node.clock.advance(400)
    const after = await infoOf(node)
    expect(after).toMatchObject({ primary: { hostname: "zero" }, isConnected: true })
    expect(after.lag).toEqual({ ms: 400, transactions: 7, bytes: 0 })
    expect(after.databases[0]?.lag).toEqual({ ms: 400, transactions: 7, bytes: 0 })
  })

  test("refuses parameters, which it has none of", async () => {
    await using node = await StatusNode.start()
    const response = await node.get("/info?databases=0")
    expect(response.status).toBe(400)
    expect(await response.text()).toContain('Cannot use parameter "databases"')
  })
})
