/**
 * How many clients may use a node's API at a time. Each of them costs memory or a file, and some keep a database
 * frozen. Without a bound, one client in a loop could use everything up.
 *
 *   connections  CONNECTION_COUNT_MAX, whatever they are for. One more is broken at once; idle ones end by themselves
 *   requests     of the routes that take long: ROUTE_COUNT_MAX. One more is answered with 503
 *
 * The log says it once, and again after there was room in between.
 */
import type { ServerResponse } from "node:http"
import type { Server } from "node:net"
import { LitefsError } from "../../lib/errors.ts"
import { logger } from "../../lib/log.ts"

const log = logger("http")

const CONNECTION_COUNT_MAX = 2048

const ROUTE_COUNT_MAX: Readonly<Record<string, number>> = {
  "/stream": 256, // a replica each
  "/export": 16, // each keeps a database frozen
  "/import": 16, // a file each on the disk
}

export class Crowd {
  readonly #countsMax: Readonly<Record<string, number>>
  readonly #counts = new Map<string, number>()
  readonly #crowded = new Set<string>()

  constructor(countsMax = ROUTE_COUNT_MAX) {
    this.#countsMax = countsMax
  }

  /** A request has come, and ends with its response. Throws when there are too many of its kind. */
  enter(path: string, response: ServerResponse): void {
    const countMax = this.#countsMax[path]
    if (countMax === undefined) return
    const count = this.#counts.get(path) ?? 0
    if (count >= countMax) {
      const problem = `there are ${countMax} such requests, and no more are taken at a time`
      if (!this.#crowded.has(path)) log.warn(`refused a request: ${problem}`, { path })
      this.#crowded.add(path)
      throw new LitefsError("unavailable", `Cannot serve ${path}: ${problem}, try again later`)
    }
    this.#counts.set(path, count + 1)
    response.once("close", () => {
      this.#counts.set(path, (this.#counts.get(path) ?? 1) - 1)
      this.#crowded.delete(path)
    })
  }
}

/** For a server that has not begun to listen. */
export function limitConnections(server: Server, countMax = CONNECTION_COUNT_MAX): void {
  let isCrowded = false
  server.maxConnections = countMax
  server.on("drop", () => {
    if (!isCrowded) log.warn("broke a connection: there are as many as are taken", { countMax })
    isCrowded = true
  })
  server.on("connection", () => {
    isCrowded = false
  })
}
