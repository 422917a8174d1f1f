/** A replica of a database in WAL mode: transactions are applied beside its readers, and nobody waits. */

import { Database } from "bun:sqlite"
import { expect } from "bun:test"
import { spawn } from "node:child_process"
import { once } from "node:events"
import {
  copyFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
} from "node:fs"
import { join } from "node:path"
import { readWalIndexHeader } from "../../src/sqlite/wal-index.ts"
import { WAL_INDEX_BLOCK_SIZE } from "../../src/sqlite/wal-index-block.ts"
import {
  backingContent,
  caughtUp,
  expectQuiet,
  expectSame,
  output,
  pos,
  run,
  sqlite3,
  start,
} from "../support/client.ts"
import { LongClient } from "../support/long-client.ts"
import { passingTest, test } from "../support/mount-test.ts"
import { flagsOf, Scope, SEEN_LOCKS, type TestNode } from "../support/node.ts"
import { pair } from "../support/pair.ts"
import { rounds } from "../support/random.ts"
import { until } from "../support/until.ts"
import { checkingReader, fullWriter, ROWS, SCHEMA } from "../support/whole-rows.ts"

/** Transactions that readers of every kind see; in the long form 120. */
const SEEN = rounds(60, 120)

/** They change when the log starts over. */
function saltsOf(node: TestNode): string {
  return readFileSync(join(node.data, "dbs/a.db/wal")).toString("hex", 16, 24)
}

test.each(["", SEEN_LOCKS])(
  "readers of every kind see whole transactions in order, without one error, while hundreds arrive%s",
  async (locks) => {
    await using scope = await pair({
      flags: flagsOf(locks),
      sql: `pragma journal_mode = wal; ${SCHEMA} ${ROWS}`,
    })
    const { primary, replica } = scope
    const done = join(scope.directory, "done")
    const checkers = [0, 0, 1 << 30].map((size) =>
      start(checkingReader(replica, done, { mmapSize: size }), { limitMs: 90_000 }),
    )
    for (const checker of checkers) await checker.spoken
    const writer = start(fullWriter(primary, done), { limitMs: 90_000 })
    // As long as the reader's snapshot lives, nothing can start the WAL over or move all of it.
    const long = new LongClient(scope, replica, "a.db")
    await long.exec("begin")
    const seen = await long.rows("select v, count(*), sum(length(pad)) from t")
    const position = Number.parseInt(pos(primary, "a.db"), 16) // the writer never pauses to be caught up with
    while (Number.parseInt(sqlite3(replica, "a.db", "select max(v) from t"), 10) < SEEN / 2) {
      expect(await long.rows("select v, count(*), sum(length(pad)) from t")).toEqual(seen)
    }
    expect(await long.value("pragma integrity_check")).toBe("ok")
    await long.exec("commit")
    // Now the log starts over, though readers come one after the other.
    const salts = new Set<string>()
    const least = () => Number.parseInt(sqlite3(replica, "a.db", "select max(v) from t"), 10)
    while (salts.size < 2 || least() < SEEN) salts.add(saltsOf(replica))
    run(["touch", done])
    expect(Number(await output(writer))).toBeGreaterThan(SEEN - 1)
    for (const checker of checkers) expect(Number(await output(checker))).toBeGreaterThan(10)
    expect(Number.parseInt(await expectSame(primary, replica, "a.db"), 16)).toBeGreaterThan(
      position,
    )
    expect(await long.value("select max(v) from t")).toBe(
      Number(sqlite3(primary, "a.db", "select max(v) from t")),
    )
    await long.close()
    await expectQuiet(replica, primary)
  },
  100_000,
)

