/**
 * How many requests that take long a node serves at a time: ROUTE_COUNT_MAX. Each of them costs memory or a file, and
 * some keep a database frozen. Without a bound, one client in a loop could use everything up.
 *
 * When there are as many, one whose reader does not take what there is for it gives its place to who comes, and of
 * streams one of those that are many from one address. Else who comes is answered with 503. The log says it once, and
 * again after there was room in between, as far as its lines are bounded (request-log.ts).
 */
import type { IncomingMessage, ServerResponse } from "node:http"
import type { Clock } from "../../lib/clock.ts"
import { LitefsError } from "../../lib/errors.ts"
import { type Guest, Room } from "../../sys/net/room.ts"
import { PATIENCE_MS, writerOf } from "./body-writer.ts"
import { RequestLog, senderOf } from "./request-log.ts"

export const ROUTE_COUNT_MAX: Readonly<Record<string, number>> = {
  "/stream": 256, // a replica each
  "/acknowledge": 128, // a replica each that acknowledges
  "/synced": 32,
  "/export": 16, // each keeps a database frozen
  "/import": 16, // a file each on the disk
  "/halt": 640, // a database each is lent, or waited for
  "/tx": 640, // who sends one has what is lent
  "/handoff": 16,
  "/promote": 16,
}

/** Of endless responses one address must not take all. */
const FAIR_ROUTES: ReadonlySet<string> = new Set(["/stream"])

export class Crowd {
  readonly #clock: Clock
  readonly #log: RequestLog
  readonly #rooms: ReadonlyMap<string, { readonly room: Room<Guest>; readonly countMax: number }>
  readonly #crowded = new Set<string>()

  constructor(clock: Clock, countsMax = ROUTE_COUNT_MAX) {
    this.#clock = clock
    this.#log = new RequestLog("http", clock)
    this.#rooms = new Map(
      Object.entries(countsMax).map(([path, countMax]) => [
        path,
        { room: new Room<Guest>(countMax), countMax },
      ]),
    )
  }

  /**
   * A request has come, and ends with its response. Returns whether it has a place: other paths have none. Throws when
   * there are too many of its kind.
   */
  enter(path: string, request: IncomingMessage, response: ServerResponse): boolean {
    const found = this.#rooms.get(path)
    if (found === undefined) return false
    const { room, countMax } = found
    const guest: Guest = {
      get idleSinceMs() {
        return writerOf(response)?.idleSinceMs
      },
      address: FAIR_ROUTES.has(path) ? request.socket?.remoteAddress : undefined,
      giveWay() {
        const writer = writerOf(response)
        if (writer === undefined) response.destroy()
        else writer.giveWay()
      },
    }
    if (!room.enter(guest, this.#clock.monotonicMs() - PATIENCE_MS)) {
      const problem = `there are ${countMax} such requests, and no more are taken at a time`
      if (!this.#crowded.has(path)) {
        this.#log.say("warn", `refused a request: ${problem}`, senderOf(request), { path })
      }
      this.#crowded.add(path)
      throw new LitefsError("unavailable", `Cannot serve ${path}: ${problem}, try again later`)
    }
    response.once("close", () => {
      room.leave(guest)
      this.#crowded.delete(path)
    })
    return true
  }
}
