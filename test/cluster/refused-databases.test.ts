import { expect, test } from "bun:test"
import { RETRY_MS, RefusedDatabases } from "../../src/cluster/refused-databases.ts"
import { LitefsError } from "../../src/lib/errors.ts"
import { ZERO_POS } from "../../src/ltx/pos.ts"
import { FakeClock } from "../support/fake-clock.ts"
import { LogLines } from "../support/log-lines.ts"

const hasHistory = (name: string) => name !== "new.db"
const POS = { txid: 7n, checksum: 1n << 63n }

test("RefusedDatabases asks for a database whole, then leaves it out, and tries again at longer and longer intervals", () => {
  using log = new LogLines()
  const clock = new FakeClock()
  let changes = 0
  const onChange = () => {
    changes += 1
  }
  const refused = new RefusedDatabases({ clock, damaged: new Map(), hasHistory, onChange })
  const refuse = () => refused.refused("a.db", new Error("rotten"))
  refuse()
  expect(refused.told("a.db", POS)).toEqual(POS)
  refuse()
  expect(refused.told("a.db", POS)).toEqual(ZERO_POS)
  expect(refused.told("b.db", POS)).toEqual(POS)
  refuse()
  expect([refused.isLeftOut("a.db"), refused.problem("a.db")]).toEqual([false, undefined])
  refuse()
  expect([refused.leftOut, refused.problem("a.db")]).toEqual([["a.db"], "rotten"])
  clock.advance(RETRY_MS)
  expect([changes, refused.leftOut]).toEqual([1, []])
  refuse()
  expect(refused.isLeftOut("a.db")).toBe(true)
  clock.advance(RETRY_MS)
  expect(refused.isLeftOut("a.db")).toBe(true)
  clock.advance(RETRY_MS)
  expect([changes, refused.isLeftOut("a.db")]).toEqual([2, false])
  refused.applied("a.db")
  expect(refused.told("a.db", POS)).toEqual(POS)
  refuse()
  expect(refused.isLeftOut("a.db")).toBe(false)
  expect(log.lines).toHaveLength(2)
  expect(log.lines[0]).toContain("a database no longer follows the primary")
  for (let count = 0; count < 4; count++) refused.refused("new.db", new Error("rotten"))
  expect(log.lines.at(-1)).toContain("a database cannot follow the primary")
})

test("RefusedDatabases does not leave out a database for what stops all of them", () => {
  using log = new LogLines()
  const clock = new FakeClock()
  const refused = new RefusedDatabases({
    clock,
    damaged: new Map(),
    hasHistory,
    onChange: () => {},
  })
  for (let count = 0; count < 10; count++) {
    refused.refused("a.db", new LitefsError("no-space", "the disk is full"))
    refused.refused("a.db", new LitefsError("unavailable", "clients of this node write to it"))
  }
  expect([refused.leftOut, refused.told("a.db", POS)]).toEqual([[], POS])
  expect(log.lines).toEqual([])
})

test("RefusedDatabases does not ask for a database whole when system calls have failed", () => {
  using _log = new LogLines()
  const clock = new FakeClock()
  const refused = new RefusedDatabases({
    clock,
    damaged: new Map(),
    hasHistory,
    onChange: () => {},
  })
  const failed = () => refused.refused("a.db", new LitefsError("io", "the disk is broken"))
  const strange = () => refused.refused("a.db", new LitefsError("invalid", "rotten"))
  failed()
  failed()
  strange()
  expect(refused.told("a.db", POS)).toEqual(POS)
  failed()
  strange()
  expect(refused.told("a.db", POS)).toEqual(POS)
  strange()
  expect(refused.told("a.db", POS)).toEqual(ZERO_POS)
})

test("RefusedDatabases leaves out what was damaged at the start", () => {
  const damaged = new Map([["old.db", "it is no database"]])
  const clock = new FakeClock()
  const refused = new RefusedDatabases({ clock, damaged, hasHistory, onChange: () => {} })
  refused.refused("old.db", new Error("damaged"))
  refused.close()
  expect([refused.leftOut, refused.problem("old.db")]).toEqual([["old.db"], "it is no database"])
  expect(clock.timerCount).toBe(0)
})

test("RefusedDatabases says it of the first of many databases, and of the others how many", () => {
  using log = new LogLines()
  const clock = new FakeClock()
  const onChange = () => {}
  const refused = new RefusedDatabases({ clock, damaged: new Map(), hasHistory, onChange })
  for (let number = 0; number < 1000; number++) {
    for (let count = 0; count < 4; count++) refused.refused(`${number}.db`, new Error("rotten"))
  }
  expect(refused.leftOut).toHaveLength(1000)
  expect(log.lines.length).toBeLessThanOrEqual(20)
  clock.advance(5000)
  for (let count = 0; count < 4; count++) refused.refused("last.db", new Error("rotten"))
  expect(log.lines.at(-1)).toContain("left-out=980")
  refused.close()
})
