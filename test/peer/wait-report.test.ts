import { expect, test } from "bun:test"
import { WaitReport } from "../../src/peer/locks/wait-report.ts"
import { FakeClock } from "../support/fake-clock.ts"
import { RecordedLog } from "../support/recorded-log.ts"

function listener() {
  const [clock, log] = [new FakeClock(), new RecordedLog()]
  const told: (string | undefined)[] = []
  const onWaiting = (_: string, process: string | undefined) => void told.push(process)
  return { clock, log, told, with: { clock, log: log.logger, onWaiting } }
}

/** A number that no process has. */
const holder = (pid = 2 ** 30) => pid

test("a wait is told of after 5 s, once in the log, until it is over", () => {
  const { clock, log, told, with: context } = listener()
  {
    using report = new WaitReport(context, "a.db", "write the database")
    clock.advance(5000)
    report.waited(holder)
    expect(told).toEqual([])
    clock.advance(1)
    report.waited(holder)
    report.waited(() => holder(2 ** 30 + 1))
    expect(told).toEqual([`${2 ** 30}`])
    clock.advance(5001)
    report.waited(() => holder(2 ** 30 + 1))
    expect(told).toEqual([`${2 ** 30}`, `${2 ** 30 + 1}`])
  }
  expect(told.at(-1)).toBeUndefined()
  expect(told).toHaveLength(3)
  expect(log.lines).toHaveLength(1)
  expect(log.lines[0]).toContain("waiting for readers to write the database")
})

test("nobody hears of a short wait, or of its end", () => {
  const { clock, log, told, with: context } = listener()
  {
    using report = new WaitReport(context, "a.db", "write the database")
    clock.advance(4000)
    report.waited(holder)
  }
  expect([told, log.lines]).toEqual([[], []])
})
