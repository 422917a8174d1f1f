import { describe, expect, test } from "bun:test"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { Replica, type ReplicaOptions } from "../../src/cluster/replica/replica.ts"
import { systemClock } from "../../src/lib/clock.ts"
import { LitefsError } from "../../src/lib/errors.ts"
import { Gate } from "../../src/lib/gate.ts"
import type { Pos } from "../../src/ltx/pos.ts"
import { encodeChunks } from "../../src/wire/chunk.ts"
import { DatabaseFilter } from "../../src/wire/database-filter.ts"
import { encodeFrame, type ListedState } from "../../src/wire/frame.ts"
import { decodePositionMap } from "../../src/wire/position-map.ts"
import { decodeLeftOut } from "../../src/wire/protocol.ts"
import { concat } from "../support/bytes.ts"
import { IdleClock } from "../support/idle-clock.ts"
import { LogLines } from "../support/log-lines.ts"
import { testRandom } from "../support/random.ts"
import { until } from "../support/until.ts"

const random = testRandom()

const READY = encodeFrame({ type: "ready" })
const HEARTBEAT = encodeFrame({ type: "heartbeat", timestampMs: 5 })

function ltx(database: string, bytes: Uint8Array): Uint8Array {
  return concat(encodeFrame({ type: "ltx", size: 0n, database }), encodeChunks(bytes))
}

/** A list that can be waited for. */
class Events<T> {
  readonly all: T[] = []
  readonly #gate = new Gate()

  push(event: T): void {
    this.all.push(event)
    this.#gate.open()
  }

  async until(condition: (all: readonly T[]) => boolean): Promise<void> {
    while (!condition(this.all)) await this.#gate.wait()
  }
}

interface Request {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly positions: ReadonlyMap<string, Pos>
}

/** A primary whose every answer the test makes, and a replica that follows it. */
class Fixture implements AsyncDisposable {
  readonly clock = new IdleClock()
  readonly log = new LogLines()
  readonly requests = new Events<Request>()
  readonly events = new Events<string>()
  readonly files = new Map<number, { database: string; parts: Uint8Array[] }>()
  refuse: ((file: number) => boolean) | undefined
  onClusterId: (id: string) => void = (id) => this.events.push(`cluster ${id}`)
  readonly replica: Replica
  readonly #server: ReturnType<typeof createServer>

  private constructor(server: ReturnType<typeof createServer>, given: Partial<ReplicaOptions>) {
    this.#server = server
    server.on("request", async (request: IncomingMessage, response: ServerResponse) => {
      const parts: Uint8Array[] = []
      for await (const part of request) parts.push(part as Uint8Array)
      const positions = decodePositionMap(concat(...parts))
      response.setHeader("Litefs-Id", "0000000000000008")
      this.requests.push({ request, response, positions })
    })
    this.replica = new Replica({
      primaryUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      headers: { "Litefs-Id": "0000000000000007" },
      clock: this.clock,
      positions: () => new Map([["app.db", { txid: 3n, checksum: 1n << 63n }]]),
      onPrimary: (name) => this.events.push(`primary ${name}`),
      onClusterId: (id) => this.onClusterId(id),
      sink: {
        write: (file, database, bytes, isLast, taken) => {
          const known = this.files.get(file) ?? { database, parts: [] }
          known.parts.push(bytes)
          this.files.set(file, known)
          taken()
          if (isLast) this.events.push(`file ${database}`)
        },
        applied: async (file) => {
          if (this.refuse?.(file)) throw new LitefsError("position-mismatch", "it does not fit")
        },
        abort: () => this.events.push("abort"),
      },
      ...given,
    })
  }

  static async open(given: Partial<ReplicaOptions> = {}): Promise<Fixture> {
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
    return new Fixture(server, given)
  }

  /** The response to request number `count`, begun. */
  async accept(count = 1, headers: Record<string, string> = {}): Promise<ServerResponse> {
    await this.requests.until((all) => all.length >= count)
    const { response } = this.requests.all[count - 1] as Request
    response.writeHead(200, { "Litefs-Hostname": "one", ...headers })
    response.flushHeaders()
    return response
  }

  /** Until the connection is given up, and then until the next one is tried. */
  async reconnect(): Promise<void> {
    const before = this.events.all.filter((event) => event === "primary undefined").length
    await this.events.until((all) => {
      return all.filter((event) => event === "primary undefined").length > before
    })
    await this.pause()
  }

