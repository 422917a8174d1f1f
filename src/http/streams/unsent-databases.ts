/**
 * The databases of which a replica may lack something: at first all, then those that have changed. The cost of a commit
 * to a stream thus depends on what has changed, not on what exists.
 */
import type { Positions } from "../../store/positions.ts"
import type { LeftOutDatabases } from "./left-out-databases.ts"

export interface UnsentContext {
  readonly positions: Positions
  readonly leftOut?: LeftOutDatabases
  /** All databases of either side. */
  names(): Iterable<string>
}

export class UnsentDatabases {
  readonly #context: UnsentContext
  readonly #names = new Set<string>()
  #seen: number | undefined // the count of changes of positions
  #seenLeftOut = 0

  constructor(context: UnsentContext) {
    this.#context = context
  }

  /** Includes those that have changed by now. Take a database out when it is sent. */
  look(): ReadonlySet<string> {
    const { positions, leftOut, names } = this.#context
    const changeCount = positions.changeCount
    const leftOutCount = leftOut?.changeCount ?? 0
    const isKnown = this.#seen !== undefined && leftOutCount === this.#seenLeftOut
    const changed = isKnown ? positions.changedSince(this.#seen as number) : undefined
    for (const name of changed ?? names()) this.#names.add(name)
    this.#seen = changeCount
    this.#seenLeftOut = leftOutCount
    return this.#names
  }

  /** The replica has all of the database, until it changes. */
  sent(name: string): void {
    this.#names.delete(name)
  }
}
