import { describe, expect, test } from "bun:test"
import type { Field } from "../../../src/wire/http2/hpack.ts"
import type { RequestHead } from "../../../src/wire/http2/messages.ts"
import { Http2Session, type Http2Stream } from "../../../src/wire/http2/session.ts"
import {
  ask,
  data,
  Flag,
  FrameLines,
  FrameType,
  frame,
  HELLO,
  PREFACE,
  ping,
  reset,
  settings,
  update,
} from "../../support/http2-frames.ts"

const LIMITS = { streamCountMax: 4, streamWindow: 65_536, window: 131_072 }

/** A server whose requests wait until the test answers them. */
class Served {
  nowMs = 0
  isFull = false
  over: string | undefined | null = null
  readonly sent = new FrameLines()
  readonly requests: {
    stream: Http2Stream
    head: RequestHead
    got: number
    isEnded: boolean
    code?: number
  }[] = []
  readonly session: Http2Session

  constructor() {
    this.session = new Http2Session("server", LIMITS, {
      nowMs: () => this.nowMs,
      send: (bytes) => {
        this.sent.push(bytes)
        return !this.isFull
      },
      onRequest: (stream, head) => {
        const request: Served["requests"][number] = {
          stream,
          head,
          got: 0,
          isEnded: stream.hasCome,
        }
        this.requests.push(request)
        stream.reader = {
          onData: (bytes) => {
            request.got += bytes.length
          },
          onEnd: () => {
            request.isEnded = true
          },
          onReset: (code) => {
            request.code = code
            stream.leave()
          },
          onRoom: () => {},
        }
      },
      onOver: (problem) => {
        this.over = problem
      },
    })
  }

  hear(...parts: Uint8Array[]): this {
    for (const part of parts) this.session.receive(part)
    return this
  }

  /** What was sent since the settings of the beginning. */
  get said(): string[] {
    return this.sent.lines.filter((line) => !/^settings|^window_update 0 65537/.test(line))
  }

  answer(index: number, size = 0): void {
    const stream = this.requests[index]?.stream as Http2Stream
    stream.head([[":status", "200"]], size === 0)
    if (size > 0) {
      stream.write(new Uint8Array(size))
      stream.end()
    }
    stream.leave()
  }
}

const greeted = () => new Served().hear(HELLO)
const gone = (code: number) => `goaway 0 ${code}`

