/** Clients make the file of a database longer than the database: SQLITE_FCNTL_CHUNK_SIZE, SIZE_HINT and fallocate(2). */
import { expect } from "bun:test"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import {
  backingContent,
  backingFile,
  caughtUp,
  failureOf,
  run,
  sqlite3,
} from "../support/client.ts"
import { test } from "../support/mount-test.ts"
import { PROGRAM, Scope, type TestNode } from "../support/node.ts"
import { pair } from "../support/pair.ts"
import { testRandom } from "../support/random.ts"

const random = testRandom()

const CHUNK = 32768
/** Half of them in one run, by chance; all with LITEFS_ALL_FAULTS. */
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

test.each(random.halfOf(CASES))(
  "%s mode, pages of %d: a client that has its file in chunks commits as any other",
  async (mode, pageSize) => {
    await using scope = await pair()
    const { primary, replica } = scope
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
    const again = await scope.again(primary)
    await expectSameDatabase(scope, again, replica)
    await again.stop()
    expect(litefs("doctor", "--data-dir", again.data)).not.toContain("problem")
  },
  120_000,
)

test.each(random.someOf(["delete", "wal"] as const))(
  "%s mode: room that is made beyond the end of a database is not in it",
  async (mode) => {
    await using scope = await pair()
    const { primary, replica } = scope
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
    // More than there is room for: refused, and nothing of it is taken from the others.
    const free = () =>
      Number(
        run(["stat", "-f", "-c", "%a * %S", primary.data])
          .split("*")
          .map(Number)
          .reduce((a, b) => a * b),
      )
    const before = free()
    expect(failureOf(["fallocate", "--keep-size", "--length", "8T", path])).toMatch(/No space left/)
    expect(free()).toBeGreaterThan(before - 2 ** 30)
    run(["truncate", "--size", "3M", path])
    await expectSameDatabase(scope, primary, replica)
    const cut = `\ntry:\n  os.ftruncate(fd, 8192); print("cut")\nexcept OSError as e: print("refused")`
    expect(python(cut)).toBe("refused")
    sqlite3(primary, "a.db", "delete from t where id > 5; vacuum")
    await expectSameDatabase(scope, primary, replica)
  },
  60_000,
)

/** Says what each of its words did: a statement, "chunk", "hint" and "size" of the file. Fails as SQLite does. */
const CONTROLS = `
import ctypes, os, sys
lib = ctypes.CDLL("libsqlite3.so.0")
lib.sqlite3_exec.argtypes = [ctypes.c_void_p, ctypes.c_char_p] + [ctypes.c_void_p] * 3
lib.sqlite3_file_control.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_void_p]
path = sys.argv[1]
db = ctypes.c_void_p()
assert lib.sqlite3_open(path.encode(), ctypes.byref(db)) == 0
def control(op, value):
    return lib.sqlite3_file_control(db, b"main", op, ctypes.byref(value))
def act(word):
    if word == "chunk": return control(6, ctypes.c_int(32768))
    if word == "hint": return control(5, ctypes.c_longlong(100000))
    if word == "size": return os.stat(path).st_size
    return lib.sqlite3_exec(db, word.encode(), None, None, None)
print([act(word) for word in sys.argv[2:]])
`

const CREATE = "create table t(id integer primary key, x)"

test.each(random.someOf(["delete", "wal"]))(
  "%s mode: hints of the size to come, at any time, do what they do on a plain directory",
  async (mode) => {
    await using scope = await pair()
    const { primary, replica } = scope
    const expectSameOf = (name: string, ...words: string[]) => {
      const command = (path: string) => ["python3", "-c", CONTROLS, path, ...words]
      const seen = run(command(join(primary.mount, name)))
      expect(seen).toBe(run(command(join(scope.directory, name))))
      return seen
    }
    const begin = `pragma journal_mode = ${mode}`
    const checkpoint = "pragma wal_checkpoint(truncate)"
    const kept = expectSameOf(
      "a.db",
      ...[begin, CREATE, "chunk", "hint", "size", FILL, "size", checkpoint, "hint", "size"],
      ...["delete from t where id > 5", "vacuum", checkpoint, "size", "hint", "size", FILL],
    )
    expect(kept).toContain("131072")
    await expectSameDatabase(scope, primary, replica)

    // Before there is anything in it: with zeros for its first page it is no database, there and here.
    const early = expectSameOf("early.db", "size", "chunk", "hint", "size", CREATE)
    expect(early).toBe("[0, 0, 0, 131072, 26]\n")
    expect((await primary.stop()).code).toBe(0)
    const again = await scope.again(primary)
    sqlite3(again, "early.db", `${begin}; ${CREATE}; ${FILL}`)
    await caughtUp(again, replica, "early.db")
    await expectSameDatabase(scope, again, replica)
  },
  60_000,
)

test("a database that grew for what is refused is an empty one again", async () => {
  await using scope = new Scope()
  const primary = await scope.node()
  const [chunk, mapped] = ["chunk", "pragma mmap_size = 1000000"]
  for (const [name, how] of [
    ["a.db", chunk],
    ["b.db", mapped],
  ] as const) {
    const path = join(primary.mount, name)
    const refused = ["pragma journal_mode = off", how, CREATE]
    const said = run(["python3", "-c", CONTROLS, path, ...refused])
    expect(said).not.toBe("[0, 0, 0]\n")
    sqlite3(primary, name, `${CREATE}; ${FILL}`)
    expect(sqlite3(primary, name, "pragma integrity_check; select count(*) from t")).toBe("ok\n40")
  }
}, 60_000)
