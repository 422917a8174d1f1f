/**
 * The databases of which a replica may lack something: at first all, then those that have changed. So a commit costs a
 * stream what has changed, and not what there is.
 */
import type { Positions } from "../../store/positions.ts"
import type { LeftOutDatabases } from "./left-out-databases.ts"

export interface UnsentContext {
  readonly positions: Positions
  readonly leftOut?: LeftOutDatabases
  /** All that either side has. */
  names(): Iterable<string>
}

export class UnsentDatabases {
  readonly #context: UnsentContext
  readonly #names = new Set<string>()
  #seen: number | undefined // of the changes of positions
  #seenLeftOut = 0

  constructor(context: UnsentContext) {
    this.#context = context
  }

  /** Also those that have changed by now. One that is sent is to be taken out. */
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

  /** The replica has all of it, until it changes. */
  sent(name: string): void {
    this.#names.delete(name)
  }
}
