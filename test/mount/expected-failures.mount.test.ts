/** What can be expected of a machine is told in one line, with what to do. */
import { expect } from "bun:test"
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { failureOf, run, start } from "../support/client.ts"
import { test } from "../support/mount-test.ts"
import { PROGRAM, Scope } from "../support/node.ts"

/** Runs a script in a mount namespace of its own before the program; `$1` is a directory. */
async function litefsAfter(
  script: string,
  scope: Scope,
  dataDir: string,
  through: readonly string[] = [],
): Promise<string> {
  const mnt = mkdtempSync(join(scope.directory, "mnt-"))
  const flags = [
    "--primary",
    "--fuse-dir",
    mnt,
    "--data-dir",
    dataDir,
    "--http-addr",
    "127.0.0.1:0",
  ]
  const text = `set -e; ${script}; shift; exec "$@"`
  const words = ["unshare", "-m", "sh", "-c", text, "sh", scope.directory, ...through, ...PROGRAM]
  const { stderr, code } = await start([...words, "mount", ...flags, "--", "true"]).ended
  expect(code).toBe(1)
  expect(stderr).toMatch(/^(level=info .*\n)*ERROR: Cannot [^\n]*\n$/)
  return stderr.replaceAll(scope.directory, "DIR")
}

const AS_USER = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]

const CASES: [what: string, script: string, dataDir: string, through: string[], problem: RegExp][] =
  [
    ["a file", "touch $1/f", "f", [], /"DIR\/f": it is not a directory, choose another --data-dir/],
    ["below a file", "touch $1/f", "f/x", [], /"DIR\/f\/x": "DIR\/f" is not a directory, choose/],
    [
      "read-only",
      "mkdir $1/r; mount -t tmpfs -o ro t $1/r",
      "r",
      [],
      /"DIR\/r": it may not be written to, its file system is read-only, choose another --data-dir/,
    ],
    [
      "to be made where all is read-only",
      "mkdir $1/r; mount -t tmpfs -o ro t $1/r",
      "r/x",
      [],
      /"DIR\/r\/x": "DIR\/r" may not be written to, its file system is read-only/,
    ],
    [
      "full",
      "mkdir $1/r; mount -t tmpfs -o size=64k t $1/r; ! dd if=/dev/zero of=$1/r/x 2>$1/dd",
      "r",
      [],
      /"DIR\/r": there is no space left, make room there or choose another --data-dir/,
    ],
    [
      "another user's",
      "chmod 755 $1; mkdir -m 755 $1/r",
      "r",
      AS_USER,
      /"DIR\/r": it may not be written to by this user \(uid 65534\), choose another --data-dir, or as root: install -d -o 65534 -m 700 DIR\/r/,
    ],
    [
      "another user's to make",
      "chmod 755 $1",
      "x",
      AS_USER,
      /"DIR\/x": (?:"DIR"|it) may not be written to by this user \(uid 65534\)/,
    ],
  ]

test.each(CASES)("a data directory that is %s", async (_, script, dataDir, through, problem) => {
  await using scope = new Scope()
  const path = join(scope.directory, dataDir)
  expect(await litefsAfter(script, scope, path, through)).toMatch(problem)
})

test("commands beside a node", async () => {
  await using scope = new Scope()
  const node = await scope.node()
  run(["sqlite3", `${node.mount}/a.db`, "create table t(x)"])
  const url = ["--url", node.url, "--name", "a.db"]
  const none = join(scope.directory, "none")
  const fail = (...words: string[]) => failureOf([...PROGRAM, ...words])
  expect(fail("export", ...url, `${none}/a.db`)).toBe(
    `ERROR: Cannot export to "${none}/a.db": there is no directory "${none}"\n`,
  )
  expect(fail("import", ...url, none)).toBe(
    `ERROR: Cannot import "${none}": there is no such file\n`,
  )
  expect(fail("import", ...url, "--name", "b.db-mj0123456AB", none)).toContain("given twice")
  writeFileSync(join(scope.directory, "x.db"), "")
  const superJournal = [
    "--url",
    node.url,
    "--name",
    "b.db-mj0123456AB",
    join(scope.directory, "x.db"),
  ]
  expect(fail("import", ...superJournal)).toContain("SQLite has such names for super-journals")
  // There from the start, long before the first maintenance.
  const metrics = await (await fetch(`${node.url}/metrics`)).text()
  expect(metrics).toMatch(/^litefs_db_ltx_count\{db="a.db"\} 1$/m)
})

test("super-journals of the original are no databases", async () => {
  await using scope = new Scope()
  const directory = mkdtempSync(join(scope.directory, "node-"))
  mkdirSync(join(directory, "mnt"))
  mkdirSync(join(directory, "data/dbs/a.db-mj0123456AB/ltx"), { recursive: true })
  const node = await scope.node({ directory })
  run(["sqlite3", `${node.mount}/a.db`, "create table t(x)"])
  expect(run(["ls", "-A", node.mount]).split("\n")).toEqual([".lag", "a.db", "a.db-pos", ""])
  expect(failureOf(["stat", `${node.mount}/a.db-mj0123456AB-pos`])).toContain("No such file")
})

test.each(["delete", "truncate", "persist", "wal"])(
  "a full disk under a client in mode %s",
  async (mode) => {
    await using scope = new Scope()
    const directory = mkdtempSync(join(scope.directory, "node-"))
    run(["mount", "-t", "tmpfs", "-o", "size=96m", "t", directory])
    scope.defer(() => void run(["umount", "-l", directory]))
    mkdirSync(join(directory, "mnt"))
    const node = await scope.node({ directory })
    const sql = (text: string) => ["sqlite3", "-bail", `${node.mount}/a.db`, text]
    run(sql(`pragma journal_mode=${mode}; create table t(x); insert into t values(1)`))
    const filler = join(directory, "filler")
    run(["sh", "-c", `dd if=/dev/zero of=${filler} bs=64k 2>/dev/null || true`])
    const blob = "insert into t values(randomblob(60000000))"
    expect(failureOf(sql(`pragma journal_mode=${mode}; ${blob}`))).toMatch(/full|disk I\/O error/)
    run(["rm", filler])
    run(sql("insert into t values(2)"))
    expect(run(sql("select count(*) from t; pragma integrity_check"))).toBe("2\nok\n")
    await node.stop()
  },
)