test("the WAL of a replica is moved to the database file and started over when nobody reads it", async () => {
  await using scope = await pair()
  const { primary, replica } = scope
  sqlite3(primary, "a.db", `pragma journal_mode = wal; ${SCHEMA} ${ROWS}`)
  const position = await caughtUp(primary, replica, "a.db")
  const reader = new LongClient(scope, replica, "a.db")
  const writer = new LongClient(scope, primary, "a.db")
  const size = () => statSync(join(replica.data, "dbs/a.db/wal")).size
  let largest = 0
  const salts = new Set<string>()
  for (let round = 0; round < 120; round++) {
    await writer.exec(`update t set v = ${round}, pad = randomblob(300)`)
    await caughtUp(primary, replica, "a.db")
    expect(await reader.rows("select min(v), max(v) from t")).toEqual([[round, round]])
    salts.add(saltsOf(replica))
    largest = Math.max(largest, size())
  }
  expect(salts.size).toBeGreaterThan(1)
  expect(largest).toBeLessThan(8 * 1024 * 1024)
  expect(await expectSame(primary, replica, "a.db")).not.toBe(position)
  await Promise.all([reader.close(), writer.close()])
  await expectQuiet(replica, primary)
  expect(statSync(join(replica.data, "dbs/a.db/database")).size).toBeGreaterThan(100_000)
}, 60_000)
test("SQLite finds in the files of a replica that was killed what its clients saw, and builds the same wal-index", async () => {
  await using scope = await pair({
    sql: `pragma page_size = 1024; pragma journal_mode = wal; ${SCHEMA} ${ROWS}`,
  })
  const { primary, replica } = scope
  const reader = new LongClient(scope, replica, "a.db")
  const writer = new LongClient(scope, primary, "a.db")
  await reader.exec("begin; select * from t") // keeps the WAL from being moved
  // What arrives together is one transaction there, so nobody knows how many make three blocks of frames.
  const index = join(replica.mount, "a.db-shm")
  for (let round = 0; round < 400 && statSync(index).size < 3 * WAL_INDEX_BLOCK_SIZE; round++) {
    await writer.exec(`update t set v = ${round}, pad = randomblob(700)`)
    if (round % 10 === 9) await caughtUp(primary, replica, "a.db")
  }
  await caughtUp(primary, replica, "a.db")
  const dump = sqlite3(replica, "a.db", ".dump")
  const ours = readFileSync(index)
  const content = backingContent(replica, "a.db")

  const aside = mkdtempSync(join(scope.directory, "aside-"))
  for (const [kind, suffix] of [
    ["database", ""],
    ["wal", "-wal"],
  ]) {
    copyFileSync(join(replica.data, `dbs/a.db/${kind}`), join(aside, `a.db${suffix}`))
  }
  using database = new Database(join(aside, "a.db"))
  expect(database.query("pragma integrity_check").values()).toEqual([["ok"]])
  const theirs = readFileSync(join(aside, "a.db-shm"))
  const [a, b] = [ours, theirs].map((bytes) => readWalIndexHeader(new Uint8Array(bytes)))
  expect({ ...a, change: 0 }).toEqual({ ...b, change: 0 } as never)
  expect(ours.length).toBeGreaterThanOrEqual(3 * WAL_INDEX_BLOCK_SIZE)
  expect(Buffer.compare(ours.subarray(136), theirs.subarray(136))).toBe(0)
  expect(run(["sqlite3", join(aside, "a.db"), ".dump"]).trim()).toBe(dump)
  database.run("pragma wal_checkpoint(truncate)")
  expect(Buffer.compare(readFileSync(join(aside, "a.db")), content)).toBe(0)

  replica.signal("SIGKILL")
  await replica.exited
  await reader.close("SIGKILL")
  await writer.exec("update t set v = 99")
  const again = await scope.again(replica, { follows: primary })
  await expectSame(primary, again, "a.db")
  await writer.close()
  await expectQuiet(again, primary)
}, 60_000)

