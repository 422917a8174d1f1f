/** Kills in the middle of a transaction that is too large to hold, and has taken pages from SQLite's free list. */
import { expect } from "bun:test"
import { existsSync, readdirSync } from "node:fs"
import { join } from "node:path"
import { expectSame, sqlite3 } from "../support/client.ts"
import { LongClient } from "../support/long-client.ts"
import { test } from "../support/mount-test.ts"
import { Scope, type TestNode } from "../support/node.ts"
import { until } from "../support/until.ts"

/** More than is held back in memory: 84 MB. */
const ROWS = 21_000
const FLAGS = ["--retention", "100ms", "--retention-interval", "200ms"]
const FILL = `with recursive n(i) as (select 1 union all select i + 1 from n where i < ${ROWS})
  insert into t select randomblob(3900) from n`
const LOOK = "select count(*), (select integrity_check from pragma_integrity_check) from t"

function pathOf(node: TestNode, file: string): string {
  return join(node.data, "dbs/a.db", file)
}

/** A client in a transaction that is in the database file, of pages that no LTX file has and no journal. */
async function midway(scope: Scope, node: TestNode): Promise<LongClient> {
  const writer = new LongClient(scope, node, "a.db")
  await writer.exec("pragma journal_mode = delete; pragma cache_size = 100; create table t(x)")
  await writer.exec(FILL)
  await writer.exec("delete from t where rowid > 100")
  for (const id of [1, 2]) await writer.exec(`delete from t where rowid = ${id}`)
  const areReaped = async () => {
    await writer.exec("update t set x = randomblob(3900) where rowid = 3")
    return readdirSync(pathOf(node, "ltx")).length < 4
  }
  await until("retention has removed the files of the free pages", areReaped, { limitMs: 60_000 })
  await writer.exec(`begin immediate; ${FILL}`)
  expect(existsSync(pathOf(node, "undo"))).toBe(true)
  return writer
}

test("a daemon that is killed in it has the database as before it, and its replica too", async () => {
  await using scope = new Scope()
  const node = await scope.node({ flags: FLAGS })
  const writer = await midway(scope, node)
  await node.stop("SIGKILL")
  await writer.close("SIGKILL")
  const again = await scope.again(node, { flags: FLAGS })
  await again.logged(/msg="rolled back"/)
  expect(existsSync(pathOf(again, "undo"))).toBe(false)
  expect(sqlite3(again, "a.db", LOOK)).toBe("98|ok")
  const replica = await scope.node({ follows: again })
  sqlite3(again, "a.db", "insert into t values('next')")
  await expectSame(again, replica, "a.db")
}, 120_000)

test("a client that is killed in it leaves a journal that others roll back, and all nodes agree", async () => {
  await using scope = new Scope()
  const node = await scope.node({ flags: FLAGS })
  const replica = await scope.node({ follows: node })
  const writer = await midway(scope, node)
  await writer.close("SIGKILL")
  expect(sqlite3(node, "a.db", LOOK)).toBe("98|ok")
  expect(existsSync(pathOf(node, "undo"))).toBe(false)
  await expectSame(node, replica, "a.db")
  await node.stop("SIGKILL")
  const again = await scope.again(node, { flags: FLAGS })
  expect(sqlite3(again, "a.db", LOOK)).toBe("98|ok")
}, 120_000)
