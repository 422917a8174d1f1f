/**
 * The link between a real primary side and a real replica side, broken at bytes of what the primary sends: the
 * response's head, HTTP chunks, frames, LTX files. However it breaks, the replica ends up with the same pages. One
 * byte in six, by chance; all of them with LITEFS_ALL_FAULTS.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import { writeFileSync } from "node:fs"
import { SILENCE_MS_MAX } from "../../src/cluster/replica/incoming-stream.ts"
import { Replica } from "../../src/cluster/replica/replica.ts"
import { ApiServer } from "../../src/http/server/server.ts"
import { handleStream, type StreamContext } from "../../src/http/streams/stream.ts"
import { type Clock, systemClock } from "../../src/lib/clock.ts"
import { ChecksumAccumulator } from "../../src/ltx/checksum.ts"
import type { Pos } from "../../src/ltx/pos.ts"
import { Positions } from "../../src/store/positions.ts"
import { FaultProxy, type Plan } from "../support/fault-proxy.ts"
import { LogDirectory } from "../support/log-directory.ts"
import { LogLines } from "../support/log-lines.ts"
import { type LtxPage, ltxFile, page } from "../support/ltx-file.ts"
import { MemorySink } from "../support/memory-sink.ts"
import { testRandom } from "../support/random.ts"

const random = testRandom()

/** How many transactions each database has: few come one by one, many as one file. */
const TXIDS: Readonly<Record<string, number>> = { "app.db": 4, "b.db": 12 }
const NAMES = Object.keys(TXIDS)
const FILE_COUNT = 4 // after transaction 1

/**
 * Pauses are a hundred times as short, or they would take hours. What waits for a sign of life gets a second: one that
 * a busy machine lets pass would break links of its own, at bytes that are not those of the plan.
 */
const FAST: Clock = {
  ...systemClock,
  after: (delayMs, callback) => {
    return systemClock.after(delayMs / (delayMs < SILENCE_MS_MAX ? 100 : 5), callback)
  },
}

/** Transaction n writes page n. */
function posOf(name: string, txid: number): Pos {
  const sum = new ChecksumAccumulator().reset()
  for (const { pgno, data } of pagesOf(name, txid)) sum.togglePage(pgno, data)
  return { txid: BigInt(txid), checksum: sum.checksum }
}

function txidsOf(name: string): number {
  return TXIDS[name] ?? 0
}

function pagesOf(name: string, txid: number): LtxPage[] {
  return Array.from({ length: txid }, (_, i) => page(i + 1, i + 1 + name.length * 16))
}

/** `count` transactions of each database; each changes one page. */
class Primary implements AsyncDisposable {
  readonly directory = new LogDirectory(...NAMES)
  readonly #server: ApiServer
  readonly #log = new LogLines()
  port = 0

  constructor() {
    const positions = Positions.create()
    for (const name of NAMES) {
      const count = txidsOf(name)
      for (let txid = 1; txid <= count; txid++) this.#commit(name, txid)
      const state = { pos: posOf(name, count), timestampMs: 0, pageSize: 512, commit: count }
      positions.write(positions.add(name), state, state.pos)
    }
    const context: StreamContext = {
      positions,
      dataDir: this.directory.dataDir,
      clock: FAST,
      stallMs: 10_000,
      snapshots: {
        snapshot: async (name) => {
          return { pos: posOf(name, txidsOf(name)), size: 0, parts: whole(name) }
        },
      },
      streams: new Set(),
      onChange: () => () => {},
    }
    this.#server = new ApiServer(
      { "/stream": { POST: (request, response) => handleStream(context, request, response) } },
      {
        headers: { "Litefs-Id": "0000000000000008" },
        authToken: undefined,
        tls: undefined,
        clock: FAST,
      },
    )
  }

  async listen(): Promise<void> {
    this.port = await this.#server.listen({ host: "127.0.0.1", port: 0 })
  }

  #commit(name: string, txid: number): void {
    const header = {
      minTxid: BigInt(txid),
      maxTxid: BigInt(txid),
      preApplyChecksum: txid === 1 ? 0n : posOf(name, txid - 1).checksum,
    }
    const postApplyChecksum = posOf(name, txid).checksum
    const bytes = ltxFile({ header, pages: pagesOf(name, txid).slice(-1), postApplyChecksum })
    writeFileSync(this.directory.ltxPath(name, txid), bytes)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.close()
    this.directory[Symbol.dispose]()
    this.#log[Symbol.dispose]()
  }
}