describe("Http2Session as a server", () => {
  test("Http2Session reads a request that is split anywhere, and answers it", () => {
    const whole = Buffer.concat([
      HELLO,
      ask(1, "/a?b=c", { method: "POST", isOpen: true, fields: [["x", "1"]] }),
      data(1, 5),
      data(1, 3, true),
      ask(3, "/"),
    ])
    for (let at = 0; at <= whole.length; at++) {
      const served = new Served().hear(whole.subarray(0, at), whole.subarray(at))
      const [first, second] = served.requests
      expect(first?.head).toEqual({
        method: "POST",
        path: "/a?b=c",
        fields: [
          ["host", "127.0.0.1"],
          ["x", "1"],
        ],
        size: undefined,
      })
      expect([first?.got, first?.isEnded, second?.isEnded]).toEqual([8, true, true])
      served.answer(0, 20_000)
      served.answer(1)
      expect(served.said).toEqual([
        "headers 1 200",
        "data 1 16384",
        "data 1 3616",
        "data 1 0 end",
        "headers 3 200 end",
      ])
    }
    const single = new Served()
    for (const byte of whole) single.hear(Uint8Array.of(byte))
    expect(single.requests.map(({ got }) => got)).toEqual([8, 0])
  })

  test("Http2Session takes headers in several frames, and padding", () => {
    const [block] = [ask(1, "/long", { fields: [["x", "y".repeat(500)]] }).subarray(9)]
    const served = greeted().hear(
      frame(
        FrameType.HEADERS,
        Flag.END_STREAM | Flag.PADDED | Flag.PRIORITY,
        1,
        Buffer.concat([Uint8Array.of(3, 0, 0, 0, 0, 16), block.subarray(0, 10), new Uint8Array(3)]),
      ),
      frame(FrameType.CONTINUATION, 0, 1, block.subarray(10, 20)),
      frame(FrameType.CONTINUATION, Flag.END_HEADERS, 1, block.subarray(20)),
    )
    expect(served.requests.map(({ head }) => head.path)).toEqual(["/long"])
  })

  test("Http2Session sends as much as the windows take", () => {
    const served = greeted().hear(settings([4, 10]), ask(1, "/"), ask(3, "/"))
    served.answer(0, 100)
    served.answer(1, 5)
    expect(served.said).toEqual([
      ...["headers 1 200", "data 1 10"],
      ...["headers 3 200", "data 3 5", "data 3 0 end"],
    ])
    served.hear(update(1, 20), settings([4, 30]))
    expect(served.said.slice(5)).toEqual(["data 1 20", "data 1 20"])
    served.hear(settings([4, 0]), update(1, 30), update(1, 1000))
    expect(served.sent.sizes.get(1)).toBe(100)
    expect(served.said.at(-1)).toBe("data 1 50 end")
  })

  test("Http2Session keeps to the window of the connection, and is fair to its streams", () => {
    const served = greeted().hear(settings([4, 1_000_000]), ask(1, "/"), ask(3, "/"))
    served.answer(0, 100_000)
    served.answer(1, 100_000)
    expect(served.sent.sizes.get(1)).toBe(65_535)
    served.hear(update(0, 40_000))
    const [first = 0, second = 0] = [served.sent.sizes.get(1), served.sent.sizes.get(3)]
    expect(first + second).toBe(65_535 + 40_000)
    expect(second).toBe(16_384) // in turn with 7,232 and 16,384 of the first
  })

  test("Http2Session waits while the connection takes nothing", () => {
    const served = greeted().hear(ask(1, "/"))
    served.isFull = true
    served.answer(0, 50_000)
    expect(served.said).toEqual(["headers 1 200"])
    served.isFull = false
    served.session.drained()
    expect(served.sent.sizes.get(1)).toBe(50_000)
  })

  test("Http2Session gives room when a body is read, not before", () => {
    const served = greeted().hear(ask(1, "/", { isOpen: true }))
    for (let count = 0; count < 4; count++) served.hear(data(1, 16_384))
    expect(served.said).toEqual([])
    served.requests[0]?.stream.consumed(40_000)
    expect(served.said).toEqual(["window_update 1 40000"])
    served.hear(data(1, 16_384))
    served.hear(data(1, 16_384)).hear(data(1, 16_384))
    expect(served.said.at(-1)).toBe(gone(3))
  })

  test("Http2Session gives back the room of a stream that is over", () => {
    const served = greeted()
    for (let id = 1; id < 9; id += 2)
      served.hear(ask(id, "/", { isOpen: true }), data(id, 16_000), reset(id))
    expect(served.said).toEqual([]) // 64,000, of which half the window is 65,536
    served.hear(ask(9, "/", { isOpen: true }), data(9, 16_000), reset(9))
    expect(served.said).toEqual(["window_update 0 80000"])
  })

  test("Http2Session refuses requests beyond its count, until others are no longer worked on", () => {
    const served = greeted()
    for (let id = 1; id < 11; id += 2) served.hear(ask(id, "/"))
    expect(served.said).toEqual(["rst 9 7"])
    served.answer(0)
    served.hear(ask(11, "/"))
    expect(served.requests).toHaveLength(5)
  })

  test("Http2Session counts a request that was taken back until it is no longer worked on", () => {
    const served = greeted()
    served.hear(ask(1, "/"), ask(3, "/"), ask(5, "/"), ask(7, "/"))
    for (const { stream } of served.requests) stream.reader = undefined // still worked on
    served.hear(reset(1), reset(3), ask(9, "/"))
    expect(served.requests).toHaveLength(4)
    served.requests[0]?.stream.leave()
    served.hear(ask(11, "/"))
    expect(served.requests).toHaveLength(5)
  })

  test("Http2Session takes no new request while much waits to be read", () => {
    const served = greeted().hear(settings([4, 0]), ask(1, "/"), ask(3, "/"))
    served.answer(0, 5_000_000)
    served.hear(ask(5, "/"))
    expect(served.said).toEqual(["headers 1 200", "rst 5 7"])
  })

  test("Http2Session gives up answers that would be too many together, but not a large one", () => {
    const served = greeted().hear(settings([4, 0]), ask(1, "/"), ask(3, "/"), ask(5, "/"))
    served.answer(0, 30_000_000)
    served.answer(1, 1000)
    expect(served.said).toEqual(["headers 1 200", "headers 3 200", "rst 3 11"])
    served.hear(settings([4, 40_000_000]), update(0, 40_000_000))
    expect(served.sent.sizes.get(1)).toBe(30_000_000)
    served.answer(2, 1000)
    expect(served.sent.sizes.get(5)).toBe(1000)
  })

  test("Http2Session gives up an answer that nobody reads, and a connection", () => {
    const served = greeted().hear(settings([4, 0]), ask(1, "/"), ask(3, "/"))
    served.answer(0, 10)
    served.nowMs = 61_000
    served.session.check()
    expect([served.said.at(-1), served.requests[0]?.code]).toEqual(["rst 1 8", 8])
    served.isFull = true
    served.answer(1)
    served.nowMs = 130_000
    served.session.check()
    expect(served.over).toMatch(/takes nothing for 60000 ms/)
  })

  test("Http2Session leaves when its streams are over", () => {
    const served = greeted().hear(ask(1, "/"))
    served.session.leave()
    served.hear(ask(3, "/"))
    expect([served.said, served.over]).toEqual([[gone(0), "rst 3 7"], null])
    served.answer(0)
    expect(served.over).toBeUndefined()
  })
})