test.each(["transactions", "a snapshot"])(
  "a client that keeps the write lock of a replica, to which %s came, does not keep others away",
  async (came) => {
    await using scope = new Scope()
    const primary = await scope.node()
    const make = `pragma journal_mode = wal; ${SCHEMA} ${ROWS}`
    if (came === "a snapshot") sqlite3(primary, "a.db", `${make}; update t set v = 1`)
    const replica = await scope.node({ follows: primary, flags: ["--candidate"] })
    if (came === "transactions") {
      sqlite3(primary, "a.db", make)
      await caughtUp(primary, replica, "a.db")
      sqlite3(primary, "a.db", "update t set v = 1")
    }
    await caughtUp(primary, replica, "a.db")
    const holder = new LongClient(scope, replica, "a.db")
    const reader = new LongClient(scope, replica, "a.db")
    await holder.exec("begin immediate")
    expect(await holder.value("select max(v) from t")).toBe(1)
    for (let v = 2; v < 16; v++) {
      sqlite3(primary, "a.db", `update t set v = ${v}, pad = randomblob(300)`)
      await caughtUp(primary, replica, "a.db")
      expect(await reader.rows("select min(v), max(v) from t")).toEqual([[v, v]])
      expect(await holder.value("select max(v) from t")).toBe(1)
    }
    const problem = await holder.exec("update t set v = 0; commit").catch((error) => error)
    // With an empty WAL it first looks for a snapshot of what it has read, which is no more (SQLite: walRestartLog).
    expect(problem?.code).toMatch(came === "a snapshot" ? /^SQLITE_PROTOCOL/ : /^SQLITE_IOERR/)
    await holder.exec("rollback").catch(() => {})
    expect(await holder.rows("select min(v), max(v) from t")).toEqual([[15, 15]])
    await expectSame(primary, replica, "a.db")
  },
  60_000,
)

test("the journal mode changes in both directions under clients of the replica that stay connected", async () => {
  await using scope = await pair({ sql: `pragma journal_mode = wal; ${SCHEMA} ${ROWS}` })
  const { primary, replica } = scope
  const clients = [new LongClient(scope, replica, "a.db"), new LongClient(scope, replica, "a.db")]
  let v = 0
  const step = async (sql: string) => {
    v += 1
    sqlite3(primary, "a.db", `${sql}; update t set v = ${v}, pad = randomblob(100)`)
    await caughtUp(primary, replica, "a.db")
    clients.push(new LongClient(scope, replica, "a.db"))
    for (const client of clients) {
      expect(await client.rows("select min(v), max(v) from t")).toEqual([[v, v]])
      expect(await client.value("pragma integrity_check")).toBe("ok")
    }
    expect(sqlite3(replica, "a.db", "select min(v) from t")).toBe(`${v}`)
  }
  for (const mode of ["delete", "wal", "truncate", "wal", "persist"]) {
    await step(`pragma journal_mode = ${mode}`)
    await step("delete from t where i > 290")
    await step(ROWS.replace("insert", "insert or replace"))
  }
  const remaining = [clients.pop(), clients.shift()]
  for (const client of clients) await client.close()
  clients.length = 0
  for (const client of remaining) if (client !== undefined) clients.push(client)
  await step("vacuum")
  await expectSame(primary, replica, "a.db")
  for (const client of clients) await client.close()
  clients.length = 0
  await step("pragma journal_mode = delete") // and now nobody has the WAL open
  await expectSame(primary, replica, "a.db")
  await step("pragma journal_mode = delete")
  expect(run(["ls", "-A", replica.mount])).not.toContain("a.db-wal")
  await expectSame(primary, replica, "a.db")
  for (const client of clients) await client.close()
  await expectQuiet(replica, primary)
}, 60_000)

