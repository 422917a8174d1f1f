/**
 * Which calls of a sweep have which faults. A loop makes the same call at the same place hundreds of times, and most
 * operations come to places where others have been. So a place in the program, which is the whole chain of callers, has
 *
 * 1. in the operation that comes to it first: each duration with its first call, and one of them with the last call and
 *    with one in between;
 * 2. in each other operation: one of them, with one of the three calls;
 * 3. in each operation in the other modes: the same once more, in one of those modes.
 *
 * What that is depends on the seed and the place, not on what other places there are.
 */
import type { Call, SiteCalls } from "./call-faults.ts"
import { MODES, type Mode } from "./model.ts"
import { type Duration, type Fault, failuresOf, faultOf } from "./sweep.ts"

const OTHER_MODES: readonly Mode[] = MODES.slice(1)

export interface SiteChoiceOptions {
  readonly seed: number
  readonly durations: readonly Duration[]
  /** Only calls whose name has this in it; or only this fault, as textOf() has it. */
  readonly only?: string
  /** Whether everything goes wrong with every call. */
  readonly isEvery?: boolean
}

export class SiteChoice {
  readonly #options: SiteChoiceOptions
  readonly #known = new Map<string, Set<string>>() // place → operations

  constructor(options: SiteChoiceOptions) {
    this.#options = options
  }

  /** With `onlyNew` only of the places that no operation before this one has come to. */
  faultsOf(
    operation: string,
    mode: Mode,
    sites: readonly SiteCalls[],
    { onlyNew = false } = {},
  ): Fault[] {
    const { only = "", isEvery = false } = this.#options
    const one = faultOf(only)
    if (one !== undefined) return [one]
    const wanted = sites.filter(({ name }) => name.includes(only))
    return wanted.flatMap((calls) => {
      const place = `${calls.name}@${calls.site}`
      const tier = this.#meet(place, operation)
      if (tier > 1 && onlyNew) return []
      const number = Bun.hash.crc32(`${this.#options.seed} ${operation} ${place}`)
      if (tier === 3 && !isEvery && OTHER_MODES[number % OTHER_MODES.length] !== mode) return []
      return this.#faultsAt(calls, tier, `${this.#options.seed} ${operation} ${mode} ${place}`)
    })
  }

  /** As they are numbered above. */
  #meet(place: string, operation: string): 1 | 2 | 3 {
    const operations = this.#known.get(place) ?? new Set()
    const tier = operations.size === 0 ? 1 : operations.has(operation) ? 3 : 2
    this.#known.set(place, operations.add(operation))
    return tier
  }

  #faultsAt({ name, site, count }: SiteCalls, tier: 1 | 2 | 3, key: string): Fault[] {
    const { durations, isEvery = false } = this.#options
    const failures = failuresOf(name, durations)
    const call = (nth: number): Call => ({ name, site, nth })
    const pick = <T>(from: readonly T[], what: string): T[] =>
      from.length === 0 ? [] : [from[Bun.hash.crc32(`${key} ${what}`) % from.length] as T]
    const all = Array.from({ length: count }, (_, index) => call(index + 1))
    if (isEvery) return all.flatMap((call) => failures.map((failure) => ({ ...call, ...failure })))
    const others = [...pick(all.slice(1, -1), "between"), ...all.slice(1).slice(-1)]
    const few = [...all.slice(0, 1), ...others]
    if (tier > 1)
      return pick(few, "call").flatMap((call) =>
        pick(failures, "failure").map((failure) => ({ ...call, ...failure })),
      )
    const each = durations.flatMap((duration) =>
      pick(
        failures.filter((failure) => failure.duration === duration),
        duration,
      ),
    )
    return [
      ...each.map((failure) => ({ ...call(1), ...failure })),
      ...others.flatMap((call, index) =>
        pick(failures, `failure ${index}`).map((failure) => ({ ...call, ...failure })),
      ),
    ]
  }
}
