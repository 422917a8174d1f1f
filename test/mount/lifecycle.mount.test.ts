/** The program from its start to its end: waiting for a primary, the command beside it, signals. */
import { expect } from "bun:test"
import { mkdirSync, mkdtempSync, statSync, symlinkSync } from "node:fs"
import { createServer, type Server } from "node:http"
import { join, resolve } from "node:path"
import { type MountEntry, mountsAt } from "../../src/sys/mount.ts"
import { expectSame, failureOf, pos, run, sqlite3 } from "../support/client.ts"
import { LongClient } from "../support/long-client.ts"
import { test } from "../support/mount-test.ts"
import { flagsOf, freePort, mountsBelow, PROGRAM, Scope, STRICT } from "../support/node.ts"
import { pair } from "../support/pair.ts"
import { testRandom } from "../support/random.ts"

const random = testRandom()

const WAITING = /msg="not connected to the primary, trying again"/g

test("a replica without a primary keeps trying, says so once for each reason, and stops when told", async () => {
  await using scope = new Scope()
  const port = await freePort()
  const replica = await scope.node({ follows: { url: `http://127.0.0.1:${port}` } })
  await replica.logged(/trying again" .*problem=.*ECONNREFUSED/)

  let status = 503
  let requests = 0
  let waiting = Promise.withResolvers<void>()
  const server: Server = createServer((_, response) => {
    response.writeHead(status, { "Litefs-Hostname": "other" }).end("not yet\n")
    requests += 1
    if (requests % 2 === 0) waiting.resolve()
  })
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve))
  scope.defer(() => void server.close())
  await waiting.promise
  waiting = Promise.withResolvers()
  status = 404
  await waiting.promise

  expect(await replica.stop()).toEqual({ code: 0, signal: null })
  const lines = (await replica.wholeOutput).split("\n").filter((line) => line.match(WAITING))
  expect(lines).toHaveLength(3)
  expect(lines[1]).toContain("it answered 503: not yet")
  expect(lines[2]).toContain("it answered 404: not yet")
  expect(mountsBelow(scope.directory)).toEqual([])
}, 30_000)

test("a replica serves what it has without its primary, and follows one that comes later", async () => {
  await using scope = new Scope()
  const port = await freePort()
  const replica = await scope.node({ follows: { url: `http://127.0.0.1:${port}` } })
  await replica.logged(WAITING)
  expect(run(["ls", "-A", replica.mount])).toBe(".lag\n")
  expect(failureOf(["cat", `${replica.mount}/a.db`])).toContain("No such file")
  const primary = await scope.node({ port })
  sqlite3(primary, "a.db", "create table t(x); insert into t values(1)")
  await expectSame(primary, replica, "a.db")
}, 30_000)

test("a command that waits for the first position never runs when the wait is ended", async () => {
  await using scope = new Scope()
  const url = `http://127.0.0.1:${await freePort()}`
  const replica = await scope.node({ follows: { url }, command: ["echo", "it ran"] })
  await replica.logged(WAITING)
  expect(await replica.stop()).toEqual({ code: 143, signal: null })
  expect(await replica.wholeOutput).not.toContain("it ran")
  expect(mountsBelow(scope.directory)).toEqual([])
}, 30_000)

test.each([
  [["exit 0"], 0],
  [["exit 7"], 7],
  [["kill -TERM $$"], 143],
  [["kill -KILL $$"], 137],
])("the exit code is that of the command: sh -c %p", async ([script], code) => {
  await using scope = new Scope()
  const node = await scope.spawn({ command: ["sh", "-c", script as string] })
  expect(await node.exited).toEqual({ code, signal: null })
  expect(mountsBelow(scope.directory)).toEqual([])
})

test("the command gets its arguments as they are", async () => {
  await using scope = new Scope()
  const words = ["a b", "", "*", "$HOME", "--primary", "--", "-x", "naïve \n line", "'\""]
  const print = "process.stdout.write('words ' + JSON.stringify(process.argv.slice(1)))"
  const node = await scope.spawn({ command: ["node", "-e", print, "--", ...words] })
  expect(await node.exited).toEqual({ code: 0, signal: null })
  expect(await node.wholeOutput).toContain(`words ${JSON.stringify(words)}`)
})

