/**
 * The databases that the primary has, as it tells a replica: all of them at the begin of a stream, and what is new or
 * has changed after that. So a replica knows what is on its way, and what will not come.
 *
 * A primary that tells nothing of it (LiteFS, or an older one) has an empty one.
 */
import type { Pos } from "../../ltx/pos.ts"
import type { ListedState } from "../../wire/frame.ts"

/** No node has more of them (store/positions.ts). */
const COUNT_MAX = 16_384

export interface ListedDatabase {
  readonly pos: Pos
  readonly state: ListedState
}

export class Catalogue {
  readonly #databases = new Map<string, ListedDatabase>()
  /** Those that the primary cannot send. */
  readonly #leftOut = new Map<string, "refused" | "unreadable">()

  /** There is a new connection: the primary tells it anew. */
  clear(): void {
    this.#databases.clear()
    this.#leftOut.clear()
  }

  /** Throws when there are more than can be. */
  list(database: string, listed: ListedDatabase): void {
    if (this.#databases.size >= COUNT_MAX && !this.#databases.has(database)) {
      throw new RangeError(`Cannot follow: the primary lists over ${COUNT_MAX} databases`)
    }
    this.#databases.set(database, listed)
    const { state } = listed
    if (state === "refused" || state === "unreadable") this.#leftOut.set(database, state)
    else this.#leftOut.delete(database)
  }

  /** The primary does not have it any more. */
  remove(database: string): void {
    this.#databases.delete(database)
    this.#leftOut.delete(database)
  }

  of(database: string): ListedDatabase | undefined {
    return this.#databases.get(database)
  }

  get leftOut(): ReadonlyMap<string, "refused" | "unreadable"> {
    return this.#leftOut
  }
}
