/**
 * Who may do what in the mount: the same as in a plain directory of the same owner and mode, which each test has
 * beside it. What an operation comes to there is what it has to come to here.
 */
import { expect, test } from "bun:test"
import { spawnSync } from "node:child_process"
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { caughtUp, expectSame, failureOf, run, sqlite3 } from "../support/client.ts"
import { fileOperations, type User } from "../support/file-operations.ts"
import { canMount, type NodeOptions, PROGRAM, Scope, type TestNode } from "../support/node.ts"

const OWNER = 61001
const GROUP = 62000
const USERS: Record<string, User> = {
  owner: { uid: OWNER, gid: OWNER, groups: [GROUP], umask: 0o022 },
  mate: { uid: 61002, gid: 61002, groups: [GROUP], umask: 0o002 },
  stranger: { uid: 61003, gid: 61003, groups: [], umask: 0o077 },
  root: { uid: 0, gid: 0, groups: [], umask: 0o022 },
}

const DATABASES = ["own.db", "shared.db", "secret.db", "wal.db"]

function stat(name: string): string {
  return `["uid", "gid", "mode"].map((key) => fs.statSync("${name}")[key].toString(8)).join()`
}

/** Of one user. What they leave is the same for the next one, in both directories. */
function operationsOf(user: string): string[] {
  const { gid } = USERS[user] as User
  return [
    ...DATABASES.flatMap((name) => [
      stat(name),
      `fs.readFileSync("${name}").length`,
      `open("${name}", "r+", () => {})`,
      `fs.accessSync("${name}", fs.constants.W_OK)`,
      `tool("sqlite3", "${name}", "select count(*) from t")`,
      `tool("sqlite3", "${name}", "insert into t values(1)")`,
    ]),
    ...["own.db", "shared.db"].flatMap((name) => [
      `fs.chmodSync("${name}", 0o660)`,
      `fs.chmodSync("${name}", ${name === "own.db" ? "0o644" : "0o664"})`,
      `fs.chownSync("${name}", 61003, ${GROUP})`,
      `fs.chownSync("${name}", ${OWNER}, ${GROUP})`,
      `fs.chownSync("${name}", ${OWNER}, ${gid})`,
      `fs.chownSync("${name}", ${OWNER}, ${GROUP})`,
      `fs.utimesSync("${name}", 1, 1)`,
      `fs.truncateSync("${name}", 8192)`,
      stat(name),
    ]),
    'fs.chmodSync(".", 0o700)',
    // SQLite's files beside one of somebody else.
    'tool("sqlite3", "wal.db", ".filectrl persist_wal 1", "select count(*) from t")',
    `fs.readdirSync(".").filter((name) => /^wal.db-[sw]/.test(name)).map((name) => fs.statSync(name).mode.toString(8)).join()`,
    // Files of their own, and those of others.
    `tool("sqlite3", "${user}.db", "create table t(x)")`,
    stat(`${user}.db`),
    `fs.chmodSync("${user}.db", 0o2755)`,
    stat(`${user}.db`),
    ...["own.db", "mate.db", "owner.db", "none.db"].map((name) => `fs.unlinkSync("${name}")`),
    'fs.existsSync("own.db")',
  ]
}

function as(user: string, command: readonly string[]): string[] {
  const { uid, gid, groups } = USERS[user] as User
  const groupWords = groups.length > 0 ? [`--groups=${groups}`] : ["--clear-groups"]
  return [
    "setpriv",
    `--reuid=${uid}`,
    `--regid=${gid}`,
    ...groupWords,
    "--inh-caps=-all",
    ...command,
  ]
}

/** A directory for a node whose mount has this owner and mode, where every user gets to. */
function place(scope: Scope, mode: number, uid = OWNER, gid = GROUP): string {
  chmodSync(scope.directory, 0o755)
  const directory = mkdtempSync(join(scope.directory, "node-"))
  chmodSync(directory, 0o755)
  for (const name of ["mnt", "plain"]) {
    mkdirSync(join(directory, name))
    chownSync(join(directory, name), uid, gid)
    chmodSync(join(directory, name), mode)
  }
  return directory
}

/** The databases, made by the owner in the same way in both directories; what others have made of them is gone. */
function fill(directory: string): void {
  run(["find", directory, "-regex", ".*\\.db\\(-wal\\|-shm\\)?", "-delete"])
  for (const name of DATABASES) {
    const mode = name === "wal.db" ? "pragma journal_mode = wal;" : ""
    const sql = `${mode} create table t(x); insert into t values(1)`
    run(as("owner", ["sqlite3", join(directory, name), sql]))
  }
  run(as("owner", ["chmod", "664", join(directory, "shared.db"), join(directory, "wal.db")]))
  run(as("owner", ["chmod", "600", join(directory, "secret.db")]))
}