test("a command that cannot be found is told, and the mount goes", async () => {
  await using scope = new Scope()
  const node = await scope.spawn({ command: ["litefs-no-such-program"] })
  expect(await node.exited).toEqual({ code: 127, signal: null })
  expect(await node.wholeOutput).toContain('ERROR: Cannot run "litefs-no-such-program": no such')
  expect(mountsBelow(scope.directory)).toEqual([])
})

function directoryFor(scope: Scope): { directory: string; mount: string } {
  const directory = mkdtempSync(join(scope.directory, "node-"))
  const mount = join(directory, "mnt")
  mkdirSync(mount)
  return { directory, mount }
}

test("the command of a primary finds the mount, and that of a replica all that the primary has", async () => {
  await using scope = new Scope()
  const home = directoryFor(scope)
  const sql = "create table t(x); insert into t values(zeroblob(30000000))"
  const primary = await scope.node({
    directory: home.directory,
    command: ["sh", "-c", `sqlite3 ${home.mount}/a.db '${sql}' && echo made it && exec sleep 60`],
  })
  await primary.logged(/made it/)
  const away = directoryFor(scope)
  const replica = await scope.spawn({
    directory: away.directory,
    follows: primary,
    command: ["sqlite3", `${away.mount}/a.db`, "select 'found', length(x) from t"],
  })
  expect(await replica.exited).toEqual({ code: 0, signal: null })
  expect(await replica.wholeOutput).toContain("found|30000000\n")
  expect(await primary.stop()).toEqual({ code: 143, signal: null })
  expect(mountsBelow(scope.directory)).toEqual([])
}, 30_000)

test("a signal goes to the command, which ends in its own time with the mount still there", async () => {
  await using scope = new Scope()
  const { directory, mount } = directoryFor(scope)
  const program = `
      trap 'sqlite3 ${mount}/a.db "insert into t values(2); select count(*) from t" && exit 5' TERM
      sqlite3 ${mount}/a.db 'create table t(x); insert into t values(1)' && echo ready
      while :; do sleep 0.05; done`
  const node = await scope.node({ directory, command: ["sh", "-c", program] })
  await node.logged(/^ready/m)
  expect(await node.stop()).toEqual({ code: 5, signal: null })
  expect(await node.wholeOutput).toMatch(/^2$/m)
  expect(mountsBelow(scope.directory)).toEqual([])
}, 30_000)

test.each(random.someOf(["delete", "wal"]))(
  "%p mode: SIGTERM ends a primary whose files are open in the middle of a transaction",
  async (mode) => {
    await using scope = new Scope()
    const flags = flagsOf(STRICT) // who passes may commit until the next start (behind-kill.mount.test.ts)
    let primary = await scope.node({ flags })
    sqlite3(
      primary,
      "a.db",
      `pragma journal_mode = ${mode}; create table t(x); insert into t values(1)`,
    )
    const before = pos(primary, "a.db")
    const client = new LongClient(scope, primary, "a.db")
    const reader = new LongClient(scope, primary, "a.db")
    expect(await reader.value("select count(*) from t")).toBe(1)
    await client.exec(
      "pragma cache_size = 5; begin immediate; insert into t values(randomblob(200000))",
    )
    expect(await primary.stop()).toEqual({ code: 0, signal: null })
    expect(mountsBelow(scope.directory)).toEqual([])
    const failed = await client
      .exec("insert into t values(randomblob(200000)); commit")
      .catch(String)
    expect(failed).toBeString()

    const { directory, port } = primary
    primary = await scope.node({ directory, port })
    expect(sqlite3(primary, "a.db", "select count(*) from t; pragma integrity_check")).toBe("1\nok")
    expect(pos(primary, "a.db")).toBe(before)
  },
  30_000,
)

