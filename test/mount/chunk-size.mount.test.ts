/** Clients make the file of a database longer than the database: SQLITE_FCNTL_CHUNK_SIZE, SIZE_HINT and fallocate(2). */
import { expect, test } from "bun:test"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { backingContent, backingFile, caughtUp, run, sqlite3 } from "../support/client.ts"
import { canMount, PROGRAM, Scope, type TestNode } from "../support/node.ts"

const CHUNK = 32768
const CASES = [
  ["delete", 512],
  ["delete", 65536],
  ["truncate", 4096],
  ["persist", 4096],
  ["wal", 4096],
  ["wal", 65536], // a chunk is half a page
] as const
const FILL =
  "with recursive c(n) as (select 1 union all select n + 1 from c where n < 40) insert into t(x) select randomblob(5000) from c;"

function litefs(...args: readonly string[]): string {
  const [program, ...words] = [...PROGRAM, ...args]
  return run([program as string, ...words])
}

/** What the replica has, and an export, is the database and not more, and SQLite finds nothing wrong with it. */
async function expectSameDatabase(scope: Scope, primary: TestNode, replica: TestNode) {
  await caughtUp(primary, replica, "a.db")
  const sizes = sqlite3(
    primary,
    "a.db",
    "select page_count * page_size from pragma_page_count, pragma_page_size",
  )
  expect(backingContent(replica, "a.db").length).toBe(Number(sizes))
  const exported = join(scope.directory, "exported.db")
  litefs(
    "export",
    "--force",
    "--url",
    `http://127.0.0.1:${primary.port}`,
    "--name",
    "a.db",
    exported,
  )
  expect(readFileSync(exported).length).toBe(Number(sizes))
  expect(sqlite3(primary, "a.db", "pragma integrity_check")).toBe("ok")
  expect(sqlite3(replica, "a.db", "pragma integrity_check")).toBe("ok")
  const rows = "select count(*), sum(length(x)), max(x) from t"
  expect(sqlite3(replica, "a.db", rows)).toBe(sqlite3(primary, "a.db", rows))
}

test.skipIf(!canMount).each(CASES)(
  "%s mode, pages of %d: a client that has its file in chunks commits as any other",
  async (mode, pageSize) => {
    await using scope = new Scope()
    const primary = await scope.node()
    const replica = await scope.node({ follows: primary })
    const chunked = (sql: string) =>
      sqlite3(primary, "a.db", `.filectrl chunk_size ${CHUNK}\n${sql}`)
    sqlite3(
      primary,
      "a.db",
      `pragma page_size = ${pageSize}; pragma auto_vacuum = full; pragma journal_mode = ${mode}; create table t(id integer primary key, x);`,
    )
    const begin = `pragma journal_mode = ${mode};`
    chunked(`${begin} ${FILL}`)
    await expectSameDatabase(scope, primary, replica)
    chunked(`${begin} delete from t where id > 30;`)
    await expectSameDatabase(scope, primary, replica)
    chunked(`${begin} delete from t where id > 3; vacuum; ${FILL} delete from t where id > 20;`)
    await expectSameDatabase(scope, primary, replica)
    expect(backingFile(primary, "a.db").length % CHUNK).toBe(0)
    chunked(`${begin} begin; ${FILL} rollback;`)
    sqlite3(primary, "a.db", `${begin} ${FILL} pragma wal_checkpoint(truncate);`)
    await expectSameDatabase(scope, primary, replica)

    chunked(`${begin} delete from t where id > 10;`)
    await primary.stop("SIGKILL")
    const { directory, port } = primary
    const again = await scope.node({ directory, port })
    await expectSameDatabase(scope, again, replica)
    await again.stop()
    expect(litefs("doctor", "--data-dir", again.data)).not.toContain("problem")
  },
  120_000,
)

test.skipIf(!canMount).each(["delete", "wal"] as const)(
  "%s mode: room that is made beyond the end of a database is not in it",
  async (mode) => {
    await using scope = new Scope()
    const primary = await scope.node()
    const replica = await scope.node({ follows: primary })
    sqlite3(
      primary,
      "a.db",
      `pragma journal_mode = ${mode}; create table t(id integer primary key, x); ${FILL}`,
    )
    const path = `${primary.mount}/a.db`
    const python = (source: string) =>
      run(["python3", "-c", `import os\nfd = os.open("${path}", os.O_RDWR)\n${source}`]).trim()
    sqlite3(primary, "a.db", "pragma wal_checkpoint(truncate)")
    expect(python("os.posix_fallocate(fd, 0, 1 << 20); print(os.fstat(fd).st_size)")).toBe(
      "1048576",
    )
    await expectSameDatabase(scope, primary, replica)
    sqlite3(primary, "a.db", FILL)
    await expectSameDatabase(scope, primary, replica)
    run(["fallocate", "--keep-size", "--length", "4M", path])
    run(["truncate", "--size", "3M", path])
    await expectSameDatabase(scope, primary, replica)
    const cut = `\ntry:\n  os.ftruncate(fd, 8192); print("cut")\nexcept OSError as e: print("refused")`
    expect(python(cut)).toBe("refused")
    sqlite3(primary, "a.db", "delete from t where id > 5; vacuum")
    await expectSameDatabase(scope, primary, replica)
  },
  60_000,
)