  async pause(): Promise<void> {
    await this.clock.waiting()
    this.clock.advance(4000)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.replica.close()
    this.#server.closeAllConnections()
    await new Promise<void>((resolve) => this.#server.close(() => resolve()))
    this.log[Symbol.dispose]()
  }
}

function givenUp(all: readonly string[]): boolean {
  return all.includes("primary undefined")
}

describe("Replica", () => {
  test("Replica tells its primary where its databases are, and who it is", async () => {
    await using fixture = await Fixture.open()
    await fixture.accept(1, { "Litefs-Cluster-Id": "LFSC0000000000000001" })
    await fixture.events.until((all) => all.length === 2)
    const { request, positions } = fixture.requests.all[0] as Request
    expect([request.method, request.url, request.headers["litefs-id"]]).toEqual([
      "POST",
      "/stream",
      "0000000000000007",
    ])
    expect(positions).toEqual(new Map([["app.db", { txid: 3n, checksum: 1n << 63n }]]))
    expect(fixture.events.all).toEqual(["cluster LFSC0000000000000001", "primary one"])
  })

  test("Replica hands on every file, whole and in order, however the stream is cut", async () => {
    await using fixture = await Fixture.open()
    const response = await fixture.accept()
    const sent = [0, 1, 300, 70_000, 600_000].map((size) => random.compressible(size))
    const stream = concat(...sent.flatMap((bytes, i) => [HEARTBEAT, ltx(`${i}.db`, bytes)]), READY)
    for (let at = 0; at < stream.length; ) {
      const size = random.between(1, 90_000)
      response.write(stream.subarray(at, at + size))
      at += size
    }
    await fixture.replica.ready
    expect([...fixture.files.values()].map(({ database }) => database)).toEqual(
      sent.map((_, i) => `${i}.db`),
    )
    for (const [index, { parts }] of [...fixture.files.values()].entries()) {
      expect(Buffer.compare(concat(...parts), sent[index] as Uint8Array)).toBe(0)
    }
  })

  test("Replica is ready when the last file before Ready is applied", async () => {
    const applied = Promise.withResolvers<void>()
    const events = new Events<string>()
    await using fixture = await Fixture.open({
      sink: {
        write: (_file, _database, _bytes, _isLast, taken) => taken(),
        applied: () => {
          events.push("asked")
          return applied.promise
        },
        abort: () => {},
      },
    })
    let isReady = false
    const ready = fixture.replica.ready.then(() => {
      isReady = true
    })
    const response = await fixture.accept()
    response.write(concat(ltx("app.db", new Uint8Array(9)), READY))
    await events.until((all) => all.length === 1)
    await Promise.resolve()
    expect(isReady).toBe(false)
    applied.resolve()
    await ready
  })

  test("Replica connects again when its primary falls silent", async () => {
    await using fixture = await Fixture.open()
    const response = await fixture.accept()
    response.write(READY)
    await fixture.replica.ready
    await fixture.clock.waiting()
    fixture.clock.advance(4999)
    expect(givenUp(fixture.events.all)).toBe(false)
    fixture.clock.advance(1)
    await fixture.events.until(givenUp)
    expect(fixture.log.lines.at(-1)).toContain("no sign of life for 5 s")
    await fixture.pause()
    await fixture.accept(2)
  })

  test("Replica gives up on a primary that accepts and does not answer", async () => {
    await using fixture = await Fixture.open()
    await fixture.requests.until((all) => all.length === 1)
    fixture.clock.advance(5000)
    await fixture.events.until(givenUp)
    await fixture.pause()
    await fixture.requests.until((all) => all.length === 2)
  })

  test("Replica gives up on an answer without a stream that does not end", async () => {
    const answered = new Events<number>()
    await using fixture = await Fixture.open({ onAnswer: () => answered.push(1) })
    await fixture.requests.until((all) => all.length === 1)
    const { response } = fixture.requests.all[0] as Request
    response.statusCode = 503
    response.write("not no")
    const drip = setInterval(() => response.write("w"), 5)
    await answered.until((all) => all.length === 1)
    await fixture.clock.waiting()
    expect(givenUp(fixture.events.all)).toBe(false)
    fixture.clock.advance(5000)
    await fixture.events.until(givenUp)
    clearInterval(drip)
    expect(fixture.log.lines.at(-1)).toContain("it answered 503: not no")
    await fixture.pause()
    await fixture.requests.until((all) => all.length === 2)
  })

  test("Replica lives on heartbeats", async () => {
    await using fixture = await Fixture.open()
    const response = await fixture.accept()
    await fixture.events.until((all) => all.includes("primary one"))
    for (let i = 0; i < 5; i++) {
      response.write(concat(HEARTBEAT, ltx(`${i}.db`, new Uint8Array(1))))
      await fixture.events.until((all) => all.includes(`file ${i}.db`))
      await fixture.clock.waiting()
      fixture.clock.advance(4000)
    }
    expect(givenUp(fixture.events.all)).toBe(false)
  })

  test.each([
    ["heartbeat", HEARTBEAT],
    ["ready", READY],
    ["head", encodeFrame({ type: "head", txid: 9n, database: "a.db" })],
  ])("Replica lets others have their turn when %s frames come without pause", async (_, frame) => {
    let count = 0
    const counted = () => {
      count += 1
    }
    await using fixture = await Fixture.open({
      clock: { ...systemClock, random: () => 0 },
      onHeartbeat: counted,
      onHead: counted,
      onProblem: counted, // at each ready
    })
    const response = await fixture.accept()
    await fixture.events.until((all) => all.includes("primary one"))
    const flood = concat(...Array.from({ length: 40_000 }, () => frame))
    const seen = new Set<number>()
    response.write(flood)
    const all = Math.floor(flood.length / frame.length)
    for (const end = Date.now() + 10_000; count < all && Date.now() < end; ) {
      await new Promise((turn) => setImmediate(turn))
      seen.add(count)
    }
    expect(count).toBeGreaterThanOrEqual(all)
    const counts = [...seen]
    expect(Math.max(...counts.map((at, i) => at - (counts[i - 1] ?? 0)))).toBeLessThan(6000)
  })

  test("Replica lets the network wait while many heartbeats wait for what is applied", async () => {
    const applied = Promise.withResolvers<void>()
    const sink = { write: () => {}, applied: () => applied.promise, abort: () => {} }
    let count = 0
    const onHeartbeat = () => {
      count += 1
    }
    await using fixture = await Fixture.open({ sink, clock: systemClock, onHeartbeat })
    const response = await fixture.accept()
    response.write(ltx("a.db", new Uint8Array(9)))
    response.write(concat(...Array.from({ length: 40_000 }, () => HEARTBEAT)))
    await until("heartbeats wait", () => count > 1000)
    await Bun.sleep(200)
    expect(count).toBeLessThan(4000)
    applied.resolve()
    await until("all have come", () => count === 40_000)
  })

  test("Replica passes a heartbeat on, which counts when everything before it is applied", async () => {
    const applied = Promise.withResolvers<void>()
    const sink = { write: () => {}, applied: () => applied.promise, abort: () => {} }
    const [heartbeats, counted] = [new Events<number>(), new Events<number>()]
    const onHeartbeat = (timestampMs: number, allApplied: Promise<unknown>) => {
      heartbeats.push(timestampMs)
      void allApplied.then(() => counted.push(timestampMs))
    }
    await using fixture = await Fixture.open({ sink, onHeartbeat })
    const response = await fixture.accept()
    response.write(HEARTBEAT)
    await counted.until((all) => all.length === 1)
    response.write(
      concat(ltx("a.db", new Uint8Array(9)), ltx("b.db", new Uint8Array(9)), HEARTBEAT),
    )
    await heartbeats.until((all) => all.length === 2)
    expect([...counted.all]).toEqual([5])
    applied.resolve()
    await counted.until((all) => all.length === 2)
  })

  test("Replica asks for heads, and passes them on", async () => {
    const heads = new Events<string>()
    const onHead = (database: string, txid: bigint) => heads.push(`${database} ${txid}`)
    await using fixture = await Fixture.open({ onHead })
    const response = await fixture.accept()
    expect(fixture.requests.all[0]?.request.headers["litefs-heads"]).toBe("1")
    response.write(encodeFrame({ type: "head", txid: 700n, database: "app.db" }))
    await heads.until((all) => all.includes("app.db 700"))
  })

  test("Replica connects again, with its position, when a file is refused", async () => {
    await using fixture = await Fixture.open()
    fixture.refuse = () => true
    const response = await fixture.accept()
    response.write(ltx("app.db", new Uint8Array(100)))
    await fixture.reconnect()
    fixture.refuse = undefined
    const next = await fixture.accept(2)
    expect(fixture.requests.all[1]?.positions.get("app.db")?.txid).toBe(3n)
    next.write(READY)
    await fixture.replica.ready
    expect(fixture.log.lines.filter((line) => line.includes("it does not fit")).length).toBe(1)
  })

  test("Replica tells of the first refusal of a database in a connection: what follows on it fits no more", async () => {
    const outcomes = new Events<string>()
    const onOutcome = (database: string, error?: Error) =>
      outcomes.push(`${database}: ${error?.message ?? "applied"}`)
    const applied = [1, 2, 3, 4].map(() => Promise.withResolvers<void>())
    let count = 0
    const sink: ReplicaOptions["sink"] = {
      write: (_file, _database, _bytes, _isLast, taken) => taken(),
      applied: () => (applied[count++] as PromiseWithResolvers<void>).promise,
      abort: () => {},
    }
    await using fixture = await Fixture.open({ onOutcome, sink })
    const response = await fixture.accept()
    const [a, b] = ["a.db", "b.db"].map((name) => ltx(name, random.bytes(100)))
    response.write(concat(a as Uint8Array, a as Uint8Array, a as Uint8Array, b as Uint8Array))
    await until("all have come", () => count === 4)
    for (const [index, { reject }] of applied.entries()) {
      reject(new LitefsError(index === 0 ? "no-space" : "position-mismatch", `refusal ${index}`))
    }
    await outcomes.until((all) => all.length >= 2)
    await fixture.reconnect()
    expect(outcomes.all).toEqual(["a.db: refusal 0", "b.db: refusal 3"])
  })

  test("Replica connects again when the stream is damaged", async () => {
    await using fixture = await Fixture.open()
    const response = await fixture.accept()
    response.write(new Uint8Array(8).fill(0xee))
    await fixture.reconnect()
    await fixture.accept(2)
    expect(fixture.log.lines.join("\n")).toContain("unknown type 0xeeeeeeee")
  })

  test("Replica forgets a file that its primary did not finish", async () => {
    await using fixture = await Fixture.open()
    const response = await fixture.accept()
    const stream = ltx("app.db", random.bytes(1000))
    await new Promise<void>((resolve) => response.write(stream.subarray(0, 500), () => resolve()))
    await fixture.events.until((all) => all.includes("primary one"))
    response.end()
    await fixture.reconnect()
    expect(fixture.events.all).toContain("abort")
    expect(fixture.events.all).not.toContain("file app.db")
  })

  test("Replica connects again when the primary ends the stream", async () => {
    await using fixture = await Fixture.open()
    const response = await fixture.accept()
    response.write(encodeFrame({ type: "end" }))
    await fixture.reconnect()
    await fixture.accept(2)
  })

  test("Replica does not follow the primary of another cluster", async () => {
    await using fixture = await Fixture.open()
    fixture.onClusterId = () => {
      throw new LitefsError("unavailable", "it is of another cluster")
    }
    for (let count = 1; count <= 3; count++) {
      const response = await fixture.accept(count, { "Litefs-Cluster-Id": "LFSC0000000000000002" })
      response.write(ltx("app.db", new Uint8Array(9)))
      await fixture.reconnect()
    }
    expect(fixture.events.all).not.toContain("primary one")
    expect(fixture.files.size).toBe(0)
    const told = fixture.log.lines.filter((line) => line.includes("it is of another cluster"))
    expect(told.length).toBe(1)
  })

  test("Replica reports a problem once, and again when another came between", async () => {
    await using fixture = await Fixture.open()
    const statuses = [503, 503, 503, 500, 503]
    for (const [index, status] of statuses.entries()) {
      await fixture.requests.until((all) => all.length > index)
      const { response } = fixture.requests.all[index] as Request
      response.statusCode = status
      response.end("not now\n")
      await fixture.reconnect()
    }
    await fixture.requests.until((all) => all.length > statuses.length)
    expect(fixture.log.lines.map((line) => /it answered (\d+): not now/.exec(line)?.[1])).toEqual([
      "503",
      "500",
      "503",
    ])
  })

  test.each([
    "..",
    "../../etc/passwd",
    "/etc/passwd",
    "a/b",
    "a\0b",
    "",
    "app.db-wal",
    ".primary",
    "x".repeat(255),
  ])("Replica leaves the name %p out, and goes on with the others", async (database) => {
    const told: string[] = []
    await using fixture = await Fixture.open({
      onBadName: (name) => told.push(name),
      onListed: (name) => told.push(`listed ${name}`),
      onHead: (name) => told.push(`head ${name}`),
      onUnknown: (name) => told.push(`unknown ${name}`),
    })
    const response = await fixture.accept()
    const pos = { txid: 5n, checksum: 1n << 63n }
    response.write(
      concat(
        encodeFrame({ type: "listed", pos, state: "present", database }),
        encodeFrame({ type: "head", txid: 5n, database }),
        encodeFrame({ type: "dropDb", database }),
        ltx(database, new Uint8Array(100_000)),
        ltx("good.db", new Uint8Array(9)),
        READY,
      ),
    )
    await fixture.replica.ready
    expect(told).toEqual([database, database, database, database])
    expect([...fixture.files.values()].map((file) => file.database)).toEqual(["good.db"])
  })

  test("Replica asks for the databases of its filter, and drops what is not of them", async () => {
    await using fixture = await Fixture.open({ databases: DatabaseFilter.parse("b.db,c d.db") })
    const response = await fixture.accept()
    response.write(
      concat(
        ltx("a.db", random.bytes(70_000)),
        ltx("b.db", new Uint8Array(9)),
        encodeFrame({ type: "dropDb", database: "app.db" }),
        ltx("a.db", random.bytes(9)),
        READY,
      ),
    )
    await fixture.replica.ready
    const { request, positions } = fixture.requests.all[0] as Request
    expect(request.url).toBe("/stream?filter=b.db%2Cc+d.db")
    expect(request.headers["litefs-databases"]).toBe("b.db,c%20d.db")
    expect(positions.size).toBe(0)
    expect([...fixture.files.values()].map(({ database }) => database)).toEqual(["b.db"])
    expect(fixture.log.lines.join("\n")).not.toContain("app.db")
  })

  test("Replica says what it cannot take, and drops what comes of it", async () => {
    await using fixture = await Fixture.open({
      leftOut: () => ["a.db", "ä,b.db"],
      isLeftOut: (database) => database === "a.db",
    })
    const response = await fixture.accept()
    response.write(concat(ltx("a.db", random.bytes(70_000)), ltx("b.db", new Uint8Array(9)), READY))
    await fixture.replica.ready
    const { headers } = (fixture.requests.all[0] as Request).request
    expect(headers["litefs-left-out"]).toBe("a.db,%C3%A4%2Cb.db")
    expect([...decodeLeftOut(headers["litefs-left-out"] as string)]).toEqual(["a.db", "ä,b.db"])
    expect([...fixture.files.values()].map(({ database }) => database)).toEqual(["b.db"])
  })

  test("Replica takes a snapshot when its primary says that it is whole, and goes on without it when it is not", async () => {
    const listed: string[] = []
    await using fixture = await Fixture.open({
      onListed: (database, { state }) => listed.push(`${database} ${state}`),
    })
    const response = await fixture.accept()
    const snapshot = (database: string, state: ListedState) =>
      concat(
        encodeFrame({ type: "resumable", database, token: 1n }),
        ltx(database, random.bytes(300_000)),
        encodeFrame({ type: "listed", database, pos, state }),
      )
    const pos = { txid: 7n, checksum: 1n << 63n }
    response.write(
      concat(
        encodeFrame({ type: "catalogue", count: 0 }),
        snapshot("bad.db", "unreadable"),
        snapshot("good.db", "present"),
        ltx("other.db", new Uint8Array(9)),
        READY,
      ),
    )
    await fixture.replica.ready
    const whole = fixture.events.all.filter((event) => !event.startsWith("primary"))
    expect(whole).toEqual(["abort", "file good.db", "file other.db"])
    expect(listed).toEqual(["bad.db unreadable", "good.db present"])
    expect(fixture.requests.all).toHaveLength(1)
  })

  test("Replica gives up on a primary that says nothing after a snapshot", async () => {
    await using fixture = await Fixture.open()
    const response = await fixture.accept()
    const database = "app.db"
    response.write(
      concat(
        encodeFrame({ type: "catalogue", count: 0 }),
        encodeFrame({ type: "resumable", database, token: 1n }),
        ltx(database, new Uint8Array(9)),
        HEARTBEAT,
      ),
    )
    await fixture.reconnect()
    expect(fixture.events.all).not.toContain("file app.db")
    expect(fixture.log.lines.at(-1)).toContain("a heartbeat frame is not what follows a snapshot")
  })

  test("Replica does not follow a primary that speaks another protocol", async () => {
    await using fixture = await Fixture.open()
    const response = await fixture.accept(1, { "Litefs-Protocol": "2" })
    response.write(ltx("app.db", new Uint8Array(9)))
    await fixture.reconnect()
    expect(fixture.files.size).toBe(0)
    expect(fixture.log.lines.at(-1)).toContain("it speaks protocol 2, this node 1, update LiteFS")
  })

  test("Replica gives up on a frame that claims a name of gigabytes", async () => {
    await using fixture = await Fixture.open()
    const response = await fixture.accept()
    const frame = new Uint8Array(16)
    new DataView(frame.buffer).setUint32(0, 1)
    new DataView(frame.buffer).setUint32(12, 0xffff_fff0)
    response.write(frame)
    await fixture.reconnect()
    expect(fixture.log.lines.at(-1)).toContain("a text of 4294967280 bytes, expected at most 255")
  })

  test("Replica tells its positions again only when the files that came whole have settled", async () => {
    const applied = Promise.withResolvers<void>()
    const asked = new Events<number>()
    let txid = 3n
    await using fixture = await Fixture.open({
      positions: () => new Map([["app.db", { txid, checksum: 1n << 63n }]]),
      sink: {
        write: (_file, _database, _bytes, _isLast, taken) => taken(),
        applied: (file) => {
          asked.push(file)
          return applied.promise
        },
        abort: () => {},
      },
    })
    const response = await fixture.accept()
    response.write(ltx("app.db", new Uint8Array(9)))
    await asked.until((all) => all.length === 1)
    response.end()
    await new Promise<void>((done) => response.on("close", () => done()))
    for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate)
    expect(givenUp(fixture.events.all)).toBe(false)
    txid = 4n
    applied.resolve()
    await fixture.events.until(givenUp)
    await fixture.pause()
    await fixture.accept(2)
    expect(fixture.requests.all[1]?.positions.get("app.db")?.txid).toBe(4n)
  })

  test("Replica pauses longer and longer while connections bring nothing, up to a limit", async () => {
    await using fixture = await Fixture.open()
    const pauseOf = async (count: number): Promise<number> => {
      await fixture.events.until((all) => {
        return all.filter((event) => event === "primary undefined").length === count
      })
      await fixture.clock.waiting()
      let pauseMs = 0
      while (fixture.requests.all.length === count) {
        fixture.clock.advance(250)
        pauseMs += 250
        if (fixture.clock.timerCount > 0) continue
        await fixture.requests.until((all) => all.length > count)
      }
      return pauseMs
    }
    const pauses: number[] = []
    for (let count = 1; count <= 7; count++) {
      await fixture.requests.until((all) => all.length >= count)
      const { response } = fixture.requests.all[count - 1] as Request
      if (count === 6) {
        // One that is of use begins anew.
        response.writeHead(200)
        response.write(READY)
        await fixture.replica.ready
        response.end()
      } else {
        response.statusCode = 503
        response.end()
      }
      pauses.push(await pauseOf(count))
    }
    expect(pauses).toEqual([500, 1000, 2000, 4000, 4000, 500, 1000])
  })

  test("Replica.close() ends a connection, and a pause", async () => {
    const connected = await Fixture.open()
    await connected.accept()
    await connected.events.until((all) => all.includes("primary one"))
    await connected[Symbol.asyncDispose]()
    expect(connected.clock.timerCount).toBe(0)

    const pausing = await Fixture.open()
    const response = await pausing.accept()
    response.end()
    await pausing.events.until(givenUp)
    await pausing.clock.waiting()
    await pausing[Symbol.asyncDispose]()
    expect(pausing.clock.timerCount).toBe(0)
  })
})
