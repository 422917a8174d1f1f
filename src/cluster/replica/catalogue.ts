/**
 * The databases of the primary, as it tells a replica: all of them at the beginning of a stream, then news and changes.
 * The replica thus knows what is on its way, and what will not come.
 *
 * A primary that tells nothing of it (LiteFS, or an older one) has an empty catalogue.
 */
import type { Pos } from "../../ltx/pos.ts"
import type { ListedState } from "../../wire/frame.ts"

/** No node has more databases (store/positions.ts). */
const COUNT_MAX = 16_384

export interface ListedDatabase {
  readonly pos: Pos
  readonly state: ListedState
}

export class Catalogue {
  readonly #databases = new Map<string, ListedDatabase>()
  /** Databases that the primary cannot send. */
  readonly #leftOut = new Map<string, "refused" | "unreadable">()

  /** A new connection: the primary tells the catalogue anew. */
  clear(): void {
    this.#databases.clear()
    this.#leftOut.clear()
  }

  /** Throws when there are more than possible. */
  list(database: string, listed: ListedDatabase): void {
    if (this.#databases.size >= COUNT_MAX && !this.#databases.has(database)) {
      throw new RangeError(`Cannot follow: the primary lists over ${COUNT_MAX} databases`)
    }
    this.#databases.set(database, listed)
    const { state } = listed
    if (state === "refused" || state === "unreadable") this.#leftOut.set(database, state)
    else this.#leftOut.delete(database)
  }

  /** The primary no longer has the database. */
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
