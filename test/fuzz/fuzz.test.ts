/** The short form of `scripts/fuzz`, which is the long one. */
import { afterAll, describe, expect, test } from "bun:test"
import { Random, testRandom } from "../support/random.ts"
import { CANARIES } from "./canaries.ts"
import { Fuzzer, failureText } from "./fuzzer.ts"
import { PARSERS } from "./registry.ts"
import type { Target } from "./target.ts"
import { type Verdict, verdictOn } from "./verdict.ts"

const FOR_MS = 150
const LIMIT_MS = 60_000
const { seed } = testRandom()
const fuzzer = new Fuzzer()
afterAll(() => fuzzer[Symbol.asyncDispose]())

describe("fuzzer", () => {
  test.each(CANARIES.map(({ name }) => name))(
    "finds the mistake of %s, and the smallest input that shows it",
    async (name) => {
      const impatient = new Fuzzer({ hangMs: 500 })
      const { failure } = await impatient.fuzz(name, { seed, forMs: LIMIT_MS / 2 })
      await impatient[Symbol.asyncDispose]()
      expect(failure?.target).toBe(name)
      expect(failure?.verdict.kind).toBe(KINDS[name] as Verdict["kind"])
      expect(failure?.input.length).toBeLessThanOrEqual(name === "canary-hang" ? 100 : 8)
      expect(failureText(failure as NonNullable<typeof failure>)).toContain(`--only ${name} --seed`)
    },
    LIMIT_MS,
  )

  test.each(PARSERS.map((target) => [target.name, target] as const))(
    "has good input for %s",
    (_, target) => {
      const seeds = target.seeds()
      expect(seeds.map((input) => verdictOn(target, input.slice())).filter(Boolean)).toEqual([])
      expect(seeds.filter((input) => isTaken(target, input)).length).toBeGreaterThan(0)
    },
  )
})

/** Whether the parser takes it, and does not refuse it. */
function isTaken(target: Target, input: Uint8Array): boolean {
  try {
    target.run(input.slice(), new Random(seed))
    return true
  } catch {
    return false
  }
}

const KINDS: Record<string, Verdict["kind"]> = {
  "canary-error": "threw",
  "canary-memory": "memory",
  "canary-hang": "hung",
}

describe("changed input", () => {
  test.each(PARSERS.map(({ name }) => name))(
    "does no harm to %s",
    async (name) => {
      const { count, failure } = await fuzzer.fuzz(name, { seed, forMs: FOR_MS })
      expect(failure === undefined ? "" : failureText(failure)).toBe("")
      expect(count).toBeGreaterThan(0)
    },
    LIMIT_MS,
  )
})