test("a replica that is killed while it waits for its own mount ends by itself, and its clients hear of it", async () => {
  await using scope = new Scope()
  const primary = await scope.node()
  // The fs thread stops the process when it is about to answer a write of the peer thread.
  const env = { LITEFS_FAULTS: "wal:write#12=kill" }
  const replica = await scope.node({ follows: primary, env })
  sqlite3(primary, "a.db", `pragma journal_mode = wal; ${SCHEMA} ${ROWS}`)
  await caughtUp(primary, replica, "a.db")
  const reader = new LongClient(scope, replica, "a.db")
  await reader.rows("select count(*) from t")
  for (let v = 1; v < 20; v++) sqlite3(primary, "a.db", `update t set v = ${v}`)
  expect(await replica.exited).toEqual({ code: null, signal: "SIGKILL" })
  expect(await reader.rows("select sum(v) from t").catch((error) => error.code)).toStartWith(
    "SQLITE_",
  )
  await reader.close()
  const again = await scope.again(replica, { follows: primary })
  await expectSame(primary, again, "a.db")
  await expectQuiet(again, primary)
}, 30_000)

/** Holds a thread of another process where it is, until this ends: ptrace(2), PTRACE_SEIZE and PTRACE_INTERRUPT. */
const HOLD = `my ($call, $thread) = map { $_ + 0 } @ARGV;
  syscall($call, 0x4206, $thread, 0, 0) == 0 && syscall($call, 0x4207, $thread, 0, 0) == 0 or die "ptrace: $!";
  $| = 1; print "held"; sleep 60`
const PTRACE = process.arch === "arm64" ? 117 : 101
/** The kernel keeps the file locked until the request is answered. */
const CHANGE = `open F, "<", $ARGV[0] or die; $| = 1; print "open"; <STDIN>; chmod 0600, *F or exit 5`

/** The threads that have the mount's descriptor: the others have a table without it. */
function threadsOfMount(pid: number): number[] {
  const isDevice = (path: string) => {
    try {
      return readlinkSync(path) === "/dev/fuse"
    } catch {
      return false
    }
  }
  const threads = readdirSync(`/proc/${pid}/task`)
  return threads
    .filter((thread) => {
      const table = `/proc/${pid}/task/${thread}/fd`
      return readdirSync(table).some((fd) => isDevice(`${table}/${fd}`))
    })
    .map(Number)
}

passingTest(
  "a replica that is killed while it waits for a file that a client has locked ends, and the client hears of it",
  async () => {
    await using scope = new Scope()
    const primary = await scope.node()
    const replica = await scope.node({ follows: primary })
    sqlite3(primary, "a.db", `pragma journal_mode = wal; ${SCHEMA} ${ROWS}`)
    await caughtUp(primary, replica, "a.db")
    const reader = new LongClient(scope, replica, "a.db") // which makes the WAL, and keeps it
    await reader.rows("select count(*) from t")
    sqlite3(primary, "a.db", "update t set v = 1")
    await caughtUp(primary, replica, "a.db")
    const threads = threadsOfMount(replica.pid)
    expect(threads).toHaveLength(1)
    const perl = async (...words: readonly (string | number)[]) => {
      const child = spawn("perl", ["-e", ...words.map(String)], {
        stdio: ["pipe", "pipe", "inherit"],
      })
      scope.defer(() => void child.kill("SIGKILL"))
      await once(child.stdout, "data")
      return child
    }
    const client = await perl(CHANGE, join(replica.mount, "a.db-wal"))
    const holder = await perl(HOLD, PTRACE, threads[0] as number)
    const ended = once(client, "exit")
    client.stdin.write("\n")
    await Bun.sleep(200)
    sqlite3(primary, "a.db", "update t set v = 2")
    const isStuck = () => {
      const at = (thread: string) =>
        readFileSync(`/proc/${replica.pid}/task/${thread}/wchan`, "utf8")
      return readdirSync(`/proc/${replica.pid}/task`).map(at).includes("fuse_file_write_iter")
    }
    await until("the peer thread waits for the file", isStuck)
    replica.signal("SIGKILL")
    holder.kill("SIGKILL") // as its tracer it would have to wait for the thread
    await replica.exited
    expect(await ended).toEqual([5, null])
    await reader.close("SIGKILL")
    const again = await scope.again(replica, { follows: primary })
    await expectSame(primary, again, "a.db")
  },
  60_000,
)
