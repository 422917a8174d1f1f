import { expect, test } from "bun:test"
import { type Follower, Looks } from "../../src/mount/bypass.ts"
import { FakeClock } from "../support/fake-clock.ts"
import { RecordedLog } from "../support/recorded-log.ts"

class Database implements Follower {
  readonly name = "a.db"
  isBeingWritten = false
  problem: Error | undefined
  readonly looks: number[] = []
  readonly #clock: FakeClock

  constructor(clock: FakeClock) {
    this.#clock = clock
  }

  follow(): void {
    this.looks.push(this.#clock.monotonicMs())
    if (this.problem !== undefined) throw this.problem
  }
}

function start() {
  const clock = new FakeClock()
  const log = new RecordedLog()
  const database = new Database(clock)
  const looks = new Looks(clock, log.logger)
  /** As the thread does it: waits no longer than it is told. */
  const run = (untilMs: number) => {
    for (;;) {
      const waitMs = looks.followDue()
      if (waitMs === undefined || clock.monotonicMs() + waitMs > untilMs) return waitMs
      clock.advance(waitMs)
    }
  }
  return { clock, log, database, looks, run }
}

test("a write is followed by looks that become rare and end", () => {
  const { database, looks, run } = start()
  looks.begin(database)
  expect(run(100_000)).toBeUndefined()
  expect(database.looks.slice(0, 6)).toEqual([0, 1, 3, 7, 15, 31])
  expect(database.looks).toHaveLength(11)
  expect(database.looks.at(-1)).toBe(1023)
})

test("looks go on while a client is about to publish, and while capturing fails", () => {
  const { clock, log, database, looks, run } = start()
  database.isBeingWritten = true
  looks.begin(database)
  expect(run(10_000)).toBeDefined()
  database.isBeingWritten = false
  database.problem = new Error("the disk is full")
  expect(run(clock.monotonicMs() + 5000)).toBeDefined()
  expect(log.lines).toHaveLength(1)
  database.problem = undefined
  expect(run(clock.monotonicMs() + 5000)).toBeUndefined()
})

test("another write begins anew, and who has closed its WAL is left alone", () => {
  const { clock, database, looks, run } = start()
  looks.begin(database)
  run(100)
  looks.begin(database)
  const { length } = database.looks
  expect(looks.followDue()).toBe(1)
  expect(database.looks.length).toBe(length + 1)
  looks.end(database)
  clock.advance(10_000)
  expect(looks.followDue()).toBeUndefined()
})
