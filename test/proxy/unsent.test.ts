/** A request of which no byte has left may be sent again, whatever it does. */
import { expect, test } from "bun:test"
import { createServer, type Socket } from "node:net"
import { ProxyUnderTest } from "../support/proxy-under-test.ts"
import { RawSocket } from "../support/raw-socket.ts"

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
