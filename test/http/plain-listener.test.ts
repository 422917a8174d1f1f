/** The API's port speaks HTTP/1.1 and HTTP/2: what holds for one holds for the other. */
import { describe, expect, test } from "bun:test"
import type { IncomingMessage, ServerResponse } from "node:http"
import { readBody } from "../../src/http/server/body.ts"
import { BodyWriter } from "../../src/http/server/body-writer.ts"
import { ApiServer, type ApiServerOptions, type Routes } from "../../src/http/server/server.ts"
import { systemClock } from "../../src/lib/clock.ts"
import { LitefsError } from "../../src/lib/errors.ts"
import type { Field } from "../../src/wire/http2/hpack.ts"
import { FakeClock } from "../support/fake-clock.ts"
import { Http2Client } from "../support/http2-client.ts"
import { ask, data, HELLO, PREFACE, reset, settings, update } from "../support/http2-frames.ts"
import { LogLines } from "../support/log-lines.ts"
import { RawSocket } from "../support/raw-socket.ts"
import { until } from "../support/until.ts"

const LIMITS = { sizeMax: 1000, timeMs: 5000 }
const GONE = /^goaway 0 11/

/** `/wait` and `/export` are not answered until the test does so. */
class Served implements AsyncDisposable {
  readonly clock: FakeClock
  readonly waiting: [IncomingMessage, ServerResponse][] = []
  readonly log = new LogLines()
  readonly written: number[] = []
  readonly #server: ApiServer
  port = 0

  constructor(options: Partial<ApiServerOptions> = {}, clock = new FakeClock()) {
    this.clock = clock
    const wait = (request: IncomingMessage, response: ServerResponse) => {
      this.waiting.push([request, response])
      return new Promise<void>((resolve) => response.once("close", () => resolve()))
    }
    const routes: Routes = {
      "/hello": {
        GET: (request, response) => {
          response.setHeader("Connection", "keep-alive")
          response.end(`hello ${request.headers["x-name"]} from ${request.socket.remoteAddress}`)
        },
        POST: async (request, response) => {
          const body = await readBody(request, LIMITS, clock)
          response.end(`${body.length} bytes`)
        },
      },
      "/refused": {
        POST: () => Promise.reject(new LitefsError("no-lock", "it is lent")),
      },
      "/broken": {
        GET: (_, response) => void response.destroy(),
        POST: (_, response) => {
          response.write("begun")
          throw new Error("too late")
        },
      },
      "/wait": { GET: wait, POST: wait },
      "/export": { GET: wait },
      "/endless": {
        GET: async (request, response) => {
          const onCut = (problem: string) => void this.written.push(-problem.length)
          const body = new BodyWriter(response, request.socket, { clock, stallMs: 30_000, onCut })
          for (let count = 1; !body.isClosed && count <= 1000; count++) {
            await body.write(new Uint8Array(65_536))
            this.written.push(count)
          }
        },
      },
    }
    this.#server = new ApiServer(routes, {
      ...{ headers: { "Litefs-Id": "7" }, authToken: undefined, tls: undefined, clock },
      ...options,
    })
  }

  async listen(): Promise<this> {
    this.port = await this.#server.listen({ host: "127.0.0.1", port: 0 })
    return this
  }

  client(...parts: readonly Uint8Array[]): Promise<Http2Client> {
    return Http2Client.connect(this.port, ...parts)
  }

  async waits(count: number): Promise<void> {
    await until(`${count} requests wait`, () => this.waiting.length === count)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.close()
    this.log[Symbol.dispose]()
  }
}

