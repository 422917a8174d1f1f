/** A request of which no byte has left may be sent again, whatever it does. */
import { expect, test } from "bun:test"
import { createServer, type Socket } from "node:net"
import { FakeClock } from "../support/fake-clock.ts"
import { LogLines } from "../support/log-lines.ts"
import { ProxyUnderTest } from "../support/proxy-under-test.ts"
import { RawSocket } from "../support/raw-socket.ts"
import { until } from "../support/until.ts"

const POST = "POST /items HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"
const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

/** An application that breaks idle connections when it is told to, and counts the writes that reach it. */
class Application {
  readonly connections: Socket[] = []
  posts = 0
  port = 0
  readonly server = createServer((socket) => {
    this.connections.push(socket)
    socket.on("error", () => {})
    socket.on("data", (bytes) => {
      if (!String(bytes).startsWith("POST")) return // a body by itself
      this.posts += 1
      socket.write(OK)
    })
  })

  async listen(): Promise<void> {
    await new Promise<void>((done) => this.server.listen(0, "127.0.0.1", done))
    this.port = (this.server.address() as { port: number }).port
  }

  /** The kernel of the proxy knows at once, the proxy hears of it later. */
  breakAll(): void {
    for (const connection of this.connections.splice(0)) connection.resetAndDestroy()
  }
}

test.each(["the application", "the primary's proxy"])(
  "a write that meets a connection that %s has broken before goes out on another, once",
  async (who) => {
    const application = new Application()
    await application.listen()
    using proxy = new ProxyUnderTest(application.port)
    if (who !== "the application") {
      proxy.cluster.set({
        ...{ isPrimary: false, primaryName: "node-p" },
        primaryProxyUrl: `http://127.0.0.1:${application.port}`,
      })
    }
    const client = await RawSocket.connect(proxy.server.port)
    for (let round = 1; round <= 20; round++) {
      client.text = ""
      // In one go: the proxy hears of the request before it hears of the broken connection.
      client.write(POST)
      application.breakAll()
      expect(await client.until(/\r\n\r\n/)).toStartWith("HTTP/1.1 200")
      expect(application.posts).toBe(round)
    }
    client.destroy()
    application.server.close()
  },
)

test("connections that are kept and no longer needed end regularly, when they are old and when the proxy stops", async () => {
  const ends: string[] = []
  const server = createServer((socket) => {
    socket.on("data", () => socket.write(OK))
    socket.on("end", () => ends.push("end"))
    socket.on("error", (error) => ends.push(error.message))
  })
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done))
  const clock = new FakeClock()
  {
    const { port } = server.address() as { port: number }
    using proxy = new ProxyUnderTest(port, {}, clock)
    const client = await proxy.client()
    const get = async () => {
      client.text = ""
      client.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
      expect(await client.until(/\r\n\r\nok/)).toStartWith("HTTP/1.1 200")
    }
    await get()
    clock.advance(3000) // longer than a connection is kept
    await get()
    await until("the old connection has ended", () => ends.length === 1)
  }
  await until("the last connection has ended", () => ends.length === 2)
  expect(ends).toEqual(["end", "end"])
  server.close()
})

test("one line says that the application does not answer, and one that it answers again", async () => {
  using log = new LogLines()
  const application = new Application()
  await application.listen()
  await new Promise((done) => application.server.close(done))
  const clock = new FakeClock()
  using proxy = new ProxyUnderTest(application.port, {}, clock)
  const client = await proxy.client()
  const get = async () => {
    client.text = ""
    client.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    const isAnswered = () => {
      clock.advance(100)
      return client.text.includes("\r\n\r\n")
    }
    await until("an answer", isAnswered, { everyMs: 1 })
    return client.text
  }
  expect(await get()).toContain(
    `the application at 127.0.0.1:${application.port}: nothing listens there`,
  )
  expect(await get()).toStartWith("HTTP/1.1 502 ")
  const where = `127.0.0.1:${application.port}`
  const missing = `level=warn tag=proxy msg="the application does not answer at ${where}, see --proxy-target"`
  expect(log.lines).toEqual([missing])
  await new Promise<void>((done) => application.server.listen(application.port, "127.0.0.1", done))
  client.text = ""
  client.write(POST)
  expect(await client.until(/\r\n\r\nok/)).toStartWith("HTTP/1.1 200")
  const again = `level=info tag=proxy msg="the application answers again at ${where}"`
  expect(log.lines).toEqual([missing, again])
  application.breakAll()
  application.server.close()
})
