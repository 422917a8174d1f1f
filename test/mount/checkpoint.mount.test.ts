/** What is written to the file of a WAL database beside its WAL: what a checkpoint copies there, and nothing else. */

import { Database } from "bun:sqlite"
import { expect } from "bun:test"
import { copyFileSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { caughtUp, expectSame, failureOf, pos, run, sqlite3 } from "../support/client.ts"
import { LongClient } from "../support/long-client.ts"
import { test } from "../support/mount-test.ts"
import { PROGRAM, type TestNode } from "../support/node.ts"
import { pair } from "../support/pair.ts"
import { testRandom } from "../support/random.ts"
import { WalWriter } from "../support/wal-writer.ts"

const FILL =
  "with recursive c(n) as (select 1 union all select n + 1 from c where n < 40) insert into t(x) select randomblob(3000) from c;"
const SETUP = `pragma journal_mode = wal; create table t(id integer primary key, x); ${FILL}`
const SUM = "select count(*), sum(length(x)), max(hex(x)) from t"

const STORE = `
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
m = mmap.mmap(fd, 8192)
m[4096:8192] = b"x" * 4096
m.flush()
`
const IN_PLACE = `
import os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
os.pwrite(fd, open(sys.argv[2], "rb").read(), 0)
`

/** Ways to write to a file, from one that is of the same size. */
const WRITES: Record<string, (node: TestNode, from: string) => string[]> = {
  "dd of a page": ({ mount }, from) => [
    ...["dd", `if=${from}`, `of=${mount}/a.db`, "bs=4096", "count=1", "skip=2", "seek=2"],
    ...["conv=notrunc", "status=none"],
  ],
  "dd of part of a page": ({ mount }, from) => [
    ...["dd", `if=${from}`, `of=${mount}/a.db`, "bs=100", "count=1", "skip=50", "seek=50"],
    ...["conv=notrunc", "status=none"],
  ],
  "a store into a mapping": ({ mount }) => ["python3", "-c", STORE, `${mount}/a.db`],
  "another database in its place": ({ mount }, from) => [
    ...["python3", "-c", IN_PLACE, `${mount}/a.db`, from],
  ],
}

test.each(Object.keys(WRITES))(
  "%s is refused, with clients and without, and changes nothing",
  async (way) => {
    await using scope = await pair()
    const { primary, replica } = scope
    const path = join(primary.mount, "a.db")
    sqlite3(primary, "a.db", SETUP)
    const from = join(scope.directory, "other")
    writeFileSync(from, readFileSync(path).fill(7, 4096))
    const seen = sqlite3(primary, "a.db", SUM)
    for (const isOpen of [false, true]) {
      const client = new LongClient(scope, primary, "a.db")
      if (isOpen) await client.exec("update t set x = x where id = 1")
      const before = pos(primary, "a.db")
      expect(failureOf((WRITES[way] as (typeof WRITES)[string])(primary, from))).toMatch(
        /not permitted|PermissionError/,
      )
      expect(pos(primary, "a.db")).toBe(before)
      expect(sqlite3(primary, "a.db", `pragma integrity_check; ${SUM}`)).toBe(`ok\n${seen}`)
      await client.close()
    }
    await primary.logged(
      way === "a store into a mapping"
        ? /Cannot write .{1,2}a\.db.{1,2}: stores into a mapping cannot be captured/
        : /a write of what is not in its WAL .* litefs import --name a.db FILE/,
    )
    sqlite3(primary, "a.db", FILL)
    await caughtUp(primary, replica, "a.db")
    await expectSame(primary, replica, "a.db")
    expect((await primary.stop()).code).toBe(0)
    const again = await scope.again(primary)
    expect(sqlite3(again, "a.db", "pragma integrity_check")).toBe("ok")
  },
  60_000,
)

test.each(testRandom().someOf([512, 4096, 65536]))(
  "pages of %d: checkpoints of every kind are taken, beside readers of older transactions",
  async (pageSize) => {
    await using scope = await pair()
    const { primary, replica } = scope
    sqlite3(primary, "a.db", `pragma page_size = ${pageSize}; ${SETUP}`)
    const writer = new LongClient(scope, primary, "a.db")
    const other = new LongClient(scope, primary, "a.db")
    await writer.exec("pragma wal_autocheckpoint = 0")
    for (const kind of ["passive", "full", "restart", "truncate", "passive"]) {
      const reader = new LongClient(scope, primary, "a.db")
      await writer.exec("update t set x = randomblob(3000)")
      await reader.exec("begin")
      const seen = await reader.rows(SUM)
      await writer.exec("update t set x = randomblob(3000) where id % 2")
      // Copies what the reader sees, which is older than what was captured.
      expect((await other.rows("pragma wal_checkpoint(passive)")).length).toBe(1)
      expect(await reader.rows(SUM)).toEqual(seen)
      await reader.close()
      await writer.exec("delete from t where id > 30; vacuum")
      expect((await other.rows(`pragma wal_checkpoint(${kind})`)).length).toBe(1)
      await writer.exec(FILL)
    }
    await writer.close()
    await other.close()
    await expectSame(primary, replica, "a.db")
    expect(primary.output).not.toContain("is not in its WAL")
    expect(run(["sh", "-c", `sqlite3 ${primary.mount}/a.db 'pragma integrity_check'`])).toBe("ok\n")
  },
  60_000,
)

test("a WAL that is copied into its place beside its database is captured, whole, and nothing is if page 1 is noise", async () => {
  await using scope = await pair()
  const { primary, replica } = scope
  const source = join(scope.directory, "source.db")
  const client = new Database(source)
  client.run("pragma journal_mode = wal")
  client.run("pragma wal_autocheckpoint = 0")
  client.run("create table t(x)")
  client.run("pragma wal_checkpoint(truncate)")
  const image = join(scope.directory, "image.db")
  copyFileSync(source, image)
  client.run("insert into t values(1), (2)")
  const wal = join(scope.directory, "saved-wal")
  copyFileSync(`${source}-wal`, wal)
  client.close()

  run([...PROGRAM, "import", "--url", primary.url, "--name", "a.db", image])
  run(["cp", wal, `${primary.mount}/a.db-wal`])
  expect(sqlite3(primary, "a.db", "select count(*) from t; pragma integrity_check")).toBe("2\nok")
  await caughtUp(primary, replica, "a.db")
  expect(sqlite3(replica, "a.db", "select count(*) from t")).toBe("2")
  await expectSame(primary, replica, "a.db")

  const before = pos(primary, "a.db")
  const noisy = new WalWriter(4096, 7)
  const noise = { pgno: 1, data: crypto.getRandomValues(new Uint8Array(4096)) }
  const writes = [noisy.header, ...noisy.frames([noise], 2)]
  writeFileSync(wal, Buffer.concat(writes.map(({ bytes }) => bytes)))
  expect(failureOf(["cp", wal, `${primary.mount}/a.db-wal`])).toContain("error")
  expect(pos(primary, "a.db")).toBe(before)
  expect(sqlite3(primary, "a.db", "select count(*) from t; pragma integrity_check")).toBe("2\nok")
}, 60_000)
