/** Runs one input, and says what is wrong with what the parser did. */

import { Random } from "../support/random.ts"
import { countedMemory } from "./counted-memory.ts"
import type { Target } from "./target.ts"

export interface Verdict {
  readonly kind: "threw" | "slow" | "memory" | "hung"
  readonly what: string
}

/** Parsers take microseconds; another process may have the CPU for a while. */
const SLOW_MS = 1000
/** A decoder has buffers of its own; LZ4 and what repeats may be much larger than they were. */
const MEMORY_FREE = 16 * 1024 * 1024
const MEMORY_PER_BYTE = 1024

/** Undefined when all is well. */
export function verdictOn(target: Target, input: Uint8Array): Verdict | undefined {
  const memoryBefore = countedMemory()
  const startMs = performance.now()
  try {
    target.run(input, new Random(seedOf(input)))
  } catch (error) {
    if (target.refuses?.(error) !== true) return { kind: "threw", what: describe(error) }
  }
  const ms = performance.now() - startMs
  if (ms > SLOW_MS) return { kind: "slow", what: `it took ${ms.toFixed(0)} ms` }
  const memory = countedMemory() - memoryBefore
  if (memory > MEMORY_FREE + MEMORY_PER_BYTE * input.length) {
    return { kind: "memory", what: `it asked for ${memory} bytes for an input of ${input.length}` }
  }
  return undefined
}

function seedOf(input: Uint8Array): number {
  let hash = 0x811c9dc5
  for (const byte of input) hash = Math.imul(hash ^ byte, 0x01000193)
  return hash >>> 0
}

function describe(error: unknown): string {
  if (!(error instanceof Error)) return `it threw ${String(error)}`
  const at = error.stack?.split("\n").find((line) => /\bsrc\//.test(line)) ?? ""
  const cause = error.cause === undefined ? "" : ` (${describe(error.cause)})`
  return `${error.name}: ${error.message.slice(0, 300)} ${at.trim()}`.trim() + cause
}