test.each(random.someOf(["delete", "wal"]))(
  "%p mode: SIGTERM ends a replica whose files are open",
  async (mode) => {
    await using scope = await pair({ mode, sql: "create table t(x); insert into t values(1)" })
    const { replica } = scope
    const reader = new LongClient(scope, replica, "a.db")
    await reader.exec("begin")
    expect(await reader.value("select count(*) from t")).toBe(1)
    expect(await replica.stop()).toEqual({ code: 0, signal: null })
    await reader.close()
    expect(mountsBelow(replica.directory)).toEqual([])
  },
  30_000,
)

test.each(["umount", "umount -l, with a client", "umount -f, with a client"])(
  "a node whose mount is taken away (%s) ends, with its command",
  async (how) => {
    await using scope = new Scope()
    const node = await scope.node({ command: ["sleep", "1000"] })
    sqlite3(node, "a.db", "create table t(x)")
    const client = new LongClient(scope, node, "a.db")
    if (how === "umount") await client.close()
    else expect(await client.value("select count(*) from t")).toBe(0)
    if (how.includes("-f"))
      failureOf(["umount", "-f", node.mount]) // it is busy, and aborted all the same
    else run(how === "umount" ? ["umount", node.mount] : ["umount", "-l", node.mount])
    expect(await node.exited).toEqual({ code: 1, signal: null })
    expect(await node.wholeOutput).toContain(
      `ERROR: Cannot go on: somebody has unmounted "${node.mount}", `,
    )
    sqlite3(await scope.again(node), "a.db", "insert into t values(1)")
  },
  60_000,
)

test("who gives up a mount that is gone does not abort another one that has its number by now", async () => {
  await using scope = new Scope()
  const node = await scope.node({ mayCrash: true })
  const { device } = mountsAt(node.mount).at(-1) as MountEntry
  const giveUp = (directory: string) => {
    const program = `
      const { abortMount } = await import(${JSON.stringify(resolve("src/sys/mount.ts"))})
      abortMount(${JSON.stringify(directory)}, ${JSON.stringify(device)}, [])`
    const connections = 'mount -t fusectl fusectl /sys/fs/fuse/connections && exec "$@"'
    run(["unshare", "-m", "sh", "-c", connections, "sh", process.execPath, "-e", program])
  }
  giveUp(mkdtempSync(join(scope.directory, "gone-")))
  sqlite3(node, "a.db", "create table t(x)")
  giveUp(node.mount)
  expect(await node.exited).toEqual({ code: 1, signal: null })
}, 30_000)

test("a command says of a dead mount that it is one, and does not offer it", async () => {
  await using scope = new Scope()
  const node = await scope.node({ mayCrash: true })
  sqlite3(node, "app.db", "create table t(x)")
  statSync(`${node.mount}/app.db`) // the kernel remembers it for a while
  await node.stop("SIGKILL")
  const sql = (...words: string[]) => failureOf([...PROGRAM, "sql", ...words])
  for (const words of [["app.db", "--fuse-dir", node.mount], [`${node.mount}/app.db`]]) {
    expect(sql(...words, "select 1")).toContain(
      `the LiteFS that served "${node.mount}" has died: start it again, or: umount ${node.mount}`,
    )
  }
  const elsewhere = sql("app.db", "--fuse-dir", scope.directory, "select 1")
  expect(elsewhere).toContain("is not a mount of LiteFS")
  expect(elsewhere).not.toContain(node.mount)
  run(["umount", node.mount])
}, 30_000)

test("a mount directory that is a symbolic link is known as the mount that it leads to", async () => {
  await using scope = new Scope()
  const directory = mkdtempSync(join(scope.directory, "node-"))
  mkdirSync(join(directory, "real"))
  symlinkSync("real", join(directory, "mnt"))
  const killed = await scope.node({ directory, mayCrash: true })
  await killed.stop("SIGKILL")
  const node = await scope.again(killed)
  await node.logged(/msg="found a dead mount"/)
  sqlite3(node, "a.db", "create table t(x)")
  await Bun.sleep(6000) // longer than from one look for the mount to the next
  expect(sqlite3(node, "a.db", "select count(*) from t")).toBe("0")
  run(["umount", node.mount])
  expect(await node.exited).toEqual({ code: 1, signal: null })
}, 30_000)
