/**
 * The TLS side of the API: it does the handshakes, and passes the connections to an HTTP server that never listens
 * itself.
 *
 * With an authority, a client has to show a certificate that the authority has signed. New certificates apply to new
 * connections; existing ones stay.
 */
import type { Server as HttpServer } from "node:http"
import { createServer, type Server, type TLSSocket } from "node:tls"
import type { TlsMaterial } from "../../cluster/node-request.ts"
import type { Clock } from "../../lib/clock.ts"
import { logger } from "../../lib/log.ts"
import type { TlsFiles } from "./tls-files.ts"

const log = logger("tls")

/** Time between two checks of the files. */
const LOOK_MS = 5000

const HANDSHAKE_MS_MAX = 10_000

export class TlsListener {
  readonly server: Server
  readonly #files: TlsFiles
  readonly #clock: Clock
  readonly #sockets = new Set<TLSSocket>()
  #material: TlsMaterial
  #stopLooking: () => void

  constructor(files: TlsFiles, clock: Clock, http: HttpServer) {
    this.#files = files
    this.#clock = clock
    this.#material = files.current()
    const options = { ...contextOf(this.#material), handshakeTimeout: HANDSHAKE_MS_MAX }
    this.server = createServer(options, (socket) => http.emit("connection", socket))
    // Includes connections without a handshake: close() would wait for them.
    this.server.on("connection", (socket: TLSSocket) => {
      this.#sockets.add(socket)
      socket.once("close", () => this.#sockets.delete(socket))
    })
    this.server.on("tlsClientError", (error, socket) => {
      log.debug("handshake failed", { error })
      socket.destroy()
    })
    this.#stopLooking = clock.after(LOOK_MS, () => this.#look())
  }

  /** Breaks remaining connections. */
  async close(): Promise<void> {
    this.#stopLooking()
    const closed = new Promise<void>((resolve) => this.server.close(() => resolve()))
    for (const socket of this.#sockets) socket.destroy()
    await closed
  }

  #look(): void {
    const material = this.#files.current()
    if (material !== this.#material) this.server.setSecureContext(contextOf(material))
    this.#material = material
    this.#stopLooking = this.#clock.after(LOOK_MS, () => this.#look())
  }
}

function contextOf(material: TlsMaterial) {
  const asksClients = material.ca !== undefined
  return { ...material, requestCert: asksClients, rejectUnauthorized: asksClients }
}
