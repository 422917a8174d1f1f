/**
 * What operations on each kind of file come to, on the primary and on a replica, beside what they come to with the
 * original (LiteFS 0.5.14). Where ours differs, a word says why it is better:
 *
 *   said    the errno says what is wrong: EACCES for what nobody may change, not EIO, which is a broken disk
 *   refused something that cannot work is refused, where the original says that it did it
 *   safe    the original breaks something: files that nobody can remove, or the creation of all other files
 *   works   the original does not do it
 *   kept    owners and modes are what clients made them; the original's are always the same
 */
import { expect, test } from "bun:test"
import { spawnSync } from "node:child_process"
import { existsSync, statSync } from "node:fs"
import { join } from "node:path"
import { caughtUp, failureOf, run, sqlite3 } from "../support/client.ts"
import { fileOperations, type Outcome } from "../support/file-operations.ts"
import { LongClient } from "../support/long-client.ts"
import { canMount, flagsOf, MEMORY, Scope, STRICT } from "../support/node.ts"
import { pair } from "../support/pair.ts"

type Better = "said" | "refused" | "safe" | "works" | "kept"

/** One for both nodes, or the primary's and the replica's. */
type Both = Outcome | readonly [primary: Outcome, replica: Outcome]

type Row = readonly [operation: string, ours: Both, original?: Both, better?: Better]

const mode = (name: string) => `(fs.statSync("${name}").mode & 0o7777).toString(8)`
const size = (name: string) => `fs.statSync("${name}").size`
const open = (name: string, flags: string) => `open("${name}", "${flags}", () => {})`
const write = (name: string, length = 1, at = 0) =>
  `open("${name}", "r+", (fd) => fs.writeSync(fd, bytes(${length}), 0, ${length}, ${at}))`

