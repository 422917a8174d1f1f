import { describe, expect, test } from "bun:test"
import { EventEmitter } from "node:events"
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import type { IncomingMessage, ServerResponse } from "node:http"
import { connect } from "node:net"
import { PassThrough } from "node:stream"
import { BodyWriter } from "../../src/http/server/body-writer.ts"
import { ApiServer } from "../../src/http/server/server.ts"
import { LeftOutDatabases } from "../../src/http/streams/left-out-databases.ts"
import { neededTxid, ReplicaStream } from "../../src/http/streams/replica-stream.ts"
import { NO_WANTS, type Wants, wantsOf } from "../../src/http/streams/replica-wants.ts"
import type { Snapshot } from "../../src/http/streams/snapshot-source.ts"
import { handleStream, type StreamContext } from "../../src/http/streams/stream.ts"
import { StreamTotals } from "../../src/http/streams/stream-counters.ts"
import { decodeLtxHeader } from "../../src/ltx/header.ts"
import type { Pos } from "../../src/ltx/pos.ts"
import { RecentTransactions } from "../../src/store/ltx/recent-transactions.ts"
import { Positions } from "../../src/store/positions.ts"
import { DatabaseFilter } from "../../src/wire/database-filter.ts"
import { encodePositionMap } from "../../src/wire/position-map.ts"
import { StreamDecoder } from "../../src/wire/stream-decoder.ts"
import { concat } from "../support/bytes.ts"
import { IdleClock } from "../support/idle-clock.ts"
import { LogDirectory } from "../support/log-directory.ts"
import { LogLines } from "../support/log-lines.ts"
import { decodeLtxFile, ltxFile, page } from "../support/ltx-file.ts"
import { testRandom } from "../support/random.ts"
import { until } from "../support/until.ts"

const random = testRandom()
const FLAG = 1n << 63n
const WANTS_ALL: Wants = { ...NO_WANTS, catalogue: true, canResume: true }
const SOON = { everyMs: 0 }
const LTX_3 = "/0000000000000003-0000000000000003.ltx"

/** A response whose reader is as fast as the test says. */
class FakeResponse extends EventEmitter {
  writableNeedDrain = false
  isSlow = false
  headersSent = false
  readonly events: string[] = []
  heartbeatMs = -1 // what the last one says
  readonly files: Uint8Array[] = []
  #parts: Uint8Array[] = []
  #size = 0
  readonly #decoder = new StreamDecoder({
    frame: (frame) => {
      const database = "database" in frame ? ` ${frame.database}` : ""
      this.events.push(frame.type + database)
      if (frame.type === "heartbeat") this.heartbeatMs = frame.timestampMs
      this.#size = 0
    },
    ltxData: (bytes) => {
      this.#parts.push(bytes.slice())
      this.#size += bytes.length
    },
    ltxEnd: () => {
      this.files.push(concat(...this.#parts))
      this.#parts = []
    },
  })

  /** Bytes of the file that is arriving. */
  get receivedSize(): number {
    return this.#size
  }

  setHeader(): void {}

  writeHead(): void {
    this.headersSent = true
  }

  flushHeaders(): void {}

  write(bytes: Uint8Array): boolean {
    this.#decoder.push(bytes)
    this.writableNeedDrain = this.isSlow
    this.emit("written")
    return !this.isSlow
  }

  drain(): void {
    this.writableNeedDrain = false
    this.emit("drain")
  }

  destroy(): void {
    this.emit("close")
  }

  get asResponse(): ServerResponse {
    return this as unknown as ServerResponse
  }
}

/** Counts which databases a stream looks at. */
class CountedPositions extends Positions {
  readonly readNames = new Set<string>()

  constructor() {
    super(Positions.create().memory)
  }

  override find(name: string): number | undefined {
    this.readNames.add(name)
    return super.find(name)
  }
}

/** A primary with transactions that the test makes, and one replica. */
class Fixture implements AsyncDisposable {
  readonly directory = new LogDirectory("app.db")
  readonly clock = new IdleClock()
  readonly positions: Positions
  readonly response = new FakeResponse()
  readonly log = new LogLines()
  readonly listeners = new Set<() => void>()
  snapshot: () => Snapshot | undefined = () => undefined
  readonly totals = new StreamTotals()
  readonly context: StreamContext
  #done: Promise<void> | undefined

  readonly recent = RecentTransactions.create()

  constructor(positions = Positions.create()) {
    this.positions = positions
    this.context = {
      positions,
      recent: this.recent,
      dataDir: this.directory.dataDir,
      snapshots: { snapshot: async () => this.snapshot() },
      clock: this.clock,
      stallMs: 500,
      counters: this.totals,
      streams: new Set(),
      onChange: (listener) => {
        this.listeners.add(listener)
        return () => this.listeners.delete(listener)
      },
    }
  }