const described = (node: TestNode, ...names: string[]) =>
  run(["stat", "-c", "%a %u %g", ...names.map((name) => join(node.mount, name))])
    .trim()
    .split("\n")

test.skipIf(!canMount).each([["2775"], ["1777"], ["750"]])(
  "in a mount directory of mode %s every user gets what a plain directory gives him",
  async (text) => {
    const mode = Number.parseInt(text, 8)
    await using scope = new Scope()
    const directory = place(scope, 0o755)
    const node = await scope.node({ directory })
    const plain = join(directory, "plain")
    // The root of the mount is a directory like any other.
    for (const path of [node.mount, plain]) run(as("owner", ["chmod", text, path]))
    const denials: string[] = []
    for (const user of ["mate", "stranger", "owner", "root"]) {
      for (const path of [node.mount, plain]) fill(path)
      const operations = operationsOf(user)
      const expected = fileOperations({ mount: plain }, operations, USERS[user])
      expect([user, fileOperations(node, operations, USERS[user])]).toEqual([user, expected])
      denials.push(
        ...Object.values(expected)
          .filter((o) => o === "EACCES" || o === "EPERM")
          .map(String),
      )
      for (const path of [node.mount, plain]) run(["chmod", text, path])
    }
    expect(denials.length).toBeGreaterThan(10) // or nothing was compared
    const owners = described(node, ".", "shared.db", "secret.db")
    expect(owners).toEqual([
      `${mode.toString(8)} ${OWNER} ${GROUP}`,
      `664 ${OWNER} ${GROUP}`,
      `600 ${OWNER} ${(mode & 0o2000) === 0 ? OWNER : GROUP}`,
    ])

    await node.stop()
    const again = await scope.node({ directory, port: node.port })
    expect(described(again, ".", "shared.db", "secret.db")).toEqual(owners)
    expect(failureOf(as("stranger", ["cat", join(again.mount, "secret.db")]))).toContain("denied")
  },
  180_000,
)

test.skipIf(!canMount)(
  "databases that arrive are the owner's of the mount directory, and of use to his group",
  async () => {
    await using scope = new Scope()
    const primary = await scope.node()
    sqlite3(
      primary,
      "wal.db",
      "pragma journal_mode = wal; create table t(x); insert into t values(1)",
    )
    const flags = ["--fuse-owner", `61009:${GROUP}`, "--fuse-mode", "0640"]
    const node = (mode: number, more: NodeOptions = {}) =>
      scope.node({ directory: place(scope, mode), follows: primary, ...more })
    const [open, closed, given] = [
      await node(0o2755),
      await node(0o700),
      await node(0o755, { flags }),
    ]
    for (const replica of [open, closed, given]) await caughtUp(primary, replica, "wal.db")
    sqlite3(primary, "later.db", "create table t(x)") // by a transaction, not by a snapshot
    sqlite3(primary, "wal.db", "insert into t values(2)")
    for (const replica of [open, closed, given]) {
      await caughtUp(primary, replica, "later.db")
      await caughtUp(primary, replica, "wal.db")
    }
    expect(described(open, "wal.db", "wal.db-shm", "wal.db-wal", "later.db")).toEqual(
      Array(4).fill(`664 ${OWNER} ${GROUP}`),
    )
    expect(described(closed, "wal.db", "wal.db-shm", "later.db")).toEqual(
      Array(3).fill(`600 ${OWNER} ${GROUP}`),
    )
    expect(described(given, "wal.db", "wal.db-shm", "later.db")).toEqual(
      Array(3).fill(`640 61009 ${GROUP}`),
    )
    const select = (replica: TestNode, name: string) => [
      "sqlite3",
      join(replica.mount, name),
      "select count(*) from t",
    ]
    for (const user of ["mate", "owner"]) expect(run(as(user, select(open, "wal.db")))).toBe("2\n")
    for (const user of ["mate", "stranger"]) failureOf(as(user, select(closed, "wal.db")))
    for (const user of ["stranger"]) failureOf(as(user, select(given, "later.db")))

    // Whoever may not write to a database cannot keep others from it, and does not learn where it is.
    const flock = (user: string) =>
      as(user, ["flock", "-n", join(open.mount, "wal.db-lock"), "true"])
    expect(failureOf(flock("stranger"))).toContain("Permission denied")
    run(flock("mate"))
    failureOf(as("mate", ["cat", join(closed.mount, "wal.db-pos")]))

    // What was chosen stays when other content comes.
    run(["chmod", "604", join(open.mount, "wal.db")])
    run(["chmod", "606", join(primary.mount, "wal.db")])
    const copy = join(scope.directory, "copy.db")
    run(["sqlite3", copy, "create table other(x)"])
    run([...PROGRAM, "import", "--url", primary.url, "--name", "wal.db", copy])
    run([...PROGRAM, "import", "--url", primary.url, "--name", "new.db", copy])
    await expectSame(primary, open, "wal.db")
    expect(described(open, "wal.db")).toEqual([`604 ${OWNER} ${GROUP}`])
    expect(described(primary, "wal.db", "new.db")).toEqual(["606 0 0", "664 0 0"])
  },
  120_000,
)

