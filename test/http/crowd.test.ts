import { expect, test } from "bun:test"
import { EventEmitter, once } from "node:events"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { Crowd, limitConnections } from "../../src/http/server/crowd.ts"
import { RequestLog } from "../../src/http/server/request-log.ts"
import { FakeClock } from "../support/fake-clock.ts"
import { LogLines } from "../support/log-lines.ts"
import { RawSocket } from "../support/raw-socket.ts"

const REQUEST = { headers: {}, socket: { remoteAddress: "10.0.0.7" } } as IncomingMessage

test("Crowd.enter() takes so many requests of a route, and one more when one has ended", () => {
  using log = new LogLines()
  const clock = new FakeClock()
  const crowd = new Crowd(new RequestLog("http", clock), { "/a": 2 })
  const enter = (path: string) => {
    const response = new EventEmitter()
    crowd.enter(path, REQUEST, response as ServerResponse)
    return response
  }
  const responses = [enter("/a"), enter("/a")]
  for (let i = 0; i < 3; i++) {
    expect(() => enter("/a")).toThrow(
      "Cannot serve /a: there are 2 such requests, and no more are taken at a time, try again later",
    )
  }
  enter("/b")
  expect(log.lines).toHaveLength(1)
  expect(log.text).toContain("from=10.0.0.7")
  clock.advance(60_000)
  responses[0]?.emit("close")
  enter("/a")
  expect(() => enter("/a")).toThrow("no more are taken")
  expect(log.lines).toHaveLength(2)
})

test("limitConnections() breaks the connections that are too many, and says so", async () => {
  using log = new LogLines()
  const server = createServer((_, response) => response.end("x"))
  limitConnections(server, new FakeClock(), 3)
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  const { port } = server.address() as AddressInfo
  const ask = async () => {
    const socket = await RawSocket.connect(port)
    socket.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    const answer = await socket.until("\r\n\r\n").catch(() => "") // it is broken
    return { socket, isServed: answer.startsWith("HTTP/1.1 200") }
  }
  const served = [await ask(), await ask(), await ask()]
  expect(served.map(({ isServed }) => isServed)).toEqual([true, true, true])
  expect((await ask()).isServed).toBe(false)
  expect(log.text).toContain("broke a connection: there are as many as are taken")
  served[0]?.socket.destroy()
  await Bun.sleep(200)
  expect((await ask()).isServed).toBe(true)
  server.closeAllConnections()
  server.close()
})
