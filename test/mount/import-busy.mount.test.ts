/** An import while a client does not let go of the database. */
import { expect } from "bun:test"
import { join } from "node:path"
import { failureOf, pos, run, sqlite3 } from "../support/client.ts"
import { LongClient } from "../support/long-client.ts"
import { test } from "../support/mount-test.ts"
import { PROGRAM, Scope } from "../support/node.ts"
import { testRandom } from "../support/random.ts"

const random = testRandom()

test.each(random.someOf(["delete", "wal"]))(
  "%p mode: import gives up when clients do not let go, and does not stand in their way",
  async (mode) => {
    await using scope = new Scope()
    const primary = await scope.node()
    sqlite3(primary, "a.db", `pragma journal_mode = ${mode}; create table t(x)`)
    const client = new LongClient(scope, primary, "a.db")
    await client.exec("begin; insert into t values(1)")
    const before = pos(primary, "a.db")
    const path = join(scope.directory, "other.db")
    run(["sqlite3", path, "create table other(x)"])
    const importing = [...PROGRAM, "import", "--url", primary.url, "--name", "a.db", path]
    expect(failureOf(importing)).toBe(
      `ERROR: Cannot lock database "a.db": clients have been in transactions for 10s, one is process ${client.pid} (node), try again when they are done\n`,
    )
    expect(pos(primary, "a.db")).toBe(before)
    await client.exec("commit")
    expect(sqlite3(primary, "a.db", "select x from t")).toBe("1")
    run(importing)
    expect(await client.value("select count(*) from other")).toBe(0)
  },
  60_000,
)
