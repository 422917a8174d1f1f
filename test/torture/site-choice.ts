/**
 * Which calls of a sweep have which faults. A loop makes the same call at the same place hundreds of times, and most
 * operations come to places where others have been. So a place in the program, which is the whole chain of callers, has
 *
 * 1. in the operation that comes to it first: everything that may go wrong with its first call, and one thing with the
 *    last and with one in between;
 * 2. in each other operation and mode: one thing that the node survives, and one that ends it, each with one of the
 *    three.
 *
 * What that is depends on the seed and the place, not on what other places there are.
 */
import type { Call, SiteCalls } from "./call-faults.ts"
import { type Duration, type Fault, failuresOf, isEnd } from "./sweep.ts"

export interface SiteChoiceOptions {
  readonly seed: number
  readonly durations: readonly Duration[]
  /** Only calls whose name has this in it. */
  readonly only?: string
  /** Whether everything goes wrong with every call. */
  readonly isEvery?: boolean
}

export class SiteChoice {
  readonly #options: SiteChoiceOptions
  readonly #known = new Set<string>()

  constructor(options: SiteChoiceOptions) {
    this.#options = options
  }

  /** Faults of one operation in one mode, which `label` names; with `onlyNew` of the places that no other has come to. */
  faultsOf(label: string, sites: readonly SiteCalls[], { onlyNew = false } = {}): Fault[] {
    const { only = "" } = this.#options
    const wanted = sites.filter(({ name }) => name.includes(only))
    return wanted.flatMap((calls) => {
      const place = `${calls.name}@${calls.site}`
      const isKnown = this.#known.has(place)
      this.#known.add(place)
      if (isKnown && onlyNew) return []
      return this.#faultsAt(calls, isKnown, `${this.#options.seed} ${label} ${place}`)
    })
  }

  #faultsAt({ name, site, count }: SiteCalls, isKnown: boolean, key: string): Fault[] {
    const { durations, isEvery = false } = this.#options
    const failures = failuresOf(name, durations)
    const call = (nth: number): Call => ({ name, site, nth })
    const pick = <T>(from: readonly T[], what: string): T[] =>
      from.length === 0 ? [] : [from[Bun.hash.crc32(`${key} ${what}`) % from.length] as T]
    const all = Array.from({ length: count }, (_, index) => call(index + 1))
    if (isEvery) return all.flatMap((call) => failures.map((failure) => ({ ...call, ...failure })))
    const others = [...pick(all.slice(1, -1), "between"), ...all.slice(1).slice(-1)]
    const few = [...all.slice(0, 1), ...others]
    if (isKnown) {
      const lasting = failures.filter(({ duration }) => !isEnd(duration))
      const ending = failures.filter(({ duration }) => isEnd(duration))
      return [...pick(lasting, "survived"), ...pick(ending, "ending")].flatMap((failure) =>
        pick(few, `call that is ${failure.duration}`).map((call) => ({ ...call, ...failure })),
      )
    }
    return [
      ...failures.map((failure) => ({ ...call(1), ...failure })),
      ...others.flatMap((call, index) =>
        pick(failures, `failure ${index}`).map((failure) => ({ ...call, ...failure })),
      ),
    ]
  }
}