describe("PlainListener tells HTTP/2 from HTTP/1.1", () => {
  test("PlainListener takes the preface split anywhere", async () => {
    await using served = await new Served().listen()
    const whole = Buffer.concat([HELLO, ask(1, "/hello", { fields: [["x-name", "you"]] })])
    for (let at = 1; at <= 30; at++) {
      using client = await served.client(whole.subarray(0, at))
      await Bun.sleep(2)
      client.send(whole.subarray(at))
      expect(await client.heard(/end$/)).toEqual([
        "headers 1 200",
        `data 1 ${"hello you from 127.0.0.1".length}`,
        "data 1 0 end",
      ])
    }
  })

  test("PlainListener takes a byte at a time", async () => {
    await using served = await new Served().listen()
    using client = await served.client(PREFACE.subarray(0, 1))
    for (const byte of Buffer.concat([HELLO, ask(1, "/hello")]).subarray(1)) {
      client.send(Uint8Array.of(byte))
      await Bun.sleep(1)
    }
    await client.heard(/end$/)
  })

  test.each([
    "GET /hello",
    "POST /hello",
    "PUT /hello",
    "PATCH /hello",
    "PROPFIND /hello",
    "P /",
    "PR /",
    "PRI /hello",
  ])("PlainListener has HTTP/1.1 answer %s, whole and a byte at a time", async (line) => {
    await using served = await new Served().listen()
    const text = `${line} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n`
    const whole = await RawSocket.connect(served.port)
    const slow = await RawSocket.connect(served.port)
    whole.write(text)
    for (const letter of text) {
      slow.write(letter)
      await Bun.sleep(1)
    }
    const answers = await Promise.all([whole, slow].map((each) => each.until("\r\n\r\n")))
    for (const each of [whole, slow]) each.destroy()
    const status = /^(GET|POST) /.test(line) ? 200 : /^(PUT|PATCH|PROPFIND) /.test(line) ? 405 : 4
    expect(answers[0]).toMatch(new RegExp(`^HTTP/1\\.1 ${status}`))
    expect(answers[1]?.slice(0, 12)).toBe(answers[0]?.slice(0, 12))
  })

  test("PlainListener has HTTP/1.1 refuse a request without a host", async () => {
    await using served = await new Served().listen()
    const socket = await RawSocket.connect(served.port)
    socket.write("GET /hello HTTP/1.1\r\n\r\n")
    expect(await socket.until("Host\n")).toStartWith("HTTP/1.1 400 ")
    socket.destroy()
  })

  test("PlainListener has HTTP/1.1 refuse what only begins like the preface", async () => {
    await using served = await new Served().listen()
    const socket = await RawSocket.connect(served.port)
    socket.write("PRI * HTTP/2.0\r\n\r\nGET /hello HTTP/1.1\r\n\r\n")
    expect(await socket.ended()).not.toContain("200")
  })

  test.each([1, 3, 23])(
    "PlainListener breaks who says %d bytes of the preface, and no more",
    async (size) => {
      await using served = await new Served().listen()
      using client = await served.client(PREFACE.subarray(0, size))
      await Bun.sleep(20)
      for (let second = 0; second < 9; second++) served.clock.advance(1000)
      await Bun.sleep(20)
      expect(client.isClosed).toBe(false)
      for (let second = 0; second < 3; second++) served.clock.advance(1000)
      expect(await client.closed()).toEqual([])
    },
  )
})

