/**
 * A database that is larger than 1 GiB, so that it has the page where SQLite keeps its locks: never written, never in
 * an LTX file, never in a checksum. It comes as a file with a hole, and then everything happens around that page.
 */
import { Database } from "bun:sqlite"
import { expect } from "bun:test"
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  truncateSync,
  writeSync,
} from "node:fs"
import { join } from "node:path"
import { lockPgno } from "../../src/ltx/checksum.ts"
import { readLtxFile } from "../../src/store/ltx/ltx-file.ts"
import { caughtUp, run } from "../support/client.ts"
import { Scope, type TestNode } from "../support/node.ts"

const LIMIT_MS = 120_000

export interface LockPageOptions {
  readonly mode: "delete" | "truncate" | "persist" | "wal"
  readonly pageSize: number
}

export async function lockPage({ mode, pageSize }: LockPageOptions): Promise<void> {
  await using scope = new Scope()
  const lock = lockPgno(pageSize)
  const directory = join(scope.directory, "primary")
  for (const name of ["mnt", "data/dbs/a.db"]) {
    mkdirSync(join(directory, name), { recursive: true })
  }
  makeLarge(join(directory, "data/dbs/a.db/database"), pageSize, lock - 3)
  // Every page becomes its first transaction.
  const primary = await scope.node({ directory, startLimitMs: LIMIT_MS })
  const pageCount = () => Number(ask(primary, "pragma page_count"))
  ask(primary, `pragma journal_mode = ${mode}; insert into t(x) values('first')`)
  const replica = await scope.node({ follows: primary })
  await expectSame(primary, replica)
  expect(pageCount()).toBeLessThan(lock)

  // Over it in one transaction, with pages that are cached and with pages that are spilled; then beyond it.
  const insert = `insert into t(x) values(randomblob(${2 * pageSize}));`
  ask(primary, `pragma cache_size = 3; begin; ${insert.repeat(6)} commit; ${insert.repeat(2)}`)
  expect(pageCount()).toBeGreaterThan(lock + 8)
  await expectSame(primary, replica)
  ask(primary, "update t set x = randomblob(length(x)) where id % 2 = 0")
  ask(primary, `begin; ${insert.repeat(3)} rollback`)
  await expectSame(primary, replica)
  for (const node of [primary, replica]) {
    await node.stop("SIGKILL")
    await node.end()
  }
  const { port } = primary
  const again = await scope.node({ directory, port, startLimitMs: LIMIT_MS })
  const replicaAgain = await scope.node({
    directory: replica.directory,
    port: replica.port,
    follows: again,
    startLimitMs: LIMIT_MS,
  })
  await expectSame(again, replicaAgain)

  // Below it, and over it once more, where pages were.
  ask(again, "delete from t where id > 3; vacuum")
  expect(Number(ask(again, "pragma page_count"))).toBeLessThan(lock)
  expect(ask(again, "pragma integrity_check")).toBe("ok")
  await expectSame(again, replicaAgain)

  const ltx = join(again.data, "dbs/a.db/ltx")
  const names = readdirSync(ltx)
  expect(names.length).toBeGreaterThan(5)
  for (const name of names) {
    readLtxFile(join(ltx, name), { page: (pgno) => void (pgno === lock && expect.unreachable()) })
  }
  for (const node of [replicaAgain, again]) {
    expect(node.output).not.toMatch(/level=error/)
    expect(await node.stop()).toEqual({ code: 0, signal: null })
  }
}

/** Nothing refers to most of its pages, which are a hole: SQLite goes on after the last one. */
function makeLarge(path: string, pageSize: number, pageCount: number): void {
  {
    using database = new Database(path)
    database.run(`PRAGMA page_size = ${pageSize}`)
    database.run("CREATE TABLE t(id INTEGER PRIMARY KEY, x)")
  }
  const count = Buffer.alloc(4)
  count.writeUInt32BE(pageCount)
  const fd = openSync(path, "r+")
  writeSync(fd, count, 0, 4, 28)
  writeSync(fd, readFileSync(path).subarray(24, 28), 0, 4, 92) // so that it is believed
  closeSync(fd)
  truncateSync(path, pageCount * pageSize)
}

function ask(node: TestNode, sql: string): string {
  const command = ["sqlite3", "-bail", "-cmd", ".timeout 60000", `${node.mount}/a.db`]
  return run(command, sql, LIMIT_MS).trim()
}

/** The replica refuses what does not lead to the checksum that the primary has told; so rows are enough. */
async function expectSame(primary: TestNode, replica: TestNode): Promise<void> {
  await caughtUp(primary, replica, "a.db", LIMIT_MS)
  const sql = "select id, length(x), hex(substr(x, 1, 20)) from t order by id; pragma page_count"
  expect(ask(replica, sql)).toBe(ask(primary, sql))
}