const MANY_FIELDS = Array.from({ length: 600 }, (): Field => ["x", "y"])

const MANY = (count: number, make: (index: number) => Uint8Array) =>
  Array.from({ length: count }, (_, index) => make(index))

describe("Http2Session ends a connection whose other side", () => {
  test.each<[string, number, readonly Uint8Array[]]>([
    ["sends another preface", 1, [Buffer.from("PRI * HTTP/2.0\r\n\r\nSX\r\n\r\n")]],
    ["begins with no settings", 1, [PREFACE, ping()]],
    ["begins with an answer to settings", 1, [PREFACE, frame(FrameType.SETTINGS, Flag.ACK, 0)]],
    ["sends too large a frame", 6, [HELLO, Uint8Array.of(0, 0x40, 1, 0, 0, 0, 0, 0, 1)]],
    ["sends data of no stream", 1, [HELLO, data(1, 1)]],
    ["sends data of stream 0", 1, [HELLO, data(0, 1)]],
    ["resets no stream", 1, [HELLO, reset(1)]],
    ["makes an even stream", 1, [HELLO, ask(2, "/")]],
    ["pushes", 1, [HELLO, frame(FrameType.PUSH_PROMISE, 4, 1, new Uint8Array(8))]],
    ["sends a rest of no headers", 1, [HELLO, frame(FrameType.CONTINUATION, 4, 1)]],
    ["sends other frames within headers", 1, [HELLO, frame(FrameType.HEADERS, 0, 1), ping()]],
    [
      "pads with more than there is",
      1,
      [HELLO, frame(FrameType.HEADERS, Flag.PADDED | 4, 1, Uint8Array.of(9, 1))],
    ],
    ["has a window over 2^31", 3, [HELLO, update(0, 2 ** 31 - 1)]],
    ["has a window of streams over 2^31", 3, [HELLO, settings([4, 2 ** 31])]],
    ["adds nothing to a window", 1, [HELLO, update(0, 0)]],
    ["wants tiny frames", 1, [HELLO, settings([5, 100])]],
    ["has half a setting", 6, [HELLO, frame(FrameType.SETTINGS, 0, 0, new Uint8Array(5))]],
    [
      "has headers that are not HPACK",
      9,
      [HELLO, frame(FrameType.HEADERS, 5, 1, Uint8Array.of(0x80))],
    ],
    [
      "sends more than a window",
      3,
      [HELLO, ask(1, "/", { isOpen: true }), ...MANY(5, () => data(1, 16_384))],
    ],
    ["floods with pings", 11, [HELLO, ...MANY(600, ping)]],
    ["floods with settings", 11, [HELLO, ...MANY(600, () => settings())]],
    [
      "floods with long settings",
      11,
      [
        HELLO,
        ...MANY(10, () =>
          settings(...MANY(2000, () => new Uint8Array(0)).map((): [number, number] => [9, 9])),
        ),
      ],
    ],
    [
      "floods with priorities",
      11,
      [HELLO, ...MANY(600, () => frame(FrameType.PRIORITY, 0, 1, new Uint8Array(5)))],
    ],
    ["floods with frames of no kind", 11, [HELLO, ...MANY(600, () => frame(77, 0, 0))]],
    [
      "floods with empty data",
      11,
      [HELLO, ask(1, "/", { isOpen: true }), ...MANY(600, () => data(1, 0))],
    ],
    ["floods with updates of windows", 11, [HELLO, ask(1, "/"), ...MANY(2100, () => update(1, 1))]],
    [
      "floods with continuations",
      11,
      [
        HELLO,
        frame(FrameType.HEADERS, 1, 1),
        ...MANY(9, () => frame(FrameType.CONTINUATION, 0, 1)),
      ],
    ],
    [
      "has endless headers",
      11,
      [
        HELLO,
        frame(FrameType.HEADERS, 1, 1, new Uint8Array(16_000)),
        ...MANY(2, () => frame(FrameType.CONTINUATION, 0, 1, new Uint8Array(16_000))),
      ],
    ],
    [
      "takes requests back at once",
      11,
      [HELLO, ...MANY(210, (n) => (n % 2 ? reset(n) : ask(n + 1, "/")))],
    ],
    [
      "sends malformed requests",
      11,
      [HELLO, ...MANY(110, (n) => ask(2 * n + 1, "/", { fields: [["Upper", "x"]] }))],
    ],
  ])("%s", (_, code, parts) => {
    const served = new Served().hear(...parts)
    expect(served.said.at(-1)).toBe(gone(code))
    expect(served.over).toBeString()
    const before = served.sent.lines.length
    served.hear(ask(1001, "/"), ping())
    expect(served.sent.lines).toHaveLength(before) // it hears no more
  })

  test("does not end its headers", () => {
    const served = greeted().hear(frame(FrameType.HEADERS, 1, 1))
    served.nowMs = 9000
    served.session.check()
    expect(served.over).toBeNull()
    served.nowMs = 11_000
    served.session.check()
    expect(served.over).toMatch(/headers do not end/)
  })
})