describe("PlainListener, over HTTP/2,", () => {
  test("answers many requests at a time, each when it is ready", async () => {
    await using served = await new Served().listen()
    using client = await served.client()
    for (let id = 1; id < 9; id += 2) client.send(ask(id, "/wait"))
    await served.waits(4)
    for (const [, response] of served.waiting.toReversed()) response.end()
    await client.heard(/^data 1 0 end/)
    expect(client.lines.filter((line) => line.endsWith("end"))).toEqual(
      [7, 5, 3, 1].map((id) => `data ${id} 0 end`),
    )
  })

  test("takes 64 requests at a time from one connection, and refuses more", async () => {
    await using served = await new Served().listen()
    using client = await served.client()
    for (let id = 1; id < 131; id += 2) client.send(ask(id, "/wait"))
    await served.waits(64)
    expect(await client.heard(/^rst/)).toEqual(["rst 129 7"])
    served.waiting[0]?.[1].end()
    await client.heard("data 1 0 end")
    client.send(ask(131, "/wait"))
    await served.waits(65)
  })

  test.each<[string, number, string, readonly Field[]]>([
    ["GET", 404, "/none", []],
    ["PUT", 405, "/hello", []],
    ["GET", 403, "/hello", [["origin", "http://evil"]]],
    ["GET", 403, "/hello", [["sec-fetch-site", "cross-site"]]],
    ["GET", 400, "/hello", [["host", "evil"]]],
    ["GET", 400, "/a%ff", []],
    ["POST", 409, "/refused", []],
    ["GET", 503, "/broken", []],
  ])("answers %s with %d for %s, %p", async (method, status, path, fields) => {
    await using served = await new Served().listen()
    using client = await served.client()
    client.send(ask(1, path, { method, fields }))
    expect((await client.heard(/end$/))[0]).toMatch(new RegExp(`^headers 1 ${status}`))
  })

  test("asks for the name of this node", async () => {
    await using served = await new Served({ isOwnName: (name) => name === "ours" }).listen()
    using client = await served.client()
    const named = (id: number, name: string) => {
      const whole = Buffer.from(ask(id, "/hello"))
      return Buffer.from(
        whole.toString("latin1").replace("127.0.0.1", name.padEnd(9, "x")),
        "latin1",
      )
    }
    client.send(named(1, "localhost"), named(3, "evil.test"))
    await client.heard("headers 3 403")
    expect(client.lines).toContain("headers 1 200")
  })

  test("asks for the token, lets who has a wrong one wait, and reads nothing of theirs", async () => {
    await using served = await new Served({ authToken: "right" }).listen()
    using client = await served.client()
    const shown = (token: string): Field[] => [["authorization", `Bearer ${token}`]]
    client.send(ask(1, "/hello"), ask(3, "/hello", { fields: shown("right") }))
    client.send(ask(5, "/hello", { method: "POST", isOpen: true, fields: shown("wrong") }))
    await client.heard(/^data 3 .*end/)
    const heads = client.lines.filter((line) => line.startsWith("headers"))
    expect(heads.toSorted()).toEqual(["headers 1 401", "headers 3 200"])
    served.clock.advance(1000)
    await client.heard("headers 5 401")
    for (let count = 0; count < 4; count++) client.send(data(5, 16_384))
    served.clock.advance(2000)
    await client.heard("rst 5 0")
  })

  test("breaks a stream whose handler fails after it has begun, and no other", async () => {
    await using served = await new Served().listen()
    using client = await served.client()
    client.send(ask(1, "/broken", { method: "POST" }), ask(3, "/hello"))
    await client.heard(/^data 3 .*end/)
    expect((await client.heard(/^rst/)).filter((line) => / 1 /.test(line))).toEqual([
      "headers 1 200",
      "data 1 5",
      "rst 1 8",
    ])
  })

  test("holds a body to its limits, and goes on with the connection", async () => {
    await using served = await new Served().listen()
    using client = await served.client()
    const open = { method: "POST", isOpen: true }
    client.send(ask(1, "/hello", open), data(1, 1000, true))
    await client.heard("data 1 0 end")
    client.send(ask(3, "/hello", open), data(3, 1001))
    await client.heard("headers 3 400")
    client.send(ask(5, "/hello", open), data(5, 10))
    await Bun.sleep(50)
    served.clock.advance(5000)
    await client.heard("headers 5 400")
    client.send(ask(7, "/hello", open), data(7, 10), reset(7))
    client.send(ask(9, "/hello", open), data(9, 1, true))
    await client.heard("data 9 0 end")
    expect(client.lines.filter((line) => line.startsWith("headers 7"))).toEqual([])
  })

  test("sends no more than is read, and gives up who reads nothing", async () => {
    await using served = await new Served().listen()
    using client = await served.client()
    client.send(ask(1, "/endless"))
    await until("it waits", () => client.size(1) === 65_535)
    await Bun.sleep(50)
    expect(served.written).toEqual([]) // a byte of the first piece waits
    client.send(update(0, 100_000), update(1, 100_000))
    await until("it waits again", () => client.size(1) === 165_535)
    expect(served.written).toEqual([1, 2])
    served.clock.advance(30_000)
    await client.heard("rst 1 8")
    await until("it is cut", () => served.written.some((count) => count < 0))
  })

  test("gives up short answers that are not read, too", async () => {
    await using served = await new Served().listen()
    using client = await served.client()
    client.send(settings([4, 0]), ask(1, "/hello"))
    await client.heard("headers 1 200")
    for (let second = 0; second < 62; second++) served.clock.advance(1000)
    await client.heard("rst 1 8")
  })

  test("refuses one export too many of one connection", async () => {
    await using served = await new Served().listen()
    using client = await served.client()
    for (let id = 1; id < 35; id += 2) client.send(ask(id, "/export"))
    await served.waits(16)
    await client.heard("headers 33 503")
    client.send(reset(1))
    await until("the first has gone", () => served.waiting[0]?.[1].destroyed === true)
    client.send(ask(35, "/export"))
    await served.waits(17)
  })

  test("tells who asks nothing for long to go, but no one who waits", async () => {
    await using served = await new Served().listen()
    using idle = await served.client()
    using waiting = await served.client()
    idle.send(ask(1, "/hello"))
    waiting.send(ask(1, "/wait"))
    await idle.heard(/end$/)
    await served.waits(1)
    for (let second = 0; second < 32; second++) served.clock.advance(1000)
    expect((await idle.closed()).at(-1)).toBe("goaway 0 0")
    expect(waiting.isClosed).toBe(false)
    served.waiting[0]?.[1].end()
    await waiting.heard(/end$/)
  })

  test("ends a connection that takes its requests back, and says so", async () => {
    await using served = await new Served().listen()
    using client = await served.client()
    for (let id = 1; id < 401; id += 2) client.send(ask(id, "/wait"), reset(id))
    await client.heard(GONE)
    await client.closed()
    expect(served.log.text).toMatch(
      /closed a connection: it has sent too many requests that are of no use.*from=127\.0\.0\.1/,
    )
    await until("none is worked on", () =>
      served.waiting.every(([, response]) => response.destroyed),
    )
  })

  test("ends its connections when it is closed", async () => {
    const served = await new Served().listen()
    using client = await served.client()
    client.send(ask(1, "/wait"))
    await served.waits(1)
    await served[Symbol.asyncDispose]()
    await client.closed()
    await until("the request is over", () => served.waiting[0]?.[1].destroyed === true)
  })
})

