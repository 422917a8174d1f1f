import { afterEach, expect, test } from "bun:test"
import { createServer as createHttpServer, type ServerResponse } from "node:http"
import { type AddressInfo, connect, type Socket } from "node:net"
import { limitStall, silenceOf } from "../../src/sys/net/socket.ts"
import { until } from "../support/until.ts"

const ends: (() => void)[] = []
afterEach(() => {
  for (const end of ends.splice(0)) end()
})

/** A response that nobody has written to yet, and the socket that it goes to, which reads when it is told to. */
async function responseTo(host: string): Promise<{ response: ServerResponse; client: Socket }> {
  const answered = Promise.withResolvers<ServerResponse>()
  const server = createHttpServer((_, response) => answered.resolve(response))
  await new Promise<void>((done) => server.listen(0, host, done))
  const client = connect((server.address() as AddressInfo).port, host)
  client.on("error", () => {})
  client.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
  client.pause()
  ends.push(() => {
    client.destroy()
    server.closeAllConnections()
    server.close()
  })
  return { response: await answered.promise, client }
}

/** More than the kernel buffers of both sides hold. */
async function writeUntilFull(response: ServerResponse): Promise<void> {
  for (let i = 0; i < 200 && !response.writableNeedDrain; i++) {
    response.write(new Uint8Array(256 * 1024))
    await new Promise(setImmediate)
  }
  expect(response.writableNeedDrain).toBe(true)
}

test.each(["127.0.0.1", "::"])(
  "limitStall() breaks a connection on %s whose other side takes nothing",
  async (host) => {
    const { response } = await responseTo(host)
    const closed = new Promise<void>((done) => response.on("close", done))
    expect(limitStall(response.socket ?? {}, 500)).toBe(true)
    await writeUntilFull(response)
    await closed
  },
  30_000,
)

test("limitStall() lets a connection be whose other side takes what it is sent", async () => {
  const { response, client } = await responseTo("127.0.0.1")
  let isClosed = false
  response.on("close", () => {
    isClosed = true
  })
  expect(limitStall(response.socket ?? {}, 300)).toBe(true)
  let received = 0
  client.on("data", (bytes) => {
    received += bytes.length
  })
  client.resume()
  // Idle for longer than the limit, then busy: being idle is no stall.
  for (let round = 0; round < 2; round++) {
    const size = received + 1_000_000
    response.write(new Uint8Array(1_000_000))
    await until("all has come", () => received >= size)
    await Bun.sleep(600)
  }
  expect(isClosed).toBe(false)
})

test("limitStall() says that there is no such connection", () => {
  expect(limitStall({ localPort: 1, remotePort: 2 }, 1000)).toBe(false)
  expect(limitStall({}, 1000)).toBe(false)
})

test.each(["127.0.0.1", "::"])(
  "silenceOf() of a connection on %s is how long ago the other side's kernel has answered",
  async (host) => {
    const { response } = await responseTo(host)
    const { socket } = response
    const ports = { localPort: socket?.localPort, remotePort: socket?.remotePort }
    const answer = async () => {
      response.write("a")
      await until("an answer", () => (silenceOf(ports)?.ms ?? 1000) < 100)
    }
    await answer()
    await until("silence", () => (silenceOf(ports)?.ms ?? 0) > 300) // nothing is sent, and nothing comes
    await answer()
    const found = silenceOf(ports)
    expect(silenceOf(ports, found?.fd)?.fd).toBe(found?.fd as number)
    expect(silenceOf(ports, 0)?.fd).toBe(found?.fd as number) // another one by now
    expect(silenceOf({ ...ports, remotePort: undefined })).toBeUndefined()
  },
  30_000,
)
