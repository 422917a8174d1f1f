/** A way to a node that breaks each connection when so many bytes have come back over it. */
import { connect, createServer, type Server } from "node:net"
import type { Scope } from "./node.ts"

export class CuttingProxy {
  cutAfter: number
  connectionCount = 0
  readonly #server: Server
  #port = 0

  private constructor(server: Server, cutAfter: number) {
    this.#server = server
    this.cutAfter = cutAfter
  }

  static async to(scope: Scope, port: number, cutAfter: number): Promise<CuttingProxy> {
    const server = createServer({ allowHalfOpen: false })
    const proxy = new CuttingProxy(server, cutAfter)
    const sockets = new Set<{ destroy(): void }>()
    server.on("connection", (client) => {
      proxy.connectionCount += 1
      const node = connect(port, "127.0.0.1")
      for (const socket of [client, node]) {
        sockets.add(socket)
        socket.on("error", () => {})
        socket.on("close", () => {
          client.destroy()
          node.destroy()
        })
      }
      client.pipe(node)
      let size = 0
      node.on("data", (bytes) => {
        size += bytes.length
        if (size > proxy.cutAfter) client.destroy()
        else if (!client.write(bytes)) node.pause()
      })
      client.on("drain", () => node.resume())
    })
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done))
    const address = server.address()
    if (address !== null && typeof address !== "string") proxy.#port = address.port
    scope.defer(() => {
      proxy.#server.close()
      for (const socket of sockets) socket.destroy()
    })
    return proxy
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`
  }
}