describe("Http2Session goes on with who", () => {
  test("sends such frames now and then", () => {
    const served = greeted().hear(ask(1, "/"))
    for (let second = 0; second < 100; second++) {
      served.nowMs += 1000
      served.hear(...MANY(50, ping), ...MANY(100, () => update(1, 1)))
    }
    expect(served.over).toBeNull()
  })

  test("reads what it is sent, and says so for every 4 KiB", () => {
    const served = greeted().hear(ask(1, "/"))
    const stream = served.requests[0]?.stream as Http2Stream
    stream.head([[":status", "200"]], false)
    for (let count = 0; count < 5000; count++) {
      stream.write(new Uint8Array(4096))
      served.hear(update(0, 4096), update(1, 4096))
    }
    expect([served.over, served.sent.sizes.get(1)]).toEqual([null, 5000 * 4096])
  })

  test.each<[string, readonly Field[]]>([
    ["has a name in upper case", [["Upper", "x"]]],
    ["has a name of HTTP/1.1", [["connection", "close"]]],
    ["has Transfer-Encoding", [["transfer-encoding", "chunked"]]],
    ["wants trailers in another way", [["te", "gzip"]]],
    ["has a line break in a value", [["x", "a\r\nb: c"]]],
    ["has a NUL in a value", [["x", "\0"]]],
    ["has a space at an end", [["x", "a "]]],
    ["has a second path", [[":path", "/b"]]],
    ["has an unknown pseudo-header", [[":x", "/b"]]],
    [
      "says two sizes",
      [
        ["content-length", "1"],
        ["content-length", "2"],
      ],
    ],
    ["says no size", [["content-length", "-1"]]],
    ["says a size and has none", [["content-length", "1"]]],
  ])("%s, without that request", (_, fields) => {
    const served = greeted().hear(ask(1, "/", { fields }), ask(3, "/"))
    expect(served.said).toEqual(["rst 1 1"])
    expect(served.requests.map(({ head }) => head.path)).toEqual(["/"])
  })

  test("has another body than it says, without that request", () => {
    const said = { isOpen: true, method: "POST", fields: [["content-length", "5"] as const] }
    const served = greeted().hear(
      ask(1, "/", said),
      data(1, 6),
      ask(3, "/", said),
      data(3, 4, true),
    )
    expect(served.said).toEqual(["rst 1 1", "rst 3 1"])
    served.hear(ask(5, "/", said), data(5, 5, true))
    expect(served.requests.at(-1)?.isEnded).toBe(true)
  })

  test("has too long a list of headers, which is answered with 431", () => {
    const served = greeted().hear(ask(1, "/", { fields: MANY_FIELDS }), ask(3, "/"))
    expect(served.said).toEqual(["headers 1 431 end"])
    expect(served.requests).toHaveLength(1)
  })
})

