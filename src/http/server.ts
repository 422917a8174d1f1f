/**
 * The API of a node: plain HTTP/1.1, one table of routes.
 *
 * Handlers throw; what they throw becomes a status and a line of text here. Once a handler has begun its
 * response, an error can only break the connection.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { LitefsError, messageOf } from "../lib/errors.ts"
import { logger } from "../lib/log.ts"
import type { ListenAddress } from "../litefs-options.ts"
import { statusOf } from "./status.ts"

export type Handler = (
  request: IncomingMessage,
  response: ServerResponse,
  url: URL,
) => void | Promise<void>

export type Routes = Record<string, Partial<Record<string, Handler>>> // path → method → handler

const log = logger("http")

export class ApiServer {
  readonly #server: Server

  constructor(routes: Routes, headers: Record<string, string>) {
    this.#server = createServer((request, response) => {
      for (const [name, value] of Object.entries(headers)) response.setHeader(name, value)
      dispatch(routes, request, response).catch((error) => fail(response, error))
    })
    this.#server.keepAliveTimeout = 30_000
    this.#server.requestTimeout = 0 // a stream's request is over long before its response
  }

  /** Returns the port, which the system chose when the given one is 0. */
  async listen({ host, port }: ListenAddress): Promise<number> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.#server.once("error", reject)
    if (host === "") this.#server.listen(port, resolve)
    else this.#server.listen(port, host, resolve)
    try {
      await promise
    } catch (error) {
      throw new LitefsError(
        "unavailable",
        `Cannot listen on ${host}:${port}: ${reason(error)}, choose another --http-addr`,
        { cause: error },
      )
    }
    this.#server.removeAllListeners("error")
    this.#server.on("error", (error) => log.error("server", { error }))
    return (this.#server.address() as AddressInfo).port
  }

  /** Breaks what is still connected. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    this.#server.closeAllConnections()
    await closed
  }
}

async function dispatch(routes: Routes, request: IncomingMessage, response: ServerResponse) {
  const url = new URL(request.url ?? "/", "http://node")
  const methods = routes[url.pathname]
  if (methods === undefined) return answer(response, 404, "404 page not found")
  const handler = methods[request.method ?? ""]
  if (handler === undefined) {
    response.setHeader("Allow", Object.keys(methods).join(", "))
    return answer(response, 405, "method not allowed")
  }
  await handler(request, response, url)
}

function fail(response: ServerResponse, error: unknown): void {
  const status = statusOf(error)
  if (status === 500) log.error("request failed", { error })
  if (response.headersSent) response.destroy()
  else answer(response, status, messageOf(error))
}

function answer(response: ServerResponse, status: number, text: string): void {
  response.statusCode = status
  response.setHeader("Content-Type", "text/plain; charset=utf-8")
  response.end(`${text}\n`)
}

function reason(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code
  if (code === "EADDRINUSE") return "the port is in use"
  if (code === "EACCES") return "the port may not be used"
  if (code === "EADDRNOTAVAIL") return "this machine does not have the address"
  return messageOf(error)
}
