import { describe, expect, test } from "bun:test"
import { Confirmation } from "../../src/cluster/role/confirmation.ts"
import type { LeaseRecord } from "../../src/cluster/role/lease.ts"
import { FakeClock } from "../support/fake-clock.ts"

function record(epoch: number): LeaseRecord {
  return { epoch, primary: { id: "A", hostname: "a", url: "http://a" } }
}

/** What peers answer, by their addresses; undefined: they do not. */
async function asked(answers: Record<string, LeaseRecord | "none" | undefined>, ours = record(3)) {
  const calls: string[] = []
  const clock = new FakeClock()
  const confirmation = new Confirmation({
    peers: Object.keys(answers),
    clock,
    record: () => ours,
    tell: async (url) => {
      calls.push(url)
      const answer = answers[url]
      if (answer === undefined) throw new Error("no answer")
      return answer === "none" ? undefined : answer
    },
  })
  const { promise, resolve } = Promise.withResolvers<void>()
  const unsubscribe = confirmation.onChange(resolve)
  confirmation.ask()
  await promise
  unsubscribe()
  return { confirmation, calls, clock }
}

describe("Confirmation", () => {
  test.each([
    ["all peers know the same", { a: record(3), b: record(3) }, true],
    ["some know an older one, or none", { a: record(2), b: "none" }, true],
    ["one knows a newer one", { a: record(3), b: record(4) }, false],
    ["one does not answer", { a: record(3), b: undefined }, false],
    ["there are none", {}, false],
  ] as const)("is there when %s: %j %p", async (_, answers, isConfirmed) => {
    expect((await asked(answers)).confirmation.isConfirmed).toBe(isConfirmed)
  })

  test("is over after a moment, and asks no more often than that", async () => {
    const { confirmation, calls, clock } = await asked({ a: record(3) })
    confirmation.ask()
    expect(calls).toHaveLength(1)
    await clock.advance(1500)
    expect(confirmation.isConfirmed).toBe(false)
    confirmation.ask()
    expect(calls).toHaveLength(2)
  })
})
