/** The thread in which parsers run: another one watches it, since a parser that hangs cannot tell. */
import "./counted-memory.ts"
import { Random } from "../support/random.ts"
import { Mutator } from "./mutator.ts"
import type { Target } from "./target.ts"
import type { Verdict } from "./verdict.ts"

/** Each `target` is a name in the registry. */
export type Order =
  /** Tries one input after the other, with seeds from `seed` on, and counts them in `progress`. */
  | { kind: "fuzz"; target: string; seed: number; forMs: number; progress: Int32Array }
  | { kind: "try"; target: string; input: Uint8Array }
  | { kind: "make"; target: string; seed: number }

export interface Result {
  readonly count: number
  readonly verdict?: Verdict | undefined
  /** What `verdict` is about, or what was made. */
  readonly input?: Uint8Array
}

declare const self: Worker

// Only now, so that what they make is counted.
const { TARGETS } = await import("./registry.ts")
const { verdictOn } = await import("./verdict.ts")
const mutators = new Map<Target, Mutator>()

self.onmessage = ({ data }: MessageEvent<Order>) => {
  postMessage(follow(data))
}
postMessage({ count: 0 })

function follow(order: Order): Result {
  const target = TARGETS.find(({ name }) => name === order.target) as Target
  switch (order.kind) {
    case "fuzz":
      return fuzz(target, order)
    case "try":
      return { count: 1, verdict: verdictOn(target, order.input), input: order.input }
    case "make":
      return { count: 0, input: inputOf(target, order.seed) }
  }
}

function fuzz(target: Target, { seed, forMs, progress }: Order & { kind: "fuzz" }): Result {
  const endMs = performance.now() + forMs
  let count = 0
  do {
    Atomics.store(progress, 0, count)
    const input = inputOf(target, seed + count)
    const verdict = verdictOn(target, input)
    count += 1
    if (verdict !== undefined) return { count, verdict, input }
  } while (performance.now() < endMs)
  return { count }
}

function inputOf(target: Target, seed: number): Uint8Array {
  let mutator = mutators.get(target)
  if (mutator === undefined) {
    mutator = new Mutator(target.seeds(), target.words)
    mutators.set(target, mutator)
  }
  const random = new Random(seed)
  const input = mutator.make(random)
  if (random.below(2) === 0) target.repair?.(input)
  return input
}