describe("Http2Session as a client", () => {
  /** A client and a server, each of which has what the other one sends. */
  function pair() {
    const server = new Served()
    const heard: string[] = []
    const sent = new FrameLines()
    const toServer: Uint8Array[] = []
    const client = new Http2Session("client", LIMITS, {
      nowMs: () => 0,
      send: (bytes) => {
        if (toServer.length > 0 || !PREFACE.equals(bytes)) sent.push(bytes)
        toServer.push(bytes)
        return true
      },
      onOver: (problem) => heard.push(`over: ${problem}`),
    })
    const reader = {
      onHead: ({ status }: { status: number }) => heard.push(`head ${status}`),
      onData: (bytes: Uint8Array) => heard.push(`data ${bytes.length}`),
      onEnd: () => heard.push("end"),
      onReset: (code: number) => heard.push(`reset ${code}`),
      onRoom: () => {},
    }
    return {
      server,
      client,
      heard,
      sent,
      reader,
      deliver: () => server.hear(...toServer.splice(0)),
    }
  }

  test("Http2Session sends a request that a session reads, and ends an empty one with its head", () => {
    const { server, client, sent, reader, deliver } = pair()
    const head: Field[] = [
      [":method", "POST"],
      [":scheme", "http"],
      [":authority", "a:1"],
      [":path", "/stream"],
    ]
    client.request(head, true, reader)
    const stream = client.request(head, false, reader)
    stream.write(new Uint8Array(4))
    stream.end()
    deliver()
    expect(sent.lines.slice(2)).toEqual([
      "headers 1 POST http a:1 /stream end",
      "headers 3 POST http a:1 /stream",
      "data 3 4",
      "data 3 0 end",
    ])
    expect(server.requests.map(({ got, isEnded }) => [got, isEnded])).toEqual([
      [0, true],
      [4, true],
    ])
  })

  test("Http2Session hears a response, a reset, and a goodbye", () => {
    const { client, heard, reader } = pair()
    client.request([[":method", "GET"]], true, reader)
    client.request([[":method", "GET"]], true, reader)
    client.request([[":method", "GET"]], true, reader)
    const status = (id: number, code: string, end = 0) =>
      frame(FrameType.HEADERS, 4 | end, id, Uint8Array.of(0x08, 3, ...Buffer.from(code)))
    for (const part of [
      settings(),
      status(1, "103"),
      status(1, "200"),
      data(1, 7),
      data(1, 3, true),
      reset(3, 2),
      frame(FrameType.GOAWAY, 0, 0, Uint8Array.of(0, 0, 0, 1, 0, 0, 0, 11)),
    ])
      client.receive(part)
    expect(heard).toEqual(["head 200", "data 7", "data 3", "end", "reset 2", "reset 11"])
    client.receive(frame(FrameType.PUSH_PROMISE, 4, 1, new Uint8Array(8)))
    expect(heard.at(-1)).toMatch(/over: it has sent a push/)
  })
})