test.skipIf(!canMount)(
  "with --allow-other=false, or the key of the original, nobody else gets into the mount",
  async () => {
    await using scope = new Scope()
    const flagged = await scope.node({
      directory: place(scope, 0o777),
      flags: ["--allow-other=false"],
    })
    const directory = place(scope, 0o777)
    const config = `fuse: {dir: ${directory}/mnt, allow-other: false}
data: {dir: ${directory}/data}
http: {addr: "127.0.0.1:0"}
lease: {type: static, candidate: true, advertise-url: "http://localhost:20202"}`
    const configured = await scope.node({ directory, config })
    const open = await scope.node({ directory: place(scope, 0o777) })
    for (const { mount } of [flagged, configured]) {
      run(["ls", mount])
      expect(failureOf(as("owner", ["ls", mount]))).toContain("Permission denied")
    }
    run(as("stranger", ["ls", open.mount]))
    expect(configured.output).not.toContain("changes nothing")
  },
  90_000,
)

test.skipIf(!canMount)(
  "nobody else gets at what a node keeps, and a secret that all can read is named",
  async () => {
    await using scope = new Scope()
    const directory = place(scope, 0o777)
    const token = join(scope.directory, "token")
    writeFileSync(token, "t0ken", { mode: 0o644 })
    const before = await scope.node({ directory, flags: ["--auth-token-file", token] })
    expect(
      before.output.match(/level=warn .*every user of this machine can read a secret/g),
    ).toHaveLength(1)
    const client = as("stranger", ["sqlite3", join(before.mount, "a.db")])
    run([...client, "create table t(x); insert into t values(1); update t set x = 2"])
    run(["chmod", "666", join(before.mount, "a.db")])
    const found = run(["find", before.data, "-perm", "/077", "-printf", "%P\n"])
    expect(found).toBe("dbs/a.db/database\n") // a client's choice, for the mount; its directory keeps others out
    expect(failureOf(as("stranger", ["ls", before.data]))).toContain("Permission denied")
    await before.stop()

    // A data directory of before: it stays as it is, and its databases get owners, once.
    rmSync(join(before.data, "owners"))
    run(["chmod", "-R", "u=rwX,go=rX", before.data])
    run(["chown", "-R", "0:0", before.data])
    chmodSync(join(directory, "mnt"), 0o750)
    chmodSync(token, 0o600)
    const after = await scope.node({
      directory,
      port: before.port,
      flags: ["--auth-token-file", token],
    })
    expect(after.output).toContain("setting them once")
    expect(after.output).not.toContain("can read a secret")
    expect(described(after, "a.db")).toEqual([`660 ${OWNER} ${GROUP}`])
    expect(run(["stat", "-c", "%a", before.data]).trim()).toBe("755")
    run(as("owner", ["sqlite3", join(after.mount, "a.db"), "insert into t values(3)"]))
    run(["chown", "0:0", join(after.mount, "a.db")])
    await after.stop()
    const last = await scope.node({ directory, port: before.port })
    expect(described(last, "a.db")).toEqual(["660 0 0"])
  },
)

test("a flag for owners or modes that says nothing is refused with what it should say", () => {
  const problemOf = (...flags: string[]) => {
    const words = [...PROGRAM.slice(1), "mount", "--primary", ...flags]
    const { status, stderr } = spawnSync(PROGRAM[0] as string, words, { encoding: "utf8" })
    expect(status).toBe(2)
    return stderr
  }
  expect(problemOf("--fuse-mode", "440")).toContain(
    "with which the owner reads and writes, like 0660",
  )
  expect(problemOf("--fuse-mode", "rw")).toContain("like 0660")
  expect(problemOf("--fuse-owner", "nobody-of-that-name")).toContain("there is no user")
  expect(problemOf("--fuse-owner", "root:no-such-group")).toContain("there is no group")
  expect(problemOf("--fuse-owner", "61009")).toContain("write 61009:GROUP")
  expect(problemOf("--fuse-owner", "a:b:c")).toContain("USER or USER:GROUP")
})