const ROWS: readonly Row[] = [
  // Attributes.
  ['fs.statSync(".").ino', 1, 1],
  [mode("."), "755", ["777", "555"], "kept"],
  [mode("x.db"), ["644", "664"], ["666", "444"], "kept"],
  [mode("x.db-pos"), "444", "666", "said"],
  [size("x.db-pos"), 34, 34],
  [mode("x.db-lock"), ["600", "660"], "444", "kept"], // for those who may write to the database
  [size("x.db-lock"), 0, 0],
  [mode(".lag"), "444", "444"],
  [size(".lag"), 11, 11],
  [mode(".primary"), ["ENOENT", "444"], ["ENOENT", "444"]],
  ['fs.statSync("x.db").nlink', 1, 1],

  // Names that are not there.
  [size("x.db-journal"), "ENOENT", "ENOENT"],
  [size("x.db-wal"), "ENOENT", "ENOENT"],
  [size("none.db"), "ENOENT", "ENOENT"],
  [size("none.db-pos"), "ENOENT", "ENOENT"],
  [size("none.db-lock"), "ENOENT", "ENOENT"],
  [size(".hidden"), "ENOENT", "ENOENT"],
  [size("n".repeat(255)), "ENOENT", "ENOENT"],

  // The listing.
  ['fs.readdirSync(".").includes(".lag")', true, true],
  ['fs.readdirSync(".").includes(".primary")', [false, true], [false, true]],
  ['fs.readdirSync(".").includes("x.db-pos")', true, true],
  ['fs.readdirSync(".").includes("x.db-lock")', false, false],

  // Opening and reading.
  [open("x.db", "r"), "ok", "ok"],
  [open("x.db", "r+"), ["ok", "EROFS"], "ok", "said"], // SQLite then reads, and says what it is that it cannot write
  [open("x.db", "a+"), ["ok", "EROFS"], "ok", "said"],
  [open("x.db", "wx"), "EEXIST", "EEXIST"],
  [open("x.db-pos", "r+"), "ok", "ok"],
  [open("x.db-lock", "r+"), "ok", "ok"],
  [open(".lag", "r+"), "ok", "ok"],
  ['fs.readFileSync("x.db-lock", "latin1")', "", ""],
  ['fs.readFileSync(".lag", "latin1").length', 11, 11],
  ['fs.readFileSync("x.db", "latin1").slice(0, 15)', "SQLite format 3", "SQLite format 3"],
  ['open("x.db", "r", (fd) => fs.readSync(fd, bytes(100), 0, 100, 1 << 20))', 0, 0],
  ['open("x.db", "r", (fd) => fs.readSync(fd, bytes(100), 0, 100, 8182))', 10, 10],
  ['open("x.db-pos", "r", (fd) => fs.readSync(fd, bytes(100), 0, 100, 33))', 1, 1],

  // Writing.
  [write(".lag"), "EACCES", "EIO", "said"],
  [write("x.db-pos"), "EACCES", "EIO", "said"],
  [write("x.db-lock"), "EACCES", "EIO", "said"],
  [write("x.db", 1, 50), ["EPERM", "EROFS"], "EIO", "said"],
  [write("x.db", 4096), ["EPERM", "EROFS"], [4096, "EIO"], "refused"], // it would be replicated by nobody
  ['fs.truncateSync(".lag")', "EACCES", "ok", "refused"],
  ['fs.truncateSync("x.db-pos")', "EACCES", "ok", "refused"],
  ['fs.truncateSync("x.db-lock", 5)', "EACCES", "ok", "refused"],
  ['fs.truncateSync("x.db", 8192)', ["ok", "EROFS"], "ok", "said"],
  ['fs.truncateSync("x.db", 4096)', ["EPERM", "EROFS"], "EIO", "said"],
  ['fs.truncateSync("x.db", 0)', ["EPERM", "EROFS"], "EIO", "said"],

  // Syncing: everything that is committed is durable.
  ['open("x.db", "r+", (fd) => fs.fsyncSync(fd))', ["ok", "EROFS"], "ok", "said"],
  ['open("x.db", "r+", (fd) => fs.fdatasyncSync(fd))', ["ok", "EROFS"], "ok", "said"],
  ['open(".", "r", (fd) => fs.fsyncSync(fd))', "ok", "ok"],
  ['open(".lag", "r", (fd) => fs.fsyncSync(fd))', "ok", "EIO", "works"],
  ['open("x.db-pos", "r", (fd) => fs.fsyncSync(fd))', "ok", "EIO", "works"],

  // Attributes: times, and those of files that we make up, are not kept.
  ['fs.chmodSync("x.db", 0o600)', "ok", "ok"],
  ['fs.chownSync("x.db", 1, 1)', "ok", "ok"],
  ['fs.utimesSync("x.db", 1, 1)', "ok", "ok"],
  ['fs.chmodSync(".lag", 0o600)', "ok", "ok"],
  ['fs.chmodSync("x.db-lock", 0o600)', "ok", "ok"],
  [mode(".lag"), "444", "444"],

  // What the mount has none of.
  ['fs.mkdirSync("sub")', "EPERM", "EPERM"],
  ['fs.rmdirSync("none")', "ENOENT", "ENOENT"],
  ['fs.rmdirSync("x.db")', "ENOTDIR", "ENOTDIR"],
  ['fs.symlinkSync("x.db", "link")', "EPERM", "EIO", "said"],
  ['fs.linkSync("x.db", "hard")', "EPERM", "EIO", "said"],
  ['fs.renameSync("x.db", "y.db")', "EPERM", "EIO", "said"],
  ['fs.renameSync("x.db-lock", "y.db-lock")', "EPERM", "EIO", "said"],
  ['fs.renameSync(".lag", "y")', "EPERM", "EIO", "said"],
  ['fs.readlinkSync("x.db")', "EINVAL", "EINVAL"],
  ['tool("mkfifo", "pipe")', "Operation not permitted", "Input/output error", "said"],
  ['fs.accessSync("x.db", fs.constants.W_OK)', "ok", "ok"],
  ['fs.accessSync(".", fs.constants.W_OK)', "ok", "ok"],

  // Creating.
  [open("none.db-journal", "w"), "ENOENT", "ENOENT"],
  [open("none.db-wal", "w"), "ENOENT", "ENOENT"],
  [open("none.db-shm", "w"), "ENOENT", "ENOENT"],
  [open("new.db-pos", "wx"), "EACCES", "EIO", "safe"],
  [open("new.db-lock", "wx"), "ENOENT", "EIO", "safe"],
  [open(".lag", "wx"), "EEXIST", "EEXIST"],
  [open("x.db-lock", "wx"), "EEXIST", "EEXIST"],
  [open("notes.txt", "wx"), ["ok", "EACCES"], "ok", "safe"],
  ['fs.unlinkSync("notes.txt")', ["ok", "ENOENT"], ["EIO", "EACCES"], "safe"],
  [open("a b.db", "wx"), ["ok", "EACCES"], "ok", "safe"],
  ['fs.unlinkSync("a b.db")', ["ok", "ENOENT"], ["EIO", "EACCES"], "safe"],
  [open("n".repeat(300), "wx"), ["ENAMETOOLONG", "EACCES"], "ENOENT", "said"],

  // Removing.
  ['fs.unlinkSync(".lag")', "EACCES", ["ENOENT", "EACCES"], "said"],
  ['fs.unlinkSync("x.db-pos")', "EACCES", "ENOSYS", "said"],
  ['fs.unlinkSync("x.db-lock")', "EACCES", "ENOSYS", "said"],
  ['fs.unlinkSync("none.db")', "ENOENT", "ENOENT"],
  ['fs.unlinkSync("x.db-journal")', "ENOENT", "ENOENT"],
  ['fs.unlinkSync("x.db-wal")', "ENOENT", "ENOENT"],
]

function of(both: Both, index: 0 | 1): Outcome {
  return typeof both === "object" ? both[index] : both
}

