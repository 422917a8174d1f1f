import { must } from "../lib/assert.ts"
import type { Deferred } from "./deferred.ts"
import { join64 } from "./request.ts"

/** The requests that wait for their answer, by the kernel's unique id. */
export class WaitingRequests {
  readonly #deferreds = new Map<bigint, Deferred>()

  /** `send` gets the errno of the answer, 0 for success. */
  add(uniqueLo: number, uniqueHi: number, deferred: Deferred, send: (errno: number) => void): void {
    const unique = join64(uniqueLo, uniqueHi)
    deferred.bind((errno) => {
      must(this.#deferreds.get(unique), `request ${unique}`)
      this.#deferreds.delete(unique)
      send(errno)
    })
    this.#deferreds.set(unique, deferred)
  }

  /** An unknown request was answered while the INTERRUPT was under way. */
  interrupt(uniqueLo: number, uniqueHi: number): void {
    this.#deferreds.get(join64(uniqueLo, uniqueHi))?.interrupt()
  }
}