/** By others' clients, as they are. */
describe("PlainListener answers", () => {
  const clients = ["curl -sS --http2-prior-knowledge", "nghttp", "curl -sS --http1.1"]
  test.each(clients)("%s", async (command) => {
    const [program = "", ...flags] = command.split(" ")
    if (Bun.which(program) === null) return
    await using served = await new Served({}, systemClock as unknown as FakeClock).listen()
    const url = `http://127.0.0.1:${served.port}/hello`
    const run = async (...args: string[]) => {
      const { stdout } = Bun.spawn([program, ...flags, ...args], { stdout: "pipe" })
      return (await new Response(stdout).text()).trim()
    }
    const body = program === "curl" ? "--data-binary" : "--data"
    const file = `${process.env.TMPDIR ?? "/tmp"}/http2-body-${served.port}`
    await Bun.write(file, "x".repeat(900))
    const from = program === "curl" ? `@${file}` : file
    try {
      expect(await run("-H", "x-name: you", url)).toBe("hello you from 127.0.0.1")
      expect(await run(body, from, url)).toBe("900 bytes")
      await Bun.write(file, "x".repeat(300_000))
      expect(await run(body, from, url)).toBe("Cannot read request: its body is over 1000 bytes")
    } finally {
      await Bun.file(file).delete()
    }
  })
})
