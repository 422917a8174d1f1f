import { expect, test } from "bun:test"
import { once } from "node:events"
import { createServer, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { Connections } from "../../src/http/server/connections.ts"
import { FakeClock } from "../support/fake-clock.ts"
import { LogLines } from "../support/log-lines.ts"
import { RawSocket } from "../support/raw-socket.ts"
import { until } from "../support/until.ts"

const HEAD = "HTTP/1.1\r\nHost: a\r\n\r\n"

/** A server with room for three. `/wait` is not answered, `/keep` is not either and has a place of its own. */
class Served implements AsyncDisposable {
  readonly clock: FakeClock
  readonly log = new LogLines()
  readonly waiting: ServerResponse[] = []
  readonly #connections: Connections
  readonly #server = createServer((request, response) => {
    if (!this.#connections.requested(request, response)) return
    if (request.url === "/keep") this.#connections.keep(request)
    if (request.url === "/") response.end("x")
    else this.waiting.push(response)
  })

  constructor(clock = new FakeClock()) {
    this.clock = clock
    this.#connections = new Connections(clock, 3)
    this.#connections.watch(this.#server)
  }

  async listen(): Promise<this> {
    this.#server.listen(0, "127.0.0.1")
    await once(this.#server, "listening")
    return this
  }

  /** The server may hear of a connection only when something comes. */
  async connect(text = "G"): Promise<RawSocket> {
    const socket = await RawSocket.connect((this.#server.address() as AddressInfo).port)
    socket.write(text)
    await Bun.sleep(50) // until it is taken
    return socket
  }

  async ask(path: string): Promise<RawSocket> {
    const count = this.waiting.length
    const socket = await this.connect(`GET ${path} ${HEAD}`)
    if (path === "/") await socket.until("\r\n\r\n")
    else await until("the request is there", () => this.waiting.length > count)
    return socket
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#connections.close()
    this.#server.closeAllConnections()
    this.#server.close()
    this.log[Symbol.dispose]()
  }
}

const closed = (sockets: readonly RawSocket[]) =>
  sockets.map(({ isClosed, hasEnded }) => isClosed || hasEnded)

test("Connections has the one give way that is idle for the longest", async () => {
  await using served = await new Served().listen()
  const sockets: RawSocket[] = [await served.ask("/")]
  for (const step of [() => served.connect(), () => served.ask("/keep"), () => served.connect()]) {
    served.clock.advance(100)
    sockets.push(await step())
  }
  await sockets[0]?.ended()
  expect(closed(sockets)).toEqual([true, false, false, false])
  served.clock.advance(100)
  sockets[1]?.write(`ET / ${HEAD}`)
  await sockets[1]?.until("\r\n\r\n")
  sockets.push(await served.ask("/"))
  expect(closed(sockets)).toEqual([true, false, false, true, false])
  expect(served.log.lines).toHaveLength(1)
  expect(served.log.text).toMatch(/there are as many as are taken.*countMax=3 from=127\.0\.0\.1$/m)
})

test("Connections has those give way that wait, but no one that is kept", async () => {
  await using served = await new Served().listen()
  const kept = await served.ask("/keep")
  const waiting = await served.ask("/wait")
  const more = await served.ask("/wait")
  served.clock.advance(100)
  const third = await served.ask("/keep") // however shortly the others have waited
  const fourth = await served.ask("/keep")
  expect(closed([kept, waiting, more, third, fourth])).toEqual([false, true, true, false, false])
  served.clock.advance(1_000_000)
  await (await served.connect()).ended()
  served.waiting[0]?.end("x")
  await kept.until("\r\n\r\n")
  expect(closed([await served.ask("/"), third, fourth])).toEqual([false, false, false])
})

test("Connections breaks who sends no head in time, or nothing after an answer", async () => {
  await using served = await new Served().listen()
  const silent = await served.connect()
  const slow = await served.connect()
  const answered = await served.ask("/")
  for (let second = 0; second < 9; second++) {
    slow.write("E")
    served.clock.advance(1000)
  }
  await Bun.sleep(50)
  expect(closed([silent, slow, answered])).toEqual([false, false, false])
  served.clock.advance(2000)
  await Promise.all([silent.ended(), slow.ended()])
  expect(closed([answered])).toEqual([false])
  served.clock.advance(20_000)
  await answered.ended()
})

test("Connections goes on for hours with who asks again and again", async () => {
  await using served = await new Served().listen()
  const socket = await served.ask("/")
  for (let count = 2; count < 10; count++) {
    served.clock.advance(25_000)
    socket.write(`GET / ${HEAD}`)
    await socket.until(() => socket.text.split("HTTP/1.1 200").length > count)
  }
  expect(closed([socket])).toEqual([false])
})