/** The snapshot of a database, in pieces. */
async function* whole(name: string): AsyncGenerator<Uint8Array> {
  const bytes = ltxFile({
    header: { minTxid: 1n, maxTxid: BigInt(txidsOf(name)) },
    pages: pagesOf(name, txidsOf(name)),
  })
  for (let at = 0; at < bytes.length; at += 100) yield bytes.subarray(at, at + 100)
}

let primary: Primary
beforeAll(async () => {
  primary = new Primary()
  await primary.listen()
})
afterAll(() => primary[Symbol.asyncDispose]())

/** Follows through a link with the plan until everything is there. Returns what came down before the plan. */
async function follow(plan: Plan | undefined, startTxid: number): Promise<number> {
  await using proxy = await FaultProxy.start(primary.port)
  if (plan !== undefined) proxy.plan(plan)
  const sink = new MemorySink()
  for (const name of startTxid === 0 ? [] : NAMES) {
    const pages = new Map(pagesOf(name, startTxid).map(({ pgno, data }) => [pgno, data]))
    sink.databases.set(name, { pos: posOf(name, startTxid), pages })
  }
  const replica = new Replica({
    primaryUrl: proxy.url,
    headers: {},
    clock: FAST,
    sink,
    positions: () => sink.positions(),
    onPrimary: () => {},
    onClusterId: () => {},
  })
  await replica.ready
  await replica.close()
  for (const name of NAMES) {
    const { pos, pages } = sink.databases.get(name) ?? { pos: undefined, pages: new Map() }
    expect(pos).toEqual(posOf(name, txidsOf(name)))
    const expected = pagesOf(name, txidsOf(name)).map(({ data }) => data)
    const found = [...pages].sort(([a], [b]) => a - b).map(([, data]) => data)
    expect(Buffer.concat(found).equals(Buffer.concat(expected))).toBe(true)
  }
  // Nothing is asked for twice, and nothing is left out.
  if (startTxid > 0) expect(sink.applications.length).toBe(FILE_COUNT)
  if (plan !== undefined) expect(proxy.connectionCount).toBeGreaterThan(1)
  return proxy.downSize
}

const AT_ONCE = 16
const EVERY = 6

describe.each([
  ["the files that it lacks", 1],
  ["snapshots", 0],
] as const)("a replica that is sent %s", (_, startTxid) => {
  test.each(["cut", "truncate"] as const)(
    "has everything in the end, whichever byte the link is %p at",
    async (how) => {
      const size = await follow(undefined, startTxid)
      expect(size).toBeGreaterThan(500)
      // The last bytes may be a heartbeat, after which it has everything.
      const bytes = [...random.places(size - 60, EVERY)]
      for (let at = 0; at < bytes.length; at += AT_ONCE) {
        const some = bytes.slice(at, at + AT_ONCE)
        await Promise.all(some.map((byte) => follow({ byte, how }, startTxid)))
      }
    },
    120_000,
  )

  test("notices a link that holds everything back, at any byte", async () => {
    const size = await follow(undefined, startTxid)
    const bytes = Array.from({ length: 40 }, (_, i) => Math.floor((i * (size - 60)) / 40))
    await Promise.all(bytes.map((byte) => follow({ byte, how: "hold" }, startTxid)))
  }, 60_000)
})
