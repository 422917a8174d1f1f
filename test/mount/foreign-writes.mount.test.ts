/** What programs that are not SQLite write into the files of a database that is there, and take away. */
import { expect, test } from "bun:test"
import { copyFileSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { caughtUp, expectSame, failureOf, run, sqlite3 } from "../support/client.ts"
import { FIXTURE_PAGE_SIZE } from "../support/data-directory.ts"
import { hotJournal } from "../support/hot-journal.ts"
import { LongClient } from "../support/long-client.ts"
import { canMount, flagsOf, Scope, STRICT, type TestNode } from "../support/node.ts"
import { pair } from "../support/pair.ts"
import { testRandom } from "../support/random.ts"
import { someRollbackModes } from "../torture/model.ts"

const random = testRandom()

const COUNT = "select count(*) from t; pragma integrity_check"

const listed = ({ mount }: TestNode) => readdirSync(mount).sort()

/** What is closed is taken away just after that. */
async function untilOnly(node: TestNode, names: readonly string[]): Promise<void> {
  const deadline = Date.now() + 5000
  while (listed(node).join() !== names.join() && Date.now() < deadline) await Bun.sleep(10)
  expect(listed(node)).toEqual([...names])
}

function linesOf(node: TestNode, part: string): string[] {
  return node.output.split("\n").filter((line) => line.includes(part))
}

/** Files that users put beside a database, by what they are. */
function sources(scope: Scope) {
  const path = (name: string) => join(scope.directory, name)
  writeFileSync(path("junk"), "this is junk".repeat(20))
  writeFileSync(path("zeros"), new Uint8Array(8192))
  run(["sqlite3", path("other.db"), "create table mine(x); insert into mine values(1)"])
  const wal = `pragma journal_mode = wal; create table w(x); insert into w values(1);
    \n.shell cp ${path("wal.db-wal")} ${path("kept-wal")}`
  run(["sqlite3", path("wal.db")], wal)
  writeFileSync(path("hot"), hotJournal(2, new Map([[1, new Uint8Array(FIXTURE_PAGE_SIZE)]])))
  return {
    junk: path("junk"),
    zeros: path("zeros"),
    database: path("other.db"),
    wal: path("kept-wal"),
    journal: path("hot"),
  }
}

test.skipIf(!canMount).each(["delete", "wal"])(
  "what is copied beside a database in %s mode is refused at once, and nothing of it stays",
  async (mode) => {
    await using scope = new Scope()
    const node = await scope.node()
    const files = sources(scope)
    sqlite3(
      node,
      "a.db",
      `pragma journal_mode = ${mode}; create table t(x); insert into t values(1)`,
    )
    const refuse = (source: string, name: string) => {
      expect(failureOf(["cp", source, join(node.mount, name)])).toContain("not permitted")
    }
    for (const source of [files.junk, files.zeros, files.database]) {
      for (const name of ["a.db-wal", "a.db-journal"]) {
        refuse(source, name)
        await untilOnly(node, [".lag", "a.db", "a.db-pos"])
        expect(sqlite3(node, "a.db", COUNT)).toBe("1\nok")
      }
    }
    await node.logged(
      /msg="Cannot write \\"a.db-wal\\": it is not what SQLite writes there, use litefs import --name a.db FILE to bring a database here" file=a.db-wal process="\d+ \(cp\)"/,
    )
    await node.logged(/file=a.db-journal process="\d+ \(cp\)"/)
    expect(linesOf(node, "file=a.db-wal").length).toBe(3)

    // Clients that have it open go on.
    const client = new LongClient(scope, node, "a.db")
    await client.exec(`pragma journal_mode = ${mode}; insert into t values(2)`)
    const over = (source: string, name: string) => {
      const command = [
        "dd",
        `if=${source}`,
        `of=${join(node.mount, name)}`,
        "bs=1M",
        "conv=notrunc",
      ]
      expect(failureOf(command)).toContain("not permitted")
    }
    over(files.wal, "a.db-wal")
    over(files.junk, "a.db-wal")
    over(files.journal, "a.db-journal")
    await client.exec("insert into t values(3)")
    expect(await client.value("select count(*) from t")).toBe(3)
    await client.close()
    expect(sqlite3(node, "a.db", COUNT)).toBe("3\nok")
    const replica = await scope.node({ follows: node })
    await caughtUp(node, replica, "a.db")
    await expectSame(node, replica, "a.db")
  },
  60_000,
)

test.skipIf(!canMount).each(["delete", "wal"])(
  "what is appended to a database in %s mode is refused",
  async (mode) => {
    await using scope = new Scope()
    const node = await scope.node()
    sqlite3(
      node,
      "a.db",
      `pragma journal_mode = ${mode}; create table t(x); insert into t values(1)`,
    )
    const path = join(node.mount, "a.db")
    const before = readFileSync(path)
    const said = failureOf(["sh", "-c", `echo x >> '${path}'`])
    expect(said).toMatch(/not permitted|I\/O error/)
    expect(Buffer.compare(readFileSync(path), before)).toBe(0)
    await node.logged(/Cannot write \\"a.db\\"/)
    sqlite3(node, "a.db", "insert into t values(2)")
    expect(sqlite3(node, "a.db", COUNT)).toBe("2\nok")
  },
  30_000,
)

/** SQLite's calls of a rollback transaction, the last of them in another thread. */
const SPREAD = `
import os, sys, threading
path, journal = sys.argv[1], sys.argv[1] + "-journal"
fd = os.open(path, os.O_RDWR)
made = os.open(journal, os.O_RDWR | os.O_CREAT, 0o600)
hot = open(sys.argv[2], "rb").read()
for start, end in ((0, 512), (512, 516), (516, len(hot) - 4), (len(hot) - 4, len(hot))):
    os.write(made, hot[start:end])
page = bytearray(os.pread(fd, 512, 0))
page[60:64] = bytes([0, 0, 0, 7])  # user_version
for at in (24, 92):
    page[at:at + 4] = (int.from_bytes(page[at:at + 4], "big") + 1).to_bytes(4, "big")
os.pwrite(fd, page, 0)
ending = threading.Thread(target=lambda: os.unlink(journal))
ending.start(); ending.join()
print(os.path.exists(journal))
`

test.skipIf(!canMount)("a program may end its transaction in another of its threads", async () => {
  await using scope = await pair({
    sql: `pragma page_size = ${FIXTURE_PAGE_SIZE}; create table t(x)`,
  })
  const { primary, replica } = scope
  const bytes = readFileSync(join(primary.data, "dbs/a.db/database"))
  const first = new Uint8Array(bytes.subarray(0, FIXTURE_PAGE_SIZE))
  const hot = join(scope.directory, "hot")
  writeFileSync(hot, hotJournal(bytes.length / FIXTURE_PAGE_SIZE, new Map([[1, first]])))
  expect(run(["python3", "-c", SPREAD, join(primary.mount, "a.db"), hot])).toBe("False\n")
  expect(sqlite3(primary, "a.db", "pragma user_version; pragma integrity_check")).toBe("7\nok")
  await expectSame(primary, replica, "a.db")
})

test.skipIf(!canMount).each(someRollbackModes(random))(
  "the journal of a transaction in %s mode is taken away by nobody but its writer, dead or alive",
  async (mode) => {
    await using scope = await pair({ mode, sql: "create table t(x); create table u(x)" })
    const { primary, replica } = scope
    const client = new LongClient(scope, primary, "a.db")
    const fill =
      "with c(n) as (select 1 union all select n+1 from c where n<300) insert into t select randomblob(900) from c"
    await client.exec(`pragma journal_mode = ${mode}; pragma cache_size = 5; ${fill}`)
    const journal = join(primary.mount, "a.db-journal")
    await client.exec("begin immediate; update t set x = randomblob(900)")
    expect(failureOf(["rm", journal])).toMatch(/not permitted/)
    await client.exec("insert into u values(1); commit")
    await client.exec("begin immediate; update t set x = randomblob(900); insert into u values(2)")
    await client.close("SIGKILL")
    expect(failureOf(["rm", journal])).toMatch(/not permitted/)
    // The next client rolls it back.
    expect(sqlite3(primary, "a.db", "pragma integrity_check; select group_concat(x) from u")).toBe(
      "ok\n1",
    )
    sqlite3(primary, "a.db", "insert into u values(3)")
    await expectSame(primary, replica, "a.db")
  },
  40_000,
)

test.skipIf(!canMount)(
  "a replica keeps nothing of what is copied there, and says who tried what, and where to write",
  async () => {
    await using scope = new Scope()
    const primary = await scope.node()
    const replica = await scope.node({ follows: primary })
    sqlite3(primary, "a.db", "create table t(x); insert into t values(1)")
    await caughtUp(primary, replica, "a.db")
    const { junk } = sources(scope)
    const to = (name: string) => join(replica.mount, name)
    const names = [".lag", ".primary", "a.db", "a.db-pos"]
    failureOf(["cp", junk, to("a.db-wal")])
    await untilOnly(replica, names)
    failureOf(["cp", junk, to("a.db-journal")])
    await untilOnly(replica, names)
    expect(failureOf(["rm", "-f", to("a.db")])).toContain("Permission denied")
    expect(failureOf(["cp", junk, to("new.db")])).toContain("Permission denied")
    for (let i = 0; i < 60; i++) failureOf(["rm", "-f", to("a.db")])
    const where = "this node is a replica, write on the primary"
    await replica.logged(
      new RegExp(`msg="refused a write: ${where}" db=a.db process="\\d+ \\(cp\\)" primary=\\S+`),
    )
    const who = (what: string, name: string, program: string) =>
      new RegExp(
        `msg="refused to ${what} a file: ${where}" file=${name} process="\\d+ \\(${program}\\)" primary=\\S+`,
      )
    await replica.logged(who("remove", "a.db", "rm"))
    await replica.logged(who("make", "new.db", "cp"))
    expect(replica.output).not.toContain("primary=unknown")
    expect(linesOf(replica, "refused to remove").length).toBeLessThan(40)
    expect(sqlite3(replica, "a.db", COUNT)).toBe("1\nok")
    await expectSame(primary, replica, "a.db")
  },
  60_000,
)

test.skipIf(!canMount)(
  "a database that is dropped by rm is in the log",
  async () => {
    await using scope = new Scope()
    const node = await scope.node()
    sqlite3(node, "a.db", "create table t(x); insert into t values(1)")
    const pos = readFileSync(join(node.mount, "a.db-pos"), "latin1").trim()
    run(["rm", join(node.mount, "a.db")])
    const dropped = `dropped a database: its file was removed" db=a.db pos=${pos} process="\\d+ \\(rm\\)"`
    await node.logged(new RegExp(dropped))
    run(["sqlite3", join(node.mount, "empty.db"), ""])
    run(["rm", join(node.mount, "empty.db")])
    expect(linesOf(node, "dropped a database").length).toBe(1)
  },
  30_000,
)

test.skipIf(!canMount)(
  "no database is dropped by a program that copies, and removes first what is in its way",
  async () => {
    await using scope = new Scope()
    const node = await scope.node()
    const { database } = sources(scope)
    const path = join(node.mount, "a.db")
    sqlite3(node, "a.db", "create table t(x); insert into t values(1)")
    copyFileSync(database, join(scope.directory, "a.db"))
    run(["tar", "cf", join(scope.directory, "a.tar"), "-C", scope.directory, "a.db"])
    for (const command of [
      ["mv", database, path],
      ["cp", "-f", database, path],
      ["cp", "--remove-destination", database, path],
      ["install", database, path],
      ["tar", "xf", join(scope.directory, "a.tar"), "-C", node.mount],
      ["mv", path, join(scope.directory, "elsewhere.db")],
    ]) {
      failureOf(command)
      expect(sqlite3(node, "a.db", "select x from t")).toBe("1")
    }
    await node.logged(/Cannot remove .{1,2}a\.db.{1,2}: tar cannot put another file there/)
    expect(linesOf(node, "dropped a database").length).toBe(0)
  },
  30_000,
)

test.skipIf(!canMount).each(["wal", "truncate", "persist"])(
  "files of a database in %s mode that clients use are cut off by nobody but them",
  async (mode) => {
    await using scope = new Scope()
    const node = await scope.node({ flags: flagsOf(STRICT) }) // they cannot even open the WAL of those who pass
    const { wal, journal } = sources(scope)
    const to = (name: string) => join(node.mount, name)
    const client = new LongClient(scope, node, "a.db")
    await client.exec(`pragma journal_mode = ${mode}; pragma journal_size_limit = 4096;
      create table t(x); insert into t values(randomblob(100000))`)
    const names = mode === "wal" ? ["a.db-wal", "a.db-shm"] : ["a.db-journal"]
    const source = mode === "wal" ? wal : journal
    if (mode !== "wal") await client.exec("begin; insert into t values(randomblob(100000))")
    for (const name of [...names, "a.db"]) {
      const before = readFileSync(to(name))
      const attempts: [string, string[]][] = [
        ["cp", ["cp", source, to(name)]],
        ["sh", ["sh", "-c", ': > "$0"', to(name)]],
        ["python3", ["python3", "-c", "import os, sys; os.truncate(sys.argv[1], 0)", to(name)]],
      ]
      if (name !== "a.db") attempts.push(["truncate", ["truncate", "-s", "0", to(name)]])
      for (const [program, command] of attempts) {
        expect([program, failureOf(command)]).toEqual([
          program,
          expect.stringContaining("not permitted"),
        ])
        await node.logged(
          new RegExp(
            `Cannot (truncate|open) \\\\"${name}\\\\".*: .*file=${name} process="\\d+ \\(${program}\\)"`,
          ),
        )
      }
      expect(Buffer.compare(readFileSync(to(name)), before)).toBe(0)
    }
    if (mode !== "wal") await client.exec("commit")
    await client.exec("insert into t values(2); pragma wal_checkpoint(truncate)")
    for (const next of ["truncate", "persist", "wal"]) {
      await client.exec(
        `pragma journal_mode = ${next}; insert into t values(3); delete from t where x = 3`,
      )
    }
    await client.exec("pragma wal_checkpoint(truncate); vacuum")
    await client.close()
    expect(sqlite3(node, "a.db", COUNT)).toBe(mode === "wal" ? "2\nok" : "3\nok")
    const replica = await scope.node({ follows: node })
    await caughtUp(node, replica, "a.db")
    await expectSame(node, replica, "a.db")
  },
  60_000,
)

/** Stores into a mapping of the first page. */
const STORE = `
import mmap, os, sys
m = mmap.mmap(os.open(sys.argv[1], os.O_RDWR), 4096)
m[60:64] = b"junk"
m.flush()
`

test.skipIf(!canMount).each(someRollbackModes(random))(
  "nothing that another program writes is committed with a transaction that is open in %s mode",
  async (mode) => {
    await using scope = await pair({ mode, sql: "create table t(x); create table u(x)" })
    const { primary, replica } = scope
    const path = join(primary.mount, "a.db")
    const client = new LongClient(scope, primary, "a.db")
    const fill =
      "with c(n) as (select 1 union all select n+1 from c where n<300) insert into t select randomblob(900) from c"
    await client.exec(`pragma journal_mode = ${mode}; pragma cache_size = 5; ${fill}`)
    await client.exec("begin immediate; update t set x = randomblob(900)")
    const page = join(scope.directory, "page")
    writeFileSync(page, "junk".repeat(1024))
    const dd = ["dd", `if=${page}`, `of=${path}`, "bs=4096", "seek=1", "conv=notrunc"]
    expect(failureOf(dd)).toContain("not permitted")
    expect(failureOf([...dd, "oflag=direct"])).toContain("not permitted")
    expect(failureOf(["python3", "-c", STORE, path])).toMatch(/not permitted|rror/)
    expect(failureOf(["dd", `if=${page}`, `of=${path}-journal`, "conv=notrunc"])).toContain(
      "not permitted",
    )
    await primary.logged(/Cannot write \\"a.db\\": another program is in a transaction.*\(dd\)/)
    await client.exec("rollback; begin immediate; insert into u values(1)")
    expect(failureOf(dd)).toContain("not permitted") // also before its first page
    await client.exec("commit")
    await client.close()
    expect(sqlite3(primary, "a.db", "pragma integrity_check; select x from u")).toBe("ok\n1")
    await expectSame(primary, replica, "a.db")
  },
  40_000,
)

test.skipIf(!canMount).each(["", STRICT])(
  "what clients of a WAL have in use is changed and removed by nobody but them%s",
  async (how) => {
    await using scope = await pair({ flags: flagsOf(how), mode: "wal", sql: "create table t(x)" })
    const { primary, replica } = scope
    const [client, other] = [
      new LongClient(scope, primary, "a.db"),
      new LongClient(scope, primary, "a.db"),
    ]
    await client.exec("insert into t values(1)")
    expect(await other.value("select count(*) from t")).toBe(1)
    for (const name of ["a.db-wal", "a.db-shm"]) {
      const path = join(primary.mount, name)
      const over = ["dd", "if=/dev/zero", `of=${path}`, "bs=8", "count=1", "seek=2", "conv=notrunc"]
      expect(failureOf(over)).toContain("not permitted")
      expect(failureOf(["python3", "-c", STORE, path])).toContain("not permitted")
      expect(failureOf(["rm", "-f", path])).toContain("busy")
      await primary.logged(
        new RegExp(`Cannot remove .{1,2}${name}.{1,2}: programs have .*\\(rm\\)`),
      )
    }
    for (let i = 2; i <= 4; i++) {
      await [client, other][i % 2]?.exec(`insert into t values(${i})`)
    }
    expect(await client.value("select count(*) from t")).toBe(4)
    await client.close()
    await other.close("SIGKILL") // leaves its files
    run(["sh", "-c", 'cd "$0" && rm -f a.db-wal a.db-shm', primary.mount])
    expect(sqlite3(primary, "a.db", COUNT)).toBe("4\nok")
    await expectSame(primary, replica, "a.db")
  },
  40_000,
)
