/** A node that is the primary again: nothing of its earlier term counts. */
import { expect } from "bun:test"
import { caughtUp, expectSame, pos, sqlite3 } from "../support/client.ts"
import { test } from "../support/mount-test.ts"
import { Scope } from "../support/node.ts"
import { becomes } from "../support/node-api.ts"
import { promote } from "../torture/handoffs.ts"

const FLAGS = ["--candidate"]

test("a replica gets no transaction of an earlier term, which has the same number as one of this term", async () => {
  await using scope = new Scope()
  const first = await scope.node({ flags: FLAGS })
  const second = await scope.node({ follows: first, flags: FLAGS })
  const third = await scope.node({ follows: first })
  sqlite3(first, "a.db", "create table t(x); insert into t values('before')")
  await caughtUp(first, second, "a.db")
  await caughtUp(first, third, "a.db")
  await third.stop()
  await second.stop()
  sqlite3(first, "a.db", "insert into t values('lost')")
  const lost = pos(first, "a.db")
  first.signal("SIGSTOP")
  const again = { directory: second.directory, port: second.port, follows: first }
  const back = await scope.node({ ...again, flags: FLAGS })
  await promote(back, "?force=true")
  sqlite3(back, "a.db", "insert into t values('new')")
  expect(pos(back, "a.db").slice(0, 16)).toBe(lost.slice(0, 16))
  first.signal("SIGCONT")
  await becomes(first, "replica")
  await caughtUp(back, first, "a.db")
  await promote(first)
  await becomes(first, "primary")
  const late = await scope.again(third, { follows: first })
  await expectSame(first, late, "a.db")
  expect(sqlite3(late, "a.db", "select group_concat(x) from t")).toBe("before,new")
  await late.logged(/the database has diverged|took a snapshot/)
  expect(late.output).not.toContain(`pos=${lost}`) // it has never been there
}, 60_000)
