/** Clients that map the database (`PRAGMA mmap_size`) instead of reading it: they see what all the others see. */
import { expect } from "bun:test"
import { caughtUp, expectQuiet, expectSame, run, sqlite3 } from "../support/client.ts"
import { LongClient } from "../support/long-client.ts"
import { test } from "../support/mount-test.ts"
import { Scope, type TestNode } from "../support/node.ts"
import { pair } from "../support/pair.ts"
import { testRandom } from "../support/random.ts"

const random = testRandom()

const MAPPED = 64 * 1024 * 1024

async function mapping(scope: Scope, node: TestNode): Promise<LongClient> {
  const client = new LongClient(scope, node, "a.db")
  expect(await client.value(`pragma mmap_size = ${MAPPED}`)).toBe(MAPPED)
  return client
}

test.each(random.someOf(["delete", "wal"]))(
  "%s mode: clients that map the database see every transaction of others, on both nodes",
  async (mode) => {
    await using scope = await pair()
    const { primary, replica } = scope
    const writer = await mapping(scope, primary)
    await writer.exec(`pragma journal_mode = ${mode}; pragma wal_autocheckpoint = 50`)
    await writer.exec("create table t(id integer primary key, version, x)")
    await caughtUp(primary, replica, "a.db")
    const other = await mapping(scope, primary)
    const plain = new LongClient(scope, primary, "a.db")
    const watcher = await mapping(scope, replica)
    const all = [writer, other, plain, watcher]

    let version = 0
    const expectSeen = async (count: number) => {
      await caughtUp(primary, replica, "a.db")
      for (const client of all) {
        const seen = "select count(*), count(distinct version), max(version), sum(length(x)) from t"
        expect(await client.rows(seen)).toEqual([[count, 1, version, count * 3000]])
      }
    }
    const row = (id: number) => `insert into t values(${id}, ${version}, randomblob(3000))`
    let count = 0
    for (const grown of [10, 300]) {
      for (const client of [writer, other, plain]) {
        version += 1
        while (count < grown) await client.exec(row(++count))
        await client.exec(`update t set version = ${version}, x = randomblob(3000)`)
        await expectSeen(count)
      }
    }
    // What was mapped beyond the new end is gone.
    version += 1
    count = 5
    await other.exec(`delete from t where id > 5; update t set version = ${version}`)
    await expectSeen(count)
    await other.exec("vacuum")
    if (mode === "wal") await writer.exec("pragma wal_checkpoint(truncate)")
    await expectSeen(count)
    while (count < 200) await plain.exec(row(++count))
    await expectSeen(count)
    for (const client of all) {
      expect(await client.value("pragma integrity_check")).toBe("ok")
      expect(await client.value("pragma mmap_size")).toBe(client === plain ? 0 : MAPPED)
      await client.close()
    }
    await expectSame(primary, replica, "a.db")
    await expectQuiet(replica, primary)
  },
  60_000,
)

const GARBLE = `
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
m = mmap.mmap(fd, 8192)
m[4096:8192] = b"x" * 4096
try:
    m.flush()
    print("taken")
except OSError:
    print("refused")
`

test.each(random.someOf(["primary", "replica"]))(
  "what is refused of a mapping that is written to on a %s, nobody reads",
  async (role) => {
    await using scope = new Scope()
    const primary = await scope.node()
    // Or it could not be opened to write to it.
    const replica = await scope.node({ follows: primary, flags: ["--read-only-opens=false"] })
    sqlite3(primary, "a.db", "create table t(x); insert into t values(1)")
    await caughtUp(primary, replica, "a.db")
    const node = role === "primary" ? primary : replica
    const path = `${node.mount}/a.db`
    const sum = () => run(["sha256sum", path])
    const before = sum()
    for (let i = 0; i < 5; i++) {
      expect(run(["python3", "-c", GARBLE, path]).trim()).toBe("refused")
      const deadline = Date.now() + 5000
      while (sum() !== before && Date.now() < deadline) await Bun.sleep(5)
      expect(sum()).toBe(before)
    }
    expect(sqlite3(node, "a.db", "pragma integrity_check; select x from t")).toBe("ok\n1")
    sqlite3(primary, "a.db", "insert into t values(2)")
    await expectSame(primary, replica, "a.db")
  },
  60_000,
)