test.skipIf(!canMount)(
  "operations on every kind of file come to what the table says",
  async () => {
    await using scope = await pair()
    const { primary, replica } = scope
    sqlite3(primary, "x.db", "create table t(x); insert into t values(1)")
    await caughtUp(primary, replica, "x.db")
    const operations = ROWS.map(([operation]) => operation)
    for (const [index, node] of ([primary, replica] as const).entries()) {
      const found = fileOperations(node, operations)
      const expected = Object.fromEntries(
        ROWS.map(([operation, ours]) => [operation, of(ours, index as 0 | 1)]),
      )
      expect(found).toEqual(expected)
    }
    // None of it has broken anything.
    sqlite3(primary, "x.db", "insert into t values(2)")
    sqlite3(primary, "new.db", "create table t(x)")
    await caughtUp(primary, replica, "x.db")
    await caughtUp(primary, replica, "new.db")
    expect(sqlite3(replica, "x.db", "select count(*) from t")).toBe("2")
    expect(run(["ls", "-A", primary.mount])).not.toContain("notes.txt")
  },
  30_000,
)

test.skipIf(!canMount)(
  "a name that no database can have is refused, and the other databases go on to replicas",
  async () => {
    await using scope = await pair()
    const { primary, replica } = scope
    const names = [".primary2", ".lagoon.db", "-wal", "-lock"]
    const operations = names.map((name) => open(name, "wx"))
    const refused = Object.fromEntries(operations.map((operation) => [operation, "EACCES"]))
    expect(fileOperations(primary, operations)).toEqual(refused)
    await primary.logged(/Cannot make .*primary2.* are reserved/)
    expect(existsSync(join(primary.mount, ".primary2"))).toBe(false)
    sqlite3(primary, "x.db", "create table t(x)")
    await caughtUp(primary, replica, "x.db")
  },
)

test("every difference from the original has its reason, and nothing else has one", () => {
  for (const [operation, ours, original, better] of ROWS) {
    const [a, b] = [ours, original ?? ours]
    const isSame = of(a, 0) === of(b, 0) && of(a, 1) === of(b, 1)
    expect([operation, isSame]).toEqual([operation, better === undefined])
  }
})

test.skipIf(!canMount).each(["wal", "delete"] as const)(
  "%s mode: a size that no file can have is refused with EFBIG, and nothing has changed",
  async (mode) => {
    // This file system would take it, for a file with holes.
    await using scope = new Scope(MEMORY)
    const node = await scope.node({ flags: flagsOf(STRICT) }) // others could not even open the WAL of those who pass
    sqlite3(node, "a.db", `pragma journal_mode = ${mode}; create table t(x)`)
    const path = join(node.mount, "a.db")
    const { size } = statSync(path)
    const refuse = (name: string, how = /File too large/) => {
      const before = existsSync(name) ? statSync(name).size : undefined
      for (const size of ["32T", "4E"]) {
        expect(failureOf(["truncate", "-c", "-s", size, name])).toMatch(how)
      }
      if (before !== undefined) expect(statSync(name).size).toBe(before)
    }
    refuse(path)
    const client = new LongClient(scope, node, "a.db")
    await client.exec("begin immediate; insert into t values(1)")
    refuse(path)
    // Who is no client cannot even open the files beside it.
    refuse(`${path}-${mode === "wal" ? "wal" : "journal"}`, /not permitted/)
    if (mode === "wal") refuse(`${path}-shm`, /not permitted/)
    // Beyond 2^53 page numbers are not exact: whoever counted them never came to an end.
    for (const name of [path, `${path}-${mode === "wal" ? "wal" : "journal"}`]) {
      const write = `import os; kept = os.open(${JSON.stringify(path)}, os.O_RDONLY); os.pwrite(os.open(${JSON.stringify(name)}, os.O_WRONLY), b"x" * 4096, 2**62)`
      expect(failureOf(["python3", "-c", write])).toMatch(/File too large/)
    }
    await client.exec("commit")
    await client.close()
    expect(statSync(path).size).toBe(size)
    expect(sqlite3(node, "a.db", "select x from t; pragma integrity_check")).toBe("1\nok")
  },
)

test("one line names the process that tries to make a directory or a link, or to rename", async () => {
  if (!canMount) return
  await using scope = new Scope()
  const node = await scope.node()
  run(["touch", `${node.mount}/a.db`])
  const commands = ["mkdir sub", "ln a.db hard", "ln -s a.db soft", "mv a.db b.db"]
  for (const command of [...commands, "mkdir sub"]) {
    const { status, stderr } = spawnSync("sh", ["-c", `cd ${node.mount} && ${command}`])
    expect(status).toBe(1)
    expect(String(stderr)).toContain("Operation not permitted")
  }
  const lines =
    /level=warn .*msg="Cannot (.*) in the mount: .*" file=(\S+) process=.*?\b(mkdir|ln|mv)\b/g
  await node.logged(/Cannot rename a file in the mount/)
  expect([...node.output.matchAll(lines)].map(([, ...parts]) => parts)).toEqual([
    ["make a directory", "sub", "mkdir"],
    ["make a link", "hard", "ln"],
    ["make a symbolic link", "soft", "ln"],
    ["rename a file", "a.db", "mv"],
  ])
}, 30_000)
