import { describe, expect, test } from "bun:test"
import { EventEmitter } from "node:events"
import { writeFileSync } from "node:fs"
import type { IncomingMessage, ServerResponse } from "node:http"
import { EventFeed } from "../../src/http/status/events.ts"
import { LtxDirectory } from "../../src/store/ltx/ltx-directory.ts"
import { Positions } from "../../src/store/positions.ts"
import { LogLines } from "../support/log-lines.ts"
import { ltxFile, page } from "../support/ltx-file.ts"
import { posOf, StatusNode } from "../support/status-node.ts"

/** Reads `/events` line by line. */
class Listener implements AsyncDisposable {
  readonly #abort = new AbortController()
  readonly #lines: AsyncGenerator<string>

  private constructor(lines: (signal: AbortSignal) => AsyncGenerator<string>) {
    this.#lines = lines(this.#abort.signal)
  }

  /** Resolves when the first line has come. */
  static async open(node: StatusNode): Promise<{ listener: Listener; first: string }> {
    const listener = new Listener((signal) => linesOf(node, signal))
    return { listener, first: await listener.next() }
  }

  async next(): Promise<string> {
    const { value, done } = await this.#lines.next()
    if (done) throw new Error("the events have ended")
    return value
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort()
    await this.#lines.return(undefined).catch(() => {})
  }
}

async function* linesOf(node: StatusNode, signal: AbortSignal): AsyncGenerator<string> {
  const response = await node.get("/events", { signal })
  expect(response.headers.get("content-type")).toBe("application/json")
  let rest = ""
  for await (const part of response.body as ReadableStream<Uint8Array>) {
    const lines = (rest + new TextDecoder().decode(part)).split("\n")
    rest = lines.pop() ?? ""
    yield* lines
  }
}

function txidOf(line: string): string {
  return JSON.parse(line).data.txID.replace(/^0+/, "")
}

/** Makes the LTX file that the transaction before the last has. */
function writeLtx(node: StatusNode, database: string, txid: number): void {
  const path = new LtxDirectory(node.dataDir.ltxDir(database)).filePath(BigInt(txid), BigInt(txid))
  const header = {
    minTxid: BigInt(txid),
    maxTxid: BigInt(txid),
    preApplyChecksum: txid === 1 ? 0n : posOf(txid - 1).checksum,
    timestampMs: 1795394852209,
  }
  writeFileSync(
    path,
    ltxFile({ header, pages: [page(1, 7)], postApplyChecksum: posOf(txid).checksum }),
  )
}

