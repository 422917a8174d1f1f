import { expect, test } from "bun:test"
import { RateLimit } from "../../src/lib/rate-limit.ts"
import { FakeClock } from "../support/fake-clock.ts"

async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve()
}

async function* partsOf(...sizes: readonly number[]): AsyncGenerator<Uint8Array> {
  for (const size of sizes) yield new Uint8Array(size)
}

test("RateLimit lets bytes go at the rate, whoever takes them", async () => {
  const clock = new FakeClock()
  const limit = new RateLimit(clock, 1000)
  const gone: string[] = []
  const read = async (name: string) => {
    for await (const part of limit.apply(partsOf(500, 500))) gone.push(`${name} ${part.length}`)
  }
  void read("a")
  void read("b")
  await settle()
  expect(gone).toEqual([])
  const counts: number[] = []
  for (let ms = 0; ms < 2000; ms += 100) {
    clock.advance(100)
    await settle()
    counts.push(gone.length)
  }
  // 2000 bytes, of which 200 may be caught up on.
  expect(counts.indexOf(1)).toBe(2)
  expect(counts.indexOf(2)).toBe(7)
  expect(counts.indexOf(4)).toBe(17)
})

test("RateLimit cuts parts for which one would wait long, and keeps their bytes", async () => {
  const clock = new FakeClock()
  const limit = new RateLimit(clock, 100)
  const bytes = Uint8Array.from({ length: 180 }, (_, index) => index)
  const found: number[] = []
  const done = (async () => {
    for await (const part of limit.apply([bytes] as unknown as AsyncIterable<Uint8Array>)) {
      expect(part.length).toBeLessThanOrEqual(50)
      found.push(...part)
    }
  })()
  for (let ms = 0; ms < 3000; ms += 100) {
    clock.advance(100)
    await settle()
  }
  await done
  expect(found).toEqual([...bytes])
})

test("RateLimit does not save up what was not taken for long", async () => {
  const clock = new FakeClock()
  const limit = new RateLimit(clock, 1000)
  clock.advance(60_000)
  let hasGone = false
  void limit.take(1000).then(() => {
    hasGone = true
  })
  clock.advance(700)
  await settle()
  expect(hasGone).toBe(false)
  clock.advance(100)
  await settle()
  expect(hasGone).toBe(true)
})