  /** Makes the transaction `txid`, with an LTX file; its checksum is its TXID. */
  commit(
    txid: number,
    { database = "app.db", pages = [page(1, txid)], isStored = true, isRecent = false } = {},
  ): void {
    mkdirSync(this.directory.dataDir.ltxDir(database), { recursive: true })
    const header = {
      minTxid: BigInt(txid),
      maxTxid: BigInt(txid),
      preApplyChecksum: txid === 1 ? 0n : posOf(txid - 1).checksum,
    }
    const bytes = ltxFile({ header, pages, postApplyChecksum: posOf(txid).checksum })
    if (isRecent) this.recent.add(this.positions.add(database), BigInt(txid), bytes)
    if (isStored || !isRecent) writeFileSync(this.directory.ltxPath(database, txid), bytes)
    const pos = posOf(txid)
    const state = { pos, timestampMs: 0, pageSize: 512, commit: 1 }
    this.positions.write(this.positions.add(database), state, isStored ? pos : undefined)
    this.news()
  }

  news(): void {
    for (const listener of this.listeners) listener()
  }

  /** A replica connects that is at these TXIDs. */
  connect(known: Record<string, Pos>, wants: Wants = NO_WANTS): ReplicaStream {
    const positions = new Map(Object.entries(known))
    const options = { clock: this.clock, stallMs: 500, onCut: () => {} }
    const body = new BodyWriter(this.response.asResponse, undefined, options)
    const stream = new ReplicaStream(this.context, body, positions, wants)
    this.#done = stream.run()
    return stream
  }

  /** Until everything is sent and the stream waits for news. */
  async idle(): Promise<void> {
    await this.clock.waiting()
    this.#failEarly()
  }

  /** Until the stream has ended. */
  get done(): Promise<void> {
    return this.#done ?? Promise.resolve()
  }

  #failEarly(): void {
    this.#done?.catch(() => {})
  }

  get txids(): number[] {
    return this.response.files.map((bytes) =>
      Number(decodeLtxHeader(bytes.subarray(0, 100)).maxTxid),
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.response.emit("close")
    await this.#done
    this.log[Symbol.dispose]()
    this.directory[Symbol.dispose]()
  }
}

function posOf(txid: number): Pos {
  return { txid: BigInt(txid), checksum: FLAG | BigInt(txid) }
}

function snapshotOf(txid: number, parts: readonly Uint8Array[]): Snapshot {
  return {
    pos: posOf(txid),
    size: 512,
    parts: (async function* () {
      yield* parts
    })(),
  }
}

async function* breaking(part: Uint8Array): AsyncGenerator<Uint8Array> {
  yield part
  throw new Error("rotten")
}