describe("GET /events", () => {
  test("begins with the role, as the original does", async () => {
    await using primary = await StatusNode.start()
    const { listener, first } = await Listener.open(primary)
    expect(first).toBe('{"type":"init","data":{"isPrimary":true}}')
    await listener[Symbol.asyncDispose]()

    await using replica = await StatusNode.start("replica")
    const alone = await Listener.open(replica)
    expect(alone.first).toBe('{"type":"init","data":{"isPrimary":false}}')
    await alone.listener[Symbol.asyncDispose]()
    replica.api.setPrimaryName("a.local")
    const connected = await Listener.open(replica)
    expect(connected.first).toBe('{"type":"init","data":{"isPrimary":false,"hostname":"a.local"}}')
    await connected.listener[Symbol.asyncDispose]()
  })

  test("tells a transaction with the original's bytes", async () => {
    await using node = await StatusNode.start()
    node.clock.setMs = 1795394852209 - node.nowMs
    const { listener } = await Listener.open(node)
    await using _ = listener
    node.commit("a<b>&.db", 8)
    expect(await listener.next()).toBe(
      '{"type":"tx","db":"a\\u003cb\\u003e\\u0026.db","data":{"txID":"0000000000000008",' +
        '"postApplyChecksum":"8000000000000008","pageSize":4096,"commit":2,' +
        '"timestamp":"2026-11-23T00:47:32.209Z"}}',
    )
    node.clock.advance(1)
    node.commit("a.db", 1)
    expect(await listener.next()).toContain('"timestamp":"2026-11-23T00:47:32.21Z"')
    node.clock.advance(790)
    node.commit("a.db", 2)
    expect(await listener.next()).toContain('"timestamp":"2026-11-23T00:47:33Z"')
  })

  test("tells every transaction of a bunch, from the LTX files", async () => {
    await using node = await StatusNode.start()
    node.commit("a.db", 3)
    const { listener } = await Listener.open(node)
    await using _ = listener
    for (const txid of [4, 5, 6]) {
      writeLtx(node, "a.db", txid)
      node.commit("a.db", txid, { isLast: false })
    }
    node.commit("a.db", 7)
    const told = [await listener.next(), await listener.next(), await listener.next()]
    expect(told.map(txidOf)).toEqual(["4", "5", "6"])
    expect(txidOf(await listener.next())).toBe("7")
    expect(JSON.parse(told[1] ?? "")).toEqual({
      type: "tx",
      db: "a.db",
      data: {
        txID: "0000000000000005",
        postApplyChecksum: "8000000000000005",
        pageSize: 512,
        commit: 1,
        timestamp: "2026-11-23T00:47:32.209Z",
      },
    })
  })

  test("leaves out transactions of a bunch that have no file, or one that is torn", async () => {
    await using node = await StatusNode.start()
    node.commit("a.db", 3)
    const { listener } = await Listener.open(node)
    await using _ = listener
    node.commit("a.db", 4, { isLast: false })
    writeFileSync(new LtxDirectory(node.dataDir.ltxDir("a.db")).filePath(4n, 4n), "torn")
    node.commit("a.db", 1_000_000)
    expect(txidOf(await listener.next())).toBe("f4240") // 1,000,000
    node.commit("a.db", 7) // another history
    expect(txidOf(await listener.next())).toBe("7")
  })

  test("tells who is the primary when that changes, and only then", async () => {
    await using node = await StatusNode.start("replica")
    const { listener } = await Listener.open(node)
    await using _ = listener
    for (const name of [undefined, "a.local", "a.local", undefined, undefined, "b.local"]) {
      node.api.setPrimaryName(name)
    }
    const lines = [await listener.next(), await listener.next(), await listener.next()]
    expect(lines).toEqual([
      '{"type":"primaryChange","data":{"isPrimary":false,"hostname":"a.local"}}',
      '{"type":"primaryChange","data":{"isPrimary":false}}',
      '{"type":"primaryChange","data":{"isPrimary":false,"hostname":"b.local"}}',
    ])
  })

  test("does not tell what was before, to whoever comes first and to whoever comes later", async () => {
    await using node = await StatusNode.start()
    node.commit("a.db", 3)
    const first = await Listener.open(node)
    node.commit("a.db", 4, { isLast: false })
    const second = await Listener.open(node)
    node.commit("a.db", 5)
    expect(txidOf(await first.listener.next())).toBe("4")
    expect(txidOf(await first.listener.next())).toBe("5")
    expect(txidOf(await second.listener.next())).toBe("5")
    await first.listener[Symbol.asyncDispose]()
    await second.listener[Symbol.asyncDispose]()
    node.commit("a.db", 6)
    const third = await Listener.open(node)
    node.commit("a.db", 7)
    expect(txidOf(await third.listener.next())).toBe("7")
    await third.listener[Symbol.asyncDispose]()
  })

  test("refuses parameters", async () => {
    await using node = await StatusNode.start()
    expect((await node.get("/events?since=5")).status).toBe(400)
  })
})

/** A listener that reads nothing. */
class StuckResponse extends EventEmitter {
  writableLength = 0
  isDestroyed = false

  writeHead(): void {}

  write(text: string): void {
    this.writableLength += text.length
  }

  destroy(): void {
    this.isDestroyed = true
    this.emit("close")
  }
}

describe("EventFeed", () => {
  test("cuts off a listener that does not read, and keeps the others", () => {
    using log = new LogLines()
    const positions = Positions.create()
    const slot = positions.add("a.db")
    const feed = new EventFeed({
      positions,
      leadership: () => ({ isPrimary: true, hostname: undefined }),
      readTransaction: () => undefined,
    })
    const [stuck, other] = [new StuckResponse(), new StuckResponse()]
    for (const response of [stuck, other]) {
      const request = { headers: { "litefs-hostname": "b" }, socket: { remoteAddress: "::1" } }
      feed.handle(
        request as unknown as IncomingMessage,
        response as unknown as ServerResponse,
        new URL("http://node/events"),
      )
    }
    for (let txid = 1; txid <= 5000; txid++) {
      positions.write(
        slot,
        { pos: posOf(txid), timestampMs: 1, pageSize: 512, commit: 1 },
        posOf(txid),
      )
      feed.positionsChanged()
      other.writableLength = 0
    }
    expect(stuck.isDestroyed).toBe(true)
    expect(stuck.writableLength).toBeLessThan(300 * 1024)
    expect([other.isDestroyed, feed.listenerCount]).toEqual([false, 1])
    expect(log.lines.filter((line) => line.includes("cut off"))).toEqual([
      expect.stringMatching(/from=::1 node=b$/),
    ])
  })

  test("reads nothing while nobody listens", () => {
    const positions = Positions.create()
    let readCount = 0
    const feed = new EventFeed({
      positions,
      leadership: () => ({ isPrimary: true, hostname: undefined }),
      readTransaction: () => {
        readCount += 1
        return undefined
      },
    })
    const slot = positions.add("a.db")
    for (const txid of [5, 10]) {
      positions.write(
        slot,
        { pos: posOf(txid), timestampMs: 1, pageSize: 512, commit: 1 },
        posOf(txid),
      )
      feed.positionsChanged()
      feed.primaryChanged()
    }
    expect(readCount).toBe(0)
  })
})