describe("ReplicaStream", () => {
  test("ReplicaStream leaves out a database that cannot be read, and sends it when it can be", async () => {
    await using fixture = new Fixture()
    fixture.commit(1, { database: "bad.db" })
    fixture.commit(1, { database: "zz.db" })
    const bytes = ltxFile({ header: { maxTxid: 1n }, pages: [page(1, 1)] })
    let isRotten = true
    const { context } = fixture
    const leftOut = new LeftOutDatabases({
      clock: fixture.clock,
      refused: new Map([["old.db", "refused"]]),
      refusalCount: () => 0,
      check: async () => {
        if (isRotten) throw new Error("rotten still")
      },
      onChange: () => fixture.news(),
    })
    Object.assign(context, {
      leftOut,
      snapshots: {
        snapshot: async (name: string) => {
          const found = snapshotOf(1, [bytes])
          return isRotten && name === "bad.db" ? { ...found, parts: breaking(bytes) } : found
        },
      },
    })
    const stream = fixture.connect({ "old.db": posOf(1) }, WANTS_ALL)
    await fixture.clock.waiting(2)
    expect(fixture.response.events).toEqual([
      "catalogue",
      ...["listed old.db", "listed bad.db", "listed zz.db"],
      ...["resumable bad.db", "ltx bad.db", "listed bad.db"],
      ...["resumable zz.db", "ltx zz.db", "listed zz.db"],
      ...["ready", "heartbeat"],
    ])
    expect([...stream.sent.keys()].sort()).toEqual(["old.db", "zz.db"])
    expect([leftOut.state("bad.db"), leftOut.problem("bad.db")]).toEqual(["unreadable", "rotten"])
    expect(fixture.log.lines.filter((line) => line.includes("left out"))).toHaveLength(1)

    // The interval doubles; then it is sent.
    fixture.clock.advance(5000)
    await until("it was tried again", () => leftOut.problem("bad.db") === "rotten still")
    isRotten = false
    fixture.clock.advance(5000)
    expect(leftOut.state("bad.db")).toBe("unreadable")
    fixture.clock.advance(5000)
    await until("it is sent", () => stream.sent.get("bad.db"))
    expect(leftOut.state("bad.db")).toBeUndefined()
    expect(fixture.response.events.slice(-4)).toContain("ltx bad.db")
    leftOut.close()
  })

  test("ReplicaStream sends nothing of what a replica cannot take", async () => {
    await using fixture = new Fixture()
    for (const database of ["a.db", "b.db"]) fixture.commit(1, { database })
    fixture.snapshot = () => snapshotOf(1, [ltxFile({ pages: [page(1, 1)] })])
    const stream = fixture.connect({}, { ...NO_WANTS, leftOut: new Set(["a.db"]) })
    await fixture.idle()
    expect(fixture.response.events).toEqual(["ltx b.db", "ready", "heartbeat"])
    expect([stream.hasEverything, stream.isWanted("a.db")]).toEqual([false, false])
  })

  test("ReplicaStream sends a snapshot where an LTX file cannot be read", async () => {
    await using fixture = new Fixture()
    for (let txid = 1; txid <= 3; txid++) fixture.commit(txid)
    writeFileSync(fixture.directory.dataDir.ltxDir("app.db") + LTX_3, "rotten".repeat(100))
    fixture.snapshot = () => snapshotOf(3, [ltxFile({ pages: [page(1, 3)] })])
    fixture.connect({ "app.db": posOf(2) })
    await fixture.idle()
    expect(fixture.response.events).toEqual(["ltx app.db", "ready", "heartbeat"])
    expect(fixture.log.lines.join()).toContain(
      "cannot read an LTX file, a snapshot is sent instead",
    )
  })

  test.each([
    ["sends the LTX file when it can be read again", 2000, 0],
    ["sends a snapshot when it cannot be read for long", 7000, 1],
  ])("ReplicaStream %s", async (_, untilMs, wanted) => {
    await using fixture = new Fixture()
    for (let txid = 1; txid <= 3; txid++) fixture.commit(txid)
    const path = fixture.directory.dataDir.ltxDir("app.db") + LTX_3
    const bytes = readFileSync(path)
    rmSync(path)
    mkdirSync(path) // EISDIR
    let snapshotCount = 0
    fixture.snapshot = () => {
      snapshotCount += 1
      return snapshotOf(3, [ltxFile({ pages: [page(1, 3)] })])
    }
    const stream = fixture.connect({ "app.db": posOf(2) })
    for (let ms = 0; ms < untilMs; ms += 1000) {
      await fixture.idle()
      fixture.clock.advance(1000)
    }
    if (wanted === 0) {
      expect(stream.sent.get("app.db")).toEqual(posOf(2))
      rmSync(path, { recursive: true })
      writeFileSync(path, bytes)
      fixture.clock.advance(1000)
    }
    await until("it is sent", () => stream.sent.get("app.db")?.txid === 3n)
    expect(snapshotCount).toBe(wanted)
    const told = fixture.log.lines.filter((line) => line.includes("cannot read an LTX file"))
    expect(told).toHaveLength(wanted + 1)
  })

  test("ReplicaStream proves with a heartbeat only what it has sent", async () => {
    await using fixture = new Fixture()
    fixture.commit(1)
    fixture.connect({ "app.db": posOf(1) })
    await fixture.idle()
    const beat = async (count: number) => {
      fixture.clock.advance(1000)
      const beats = () => fixture.response.events.filter((event) => event === "heartbeat").length
      await until(`heartbeat ${count}`, () => beats() >= count)
      return fixture.response.heartbeatMs
    }
    const firstMs = fixture.response.heartbeatMs
    expect(await beat(2)).toBe(firstMs + 1000)
    fixture.commit(2, { isStored: false, isRecent: false }) // its file is being made
    expect(await beat(3)).toBe(firstMs + 1000)
    fixture.positions.markStored(fixture.positions.add("app.db"))
    expect(await beat(4)).toBe(firstMs + 3000)
  })

  test("ReplicaStream sends the files that a replica lacks, then Ready, then a heartbeat", async () => {
    await using fixture = new Fixture()
    for (let txid = 1; txid <= 5; txid++) fixture.commit(txid)
    fixture.connect({ "app.db": posOf(2) })
    await fixture.idle()
    expect(fixture.response.events).toEqual([
      "ltx app.db",
      "ltx app.db",
      "ltx app.db",
      "ready",
      "heartbeat",
    ])
    expect(fixture.txids).toEqual([3, 4, 5])
  })

  test("ReplicaStream tells a replica that asks for it how far it is behind, now and then", async () => {
    await using fixture = new Fixture()
    for (let txid = 1; txid <= 50; txid++) fixture.commit(txid)
    fixture.connect({ "app.db": posOf(2) }, { ...NO_WANTS, heads: true })
    await fixture.idle()
    expect(fixture.response.events.slice(0, 3)).toEqual(["head app.db", "ltx app.db", "ltx app.db"])
    expect(fixture.response.events.filter((event) => event.startsWith("head"))).toHaveLength(1)
    fixture.clock.advance(500)
    fixture.commit(51) // one more follows at once
    await sent(fixture, 49)
    expect(fixture.response.events.filter((event) => event.startsWith("head"))).toHaveLength(1)
  })

  test("ReplicaStream says what it has sent, and counts it", async () => {
    await using fixture = new Fixture()
    for (let txid = 1; txid <= 3; txid++) fixture.commit(txid)
    const bytes = ltxFile({ header: { maxTxid: 3n }, pages: [page(1, 3)] })
    fixture.snapshot = () => snapshotOf(3, [bytes])
    const { totals } = fixture
    const stream = fixture.connect({})
    await fixture.idle()
    fixture.commit(4)
    await sent(fixture, 2)
    await fixture.idle()
    expect([...stream.sent]).toEqual([["app.db", posOf(4)]])
    expect([...totals.frameSamples()].map(({ value }) => value)).toEqual([1, 1])
    const received = fixture.response.files.reduce((sum, file) => sum + file.length, 0)
    expect(totals.size).toBeGreaterThan(received)
    expect(totals.size).toBeLessThan(received + 200)
  })

  test("ReplicaStream sends nothing but Ready to a replica that has everything", async () => {
    await using fixture = new Fixture()
    for (let txid = 1; txid <= 2; txid++) fixture.commit(txid)
    fixture.connect({ "app.db": posOf(2) })
    await fixture.idle()
    expect(fixture.response.events).toEqual(["ready", "heartbeat"])
  })

  test("ReplicaStream sends what is committed while it is up", async () => {
    await using fixture = new Fixture()
    fixture.commit(1)
    fixture.connect({ "app.db": posOf(1) })
    await fixture.idle()
    fixture.response.events.length = 0
    fixture.commit(2)
    await sent(fixture, 1)
    fixture.commit(3)
    fixture.commit(4)
    await sent(fixture, 3)
    expect(fixture.txids).toEqual([2, 3, 4])
  })

  test("ReplicaStream waits for the LTX file of a transaction that is only in the log", async () => {
    await using fixture = new Fixture()
    fixture.commit(1)
    fixture.connect({ "app.db": posOf(1) })
    await fixture.idle()
    fixture.commit(2, { isStored: false })
    await fixture.idle()
    expect(fixture.txids).toEqual([])
    fixture.positions.markStored(fixture.positions.find("app.db") ?? 0)
    for (const listener of fixture.listeners) listener()
    await sent(fixture, 1)
  })

  test("ReplicaStream does not wait for the LTX files of transactions that are in memory", async () => {
    await using fixture = new Fixture()
    fixture.commit(1)
    fixture.connect({ "app.db": posOf(1) })
    await fixture.idle()
    fixture.commit(2, { isStored: false, isRecent: true })
    await sent(fixture, 1)
    fixture.commit(3, { isStored: false, isRecent: true })
    await sent(fixture, 2)
    fixture.commit(4, { isStored: false })
    await fixture.idle()
    expect(fixture.txids).toEqual([2, 3]) // and takes nothing that is missing for a reason to send a snapshot
    fixture.positions.markStored(fixture.positions.find("app.db") ?? 0)
    for (const listener of fixture.listeners) listener()
    await sent(fixture, 3)
    expect(fixture.txids).toEqual([2, 3, 4])
  })

  test.each<[string, Pos]>([
    ["is ahead", posOf(9)],
    ["has another checksum at our TXID", { txid: 3n, checksum: FLAG | 77n }],
    ["has another checksum at an earlier TXID", { txid: 2n, checksum: FLAG | 77n }],
    ["has nothing", { txid: 0n, checksum: 0n }],
  ])("ReplicaStream sends a snapshot to a replica that %s", async (_, known) => {
    await using fixture = new Fixture()
    for (let txid = 1; txid <= 3; txid++) fixture.commit(txid)
    const bytes = ltxFile({ header: { maxTxid: 3n }, pages: [page(1, 3)] })
    fixture.snapshot = () => snapshotOf(3, [bytes.subarray(0, 50), bytes.subarray(50)])
    fixture.connect({ "app.db": known })
    await fixture.idle()
    expect(fixture.response.events).toEqual(["ltx app.db", "ready", "heartbeat"])
    expect(fixture.response.files).toEqual([bytes])
    expect(fixture.log.lines[0]).toContain("sending snapshot")
  })

  test("ReplicaStream sends a snapshot when the files that are needed are gone", async () => {
    await using fixture = new Fixture()
    for (let txid = 1; txid <= 4; txid++) fixture.commit(txid)
    rmSync(fixture.directory.ltxPath("app.db", 2))
    const bytes = ltxFile({ header: { maxTxid: 4n }, pages: [page(1, 3)] })
    fixture.snapshot = () => snapshotOf(4, [bytes])
    fixture.connect({ "app.db": posOf(1) })
    await fixture.idle()
    expect(fixture.txids).toEqual([4])
    fixture.commit(5)
    await sent(fixture, 2)
    expect(fixture.txids).toEqual([4, 5]) // and goes on after it
  })

  test.each([
    ["on its history", posOf(1), ["judged app.db"]],
    ["on another", { txid: 1n, checksum: FLAG | 99n }, ["judged app.db"]],
    ["without a database", undefined, []],
  ])(
    "ReplicaStream judges the position of a replica that is %s before it sends a snapshot",
    async (_, known, expected) => {
      await using fixture = new Fixture()
      for (let txid = 1; txid <= 4; txid++) fixture.commit(txid)
      rmSync(fixture.directory.ltxPath("app.db", 2))
      const bytes = ltxFile({ header: { maxTxid: 4n }, pages: [page(1, 3)] })
      fixture.snapshot = () => snapshotOf(4, [bytes])
      fixture.connect(known === undefined ? {} : { "app.db": known }, {
        ...NO_WANTS,
        verdicts: true,
      })
      await fixture.idle()
      expect(fixture.response.events).toEqual([...expected, "ltx app.db", "ready", "heartbeat"])
    },
  )

  test("ReplicaStream tells a replica of a database that is not here, once", async () => {
    await using fixture = new Fixture()
    fixture.connect({ "theirs.db": posOf(4) })
    await fixture.idle()
    fixture.clock.advance(1000)
    await fixture.idle()
    expect(fixture.response.events.filter((event) => event.startsWith("dropDb"))).toEqual([
      "dropDb theirs.db",
    ])
  })

  test("ReplicaStream sends a heartbeat every second, also when it sends something else", async () => {
    await using fixture = new Fixture()
    fixture.commit(1)
    fixture.connect({ "app.db": posOf(1) })
    await fixture.idle()
    for (let second = 1; second <= 3; second++) {
      fixture.clock.advance(1000)
      await fixture.idle()
    }
    expect(fixture.response.events).toEqual([
      "ready",
      "heartbeat",
      "heartbeat",
      "heartbeat",
      "heartbeat",
    ])
    fixture.clock.advance(900)
    fixture.commit(2)
    await sent(fixture, 1)
    await fixture.idle()
    expect(fixture.response.events.slice(5)).toEqual(["ltx app.db"])
    fixture.clock.advance(100)
    await fixture.idle()
    expect(fixture.response.events.slice(5)).toEqual(["ltx app.db", "heartbeat"])
  })

  const COMPACTED: Wants = { ...NO_WANTS, compacted: true }

  function spansOf(fixture: Fixture): string[] {
    return fixture.response.files.map((bytes) => {
      const { minTxid, maxTxid } = decodeLtxFile(bytes).header
      return minTxid === maxTxid ? `${minTxid}` : `${minTxid}-${maxTxid}`
    })
  }

  test("ReplicaStream sends many transactions as one file to a replica that asks for that", async () => {
    await using fixture = new Fixture()
    for (let txid = 1; txid <= 300; txid++) {
      fixture.commit(txid, { pages: [page(txid === 1 ? 1 : 1 + (txid % 3), txid & 0xff)] })
    }
    fixture.connect({ "app.db": posOf(1) }, COMPACTED)
    await fixture.idle()
    expect(spansOf(fixture)).toEqual(["2-129", "130-257", "258-300"])
    const [first] = fixture.response.files
    const { header, pages, trailer } = decodeLtxFile(first as Uint8Array)
    expect(header.preApplyChecksum).toBe(posOf(1).checksum)
    expect(trailer.postApplyChecksum).toBe(posOf(129).checksum)
    // Of each page the last version: 129 is page 1, 127 page 2, 128 page 3; the last commit leaves one page.
    expect(pages.map(({ pgno, data }) => [pgno, data.at(-1)])).toEqual([[1, 129]])
  })

  test("ReplicaStream lets others have their turn while a replica catches up that takes all that comes", async () => {
    await using fixture = new Fixture()
    const { clock, response } = fixture
    for (let txid = 1; txid <= 30; txid++) fixture.commit(txid)
    response.on("written", () => clock.advance(2))
    fixture.connect({ "app.db": posOf(1) })
    let turns = 0
    for (; !response.events.includes("heartbeat"); turns++) {
      const before = fixture.txids.length
      await clock.waiting()
      expect(fixture.txids.length - before).toBeLessThanOrEqual(3)
      clock.advance(0)
    }
    expect(turns).toBeGreaterThan(9)
    expect(fixture.txids).toEqual(Array.from({ length: 29 }, (_, index) => index + 2))
    response.removeAllListeners("written")
  })

  test("ReplicaStream sends few transactions, and those to others, one by one", async () => {
    for (const [count, wants] of [
      [7, COMPACTED],
      [20, NO_WANTS],
    ] as const) {
      await using fixture = new Fixture()
      for (let txid = 1; txid <= count; txid++) fixture.commit(txid)
      fixture.connect({ "app.db": posOf(1) }, wants)
      await fixture.idle()
      expect(fixture.txids).toEqual(Array.from({ length: count - 1 }, (_, i) => i + 2))
    }
  })

  test("ReplicaStream does not join what a page size or a drop lies between", async () => {
    await using fixture = new Fixture()
    for (let txid = 1; txid <= 60; txid++) {
      const pages = txid === 31 ? [] : [page(1, txid, txid <= 15 ? 512 : 1024)]
      fixture.commit(txid, { pages })
    }
    fixture.connect({ "app.db": posOf(1) }, COMPACTED)
    await fixture.idle()
    expect(spansOf(fixture)).toEqual(["2-15", "16-30", "31", "32-60"])
  })

  test("ReplicaStream sends a damaged file as it is, and what is before it", async () => {
    await using fixture = new Fixture()
    for (let txid = 1; txid <= 20; txid++) fixture.commit(txid)
    const path = fixture.directory.ltxPath("app.db", 12)
    const bytes = readFileSync(path)
    bytes[150] = (bytes[150] as number) ^ 0xff
    writeFileSync(path, bytes)
    fixture.connect({ "app.db": posOf(1) }, COMPACTED)
    await fixture.idle()
    expect(fixture.txids.slice(0, 10)).toEqual([2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
    expect(Buffer.compare(fixture.response.files[10] as Uint8Array, bytes)).toBe(0)
    expect(fixture.log.lines.join("\n")).toContain("cannot compact LTX files")
  })

  test("ReplicaStream sends on a file of several transactions", async () => {
    await using fixture = new Fixture()
    for (let txid = 1; txid <= 9; txid++) fixture.commit(txid)
    for (let txid = 3; txid <= 7; txid++) rmSync(fixture.directory.ltxPath("app.db", txid))
    const header = { minTxid: 3n, maxTxid: 7n, preApplyChecksum: posOf(2).checksum }
    const bytes = ltxFile({ header, pages: [page(1, 7)], postApplyChecksum: posOf(7).checksum })
    const path = fixture.directory.ltxPath("app.db", 3)
    writeFileSync(path.replace(/3\.ltx$/, "7.ltx"), bytes)
    fixture.connect({ "app.db": posOf(1) })
    await fixture.idle()
    expect(spansOf(fixture)).toEqual(["2", "3-7", "8", "9"])
  })

  test("ReplicaStream sends nothing of databases that the replica does not want", async () => {
    await using fixture = new Fixture()
    for (const database of ["app.db", "log-1.db", "log-2.db", "other.db"]) {
      fixture.commit(1, { database })
      fixture.commit(2, { database })
    }
    const known = Object.fromEntries(
      ["app.db", "log-1.db", "other.db", "gone.db"].map((name) => [name, posOf(1)]),
    )
    const databases = DatabaseFilter.parse("app.db,log-*")
    fixture.snapshot = () => snapshotOf(2, [ltxFile({ header: { maxTxid: 2n } })])
    fixture.connect(known, { ...NO_WANTS, databases })
    await fixture.idle()
    expect(fixture.response.events).toEqual([
      "ltx app.db",
      "ltx log-1.db",
      "ltx log-2.db",
      "ready",
      "heartbeat",
    ])
    fixture.commit(3, { database: "other.db" })
    fixture.commit(3, { database: "log-1.db" })
    await sent(fixture, 4)
    await fixture.idle()
    expect(fixture.response.events.filter((event) => event.includes("other"))).toEqual([])
  })

  test("ReplicaStream sends a large file in parts, each when the replica has taken the last", async () => {
    await using fixture = new Fixture()
    fixture.commit(1)
    const pages = Array.from({ length: 40 }, (_, i) => ({ pgno: i + 1, data: random.bytes(65536) }))
    fixture.connect({ "app.db": posOf(1) })
    await fixture.idle()
    fixture.response.isSlow = true
    fixture.commit(2, { pages })
    let largest = 0
    let before = 0
    const isSent = () => {
      if (fixture.response.writableNeedDrain) {
        largest = Math.max(largest, fixture.response.receivedSize - before)
        before = fixture.response.receivedSize
        fixture.response.drain()
      }
      return fixture.response.files.length > 0
    }
    await until("the file is sent", isSent, SOON)
    fixture.response.isSlow = false
    fixture.response.drain()
    await fixture.idle()
    expect(largest).toBeLessThanOrEqual(256 * 1024)
    expect(decodeLtxFile(fixture.response.files[0] as Uint8Array).pages.length).toBe(40)
  })

  test("ReplicaStream reads no more of a large file when its replica has gone", async () => {
    await using fixture = new Fixture()
    fixture.commit(1)
    const pages = Array.from({ length: 200 }, (_, i) => ({
      pgno: i + 1,
      data: random.bytes(65536),
    }))
    fixture.connect({ "app.db": posOf(1) })
    await fixture.idle()
    fixture.response.isSlow = true
    fixture.snapshot = () => {
      throw new Error("nobody wants a snapshot")
    }
    fixture.commit(2, { pages })
    await until("the replica does not take more", () => fixture.response.writableNeedDrain, SOON)
    const before = readSize()
    fixture.response.emit("close")
    await fixture.done
    expect(readSize() - before).toBeLessThan(4 * 1024 * 1024)
  })

  test("ReplicaStream touches one database for a commit in one of a thousand", async () => {
    const positions = new CountedPositions()
    await using fixture = new Fixture(positions)
    const names = Array.from({ length: 1000 }, (_, i) => `${i}.db`)
    for (const name of names) positions.add(name)
    fixture.commit(1, { database: "17.db" })
    fixture.snapshot = () =>
      snapshotOf(1, [ltxFile({ header: { maxTxid: 1n }, pages: [page(1, 1)] })])
    fixture.connect({ "17.db": posOf(1) }, WANTS_ALL)
    await fixture.idle()
    positions.readNames.clear()
    fixture.commit(2, { database: "17.db" })
    await sent(fixture, 1)
    await fixture.idle()
    expect(fixture.txids).toEqual([2])
    expect([...positions.readNames]).toEqual(["17.db"])
  })

  test("ReplicaStream hears of a database that was dropped for good, and of one that is new", async () => {
    await using fixture = new Fixture()
    fixture.commit(1)
    fixture.connect({ "app.db": posOf(1), "gone.db": posOf(3) })
    const slot = fixture.positions.add("gone.db")
    fixture.positions.write(
      slot,
      { pos: posOf(3), timestampMs: 0, pageSize: 512, commit: 1 },
      posOf(3),
    )
    await fixture.idle()
    expect(fixture.response.events).not.toContain("dropDb gone.db")
    fixture.positions.free(slot)
    fixture.news()
    await told(fixture, "dropDb gone.db")
    fixture.snapshot = () =>
      snapshotOf(1, [ltxFile({ header: { maxTxid: 1n }, pages: [page(1, 1)] })])
    fixture.commit(1, { database: "new.db" })
    await told(fixture, "ltx new.db")
  })

  test("ReplicaStream asks for no more of a snapshot than the replica takes", async () => {
    await using fixture = new Fixture()
    fixture.commit(3)
    let asked = 0
    const bytes = ltxFile({ header: { maxTxid: 3n }, pages: [page(1, 3)] })
    fixture.snapshot = () => ({
      pos: posOf(3),
      size: 512,
      parts: (async function* () {
        for (let at = 0; at < bytes.length; at += 20) {
          asked += 1
          yield bytes.subarray(at, at + 20)
        }
      })(),
    })
    fixture.response.isSlow = true
    fixture.connect({})
    for (let taken = 0; fixture.response.files.length === 0; taken++) {
      await until("all is sent that is taken", () => fixture.response.writableNeedDrain, SOON)
      expect(asked).toBeLessThanOrEqual(taken)
      fixture.response.drain()
    }
    fixture.response.isSlow = false
    fixture.response.drain()
    await fixture.idle()
    expect(fixture.response.files).toEqual([bytes])
  })

  test("ReplicaStream ends in the middle of a snapshot when the replica goes", async () => {
    const fixture = new Fixture()
    fixture.commit(3)
    let isReturned = false
    fixture.snapshot = () => ({
      pos: posOf(3),
      size: 512,
      parts: (async function* () {
        try {
          for (;;) yield new Uint8Array(100)
        } finally {
          isReturned = true
        }
      })(),
    })
    fixture.response.isSlow = true
    fixture.connect({})
    await until("all is sent that is taken", () => fixture.response.writableNeedDrain, SOON)
    await fixture[Symbol.asyncDispose]()
    expect(isReturned).toBe(true)
  })
})

/** Until so many files have been sent. */
async function sent(fixture: Fixture, count: number): Promise<void> {
  await until(`${count} files are sent`, () => fixture.response.files.length >= count, SOON)
}

/** Bytes that this process has read. */
function readSize(): number {
  return Number(/rchar: (\d+)/.exec(readFileSync("/proc/self/io", "utf8"))?.[1])
}

async function told(fixture: Fixture, event: string): Promise<void> {
  await until(`"${event}" is sent`, () => fixture.response.events.includes(event), SOON)
}

describe("neededTxid()", () => {
  test("neededTxid() is the first transaction that one of the replicas lacks", async () => {
    await using fixture = new Fixture()
    fixture.commit(1)
    const stream = fixture.connect({ "app.db": posOf(1) })
    await fixture.idle()
    const behind = { nextTxid: () => 2n } as unknown as ReplicaStream
    const ahead = { nextTxid: () => 9n } as unknown as ReplicaStream
    const empty = { nextTxid: () => undefined } as unknown as ReplicaStream
    expect(stream.nextTxid("app.db")).toBe(2n)
    expect(stream.nextTxid("other.db")).toBeUndefined()
    expect(neededTxid([], "app.db")).toBeUndefined()
    expect(neededTxid([empty], "app.db")).toBeUndefined()
    expect(neededTxid([ahead, empty, behind], "app.db")).toBe(2n)
  })
})

describe("wantsOf()", () => {
  test("wantsOf() is nothing for LiteFS, which sends no headers of ours", () => {
    expect(wantsOf({ headers: {}, url: "/stream" })).toEqual(NO_WANTS)
  })

  test("wantsOf() takes LiteFS's query, and our header before it", () => {
    const namesOf = (headers: Record<string, string>, url: string) => {
      const { databases } = wantsOf({ headers, url })
      return ["a.db", "b.db", "c d.db"].filter((name) => databases.matches(name))
    }
    expect(namesOf({}, "/stream?filter=a.db,c+d.db")).toEqual(["a.db", "c d.db"])
    const header = { "litefs-databases": "b.*,c%20*" }
    expect(namesOf(header, "/stream?filter=a.db")).toEqual(["b.db", "c d.db"])
  })

  test.each(["", "%", "..%2Fx", "a,,b", "/etc/*", "*-wal"])("wantsOf() refuses %p", (header) => {
    const headers = { "litefs-databases": header }
    expect(() => wantsOf({ headers, url: "/stream" })).toThrow("Cannot select databases: ")
  })
})

describe("handleStream()", () => {
  function requestWith(body: Uint8Array): IncomingMessage {
    const request = new PassThrough()
    request.end(body)
    return Object.assign(request, {
      headers: { "litefs-hostname": "two" },
      socket: { remoteAddress: "10.0.0.2" },
    }) as unknown as IncomingMessage
  }

  test("handleStream() streams from the positions in the body until the replica goes", async () => {
    const fixture = new Fixture()
    for (let txid = 1; txid <= 2; txid++) fixture.commit(txid)
    const body = encodePositionMap(new Map([["app.db", posOf(1)]]))
    const done = handleStream(fixture.context, requestWith(body), fixture.response.asResponse)
    await sent(fixture, 1)
    await fixture.idle()
    expect(fixture.txids).toEqual([2])
    expect(fixture.context.streams.size).toBe(1)
    fixture.response.emit("close")
    await done
    expect([fixture.context.streams.size, fixture.listeners.size]).toEqual([0, 0])
    expect(fixture.log.lines.map((line) => /msg="(.*?)"/.exec(line)?.[1])).toEqual([
      "replica connected",
      "replica disconnected",
    ])
    await fixture[Symbol.asyncDispose]()
  })

  test.each(["../app.db", "/etc/passwd", "..", "", "a\0b", "app.db-journal", ".primary"])(
    "handleStream() refuses positions of %p",
    async (name) => {
      await using fixture = new Fixture()
      const request = requestWith(encodePositionMap(new Map([[name, posOf(1)]])))
      const response = fixture.response.asResponse
      const stream = handleStream(fixture.context, request, response)
      await expect(stream).rejects.toMatchObject({ code: "name-invalid" })
      expect(fixture.response.headersSent).toBe(false)
    },
  )

  test("handleStream() has no stream for a replica that speaks another protocol", async () => {
    await using fixture = new Fixture()
    const request = requestWith(encodePositionMap(new Map()))
    request.headers["litefs-protocol"] = "2-3"
    const stream = handleStream(fixture.context, request, fixture.response.asResponse)
    await expect(stream).rejects.toMatchObject({
      code: "unavailable",
      message: "Cannot replicate: it speaks protocol 2-3, this node 1, update LiteFS on this node",
    })
  })

  test("handleStream() does not wait for ever for the positions", async () => {
    await using fixture = new Fixture()
    const request = Object.assign(new PassThrough(), { headers: {} })
    request.write(new Uint8Array(2))
    const response = fixture.response.asResponse
    const stream = handleStream(fixture.context, request as unknown as IncomingMessage, response)
    await fixture.clock.waiting()
    fixture.clock.advance(10_000)
    await expect(stream).rejects.toThrow("its body took over 10000 ms")
  })

  test("handleStream() gives up on a replica that takes nothing any more", async () => {
    await using fixture = new Fixture()
    fixture.commit(1)
    const pages = Array.from({ length: 300 }, (_, i) => ({
      pgno: i + 1,
      data: random.bytes(65536),
    }))
    fixture.commit(2, { pages })
    const server = new ApiServer(
      { "/stream": { POST: (...args) => handleStream(fixture.context, args[0], args[1]) } },
      { headers: {}, authToken: undefined, tls: undefined, clock: fixture.clock },
    )
    const port = await server.listen({ host: "127.0.0.1", port: 0 })
    const body = encodePositionMap(new Map([["app.db", posOf(1)]]))
    const socket = connect(port, "127.0.0.1")
    socket.on("error", () => {})
    socket.pause()
    socket.write(
      `POST /stream HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${body.length}\r\n\r\n`,
    )
    socket.write(body)
    const logged = (text: string) => fixture.log.lines.some((line) => line.includes(text))
    await until("it is connected", () => logged("replica connected"), SOON)
    expect(neededTxid(fixture.context.streams, "app.db")).toBe(2n)
    await until("it is not connected", () => logged("replica disconnected"))
    expect(neededTxid(fixture.context.streams, "app.db")).toBeUndefined()
    expect(fixture.listeners.size).toBe(0)
    socket.destroy()
    await server.close()
  }, 30_000)

  test("handleStream() says whose stream it ends when it is not read", async () => {
    const fixture = new Fixture()
    fixture.commit(1)
    fixture.response.isSlow = true
    const body = encodePositionMap(new Map())
    let hasEnded = false
    void handleStream(fixture.context, requestWith(body), fixture.response.asResponse).then(() => {
      hasEnded = true
    })
    await until("there is something to read", () => fixture.response.writableNeedDrain, SOON)
    fixture.clock.advance(499)
    expect(fixture.log.text).not.toContain("not read")
    const look = () => {
      fixture.clock.advance(1)
      return hasEnded
    }
    await until("it has ended", look, SOON)
    expect(fixture.log.lines.filter((line) => line.includes("not read"))).toEqual([
      expect.stringMatching(/it takes nothing for 500 ms.* from=10\.0\.0\.2 node=two$/),
    ])
    await fixture[Symbol.asyncDispose]()
  })

  test("handleStream() refuses a body that is no position map before it answers", async () => {
    await using fixture = new Fixture()
    const request = requestWith(new Uint8Array(3))
    const response = fixture.response.asResponse
    await expect(handleStream(fixture.context, request, response)).rejects.toThrow(RangeError)
    expect(fixture.response.headersSent).toBe(false)
    expect(fixture.context.streams.size).toBe(0)
  })
})
