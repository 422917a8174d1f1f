/** What a node says when something is wrong with it as a whole, and what commands beside it can do. */
import { expect } from "bun:test"
import { spawnSync } from "node:child_process"
import { lstatSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import type { Health } from "../../src/http/status/health.ts"
import { appeared } from "../support/appeared.ts"
import { Certificates } from "../support/certificates.ts"
import { failureOf, run, sqlite3 } from "../support/client.ts"
import { test } from "../support/mount-test.ts"
import { freePort, PROGRAM, Scope, type TestNode } from "../support/node.ts"

/** A directory for a node whose data directory is a small disk of its own. */
function smallDisk(scope: Scope): { readonly directory: string; readonly filler: string } {
  const directory = mkdtempSync(join(scope.directory, "node-"))
  const data = join(directory, "data")
  for (const path of [join(directory, "mnt"), data]) mkdirSync(path)
  expect(spawnSync("mount", ["-t", "tmpfs", "-o", "size=48m,mode=700", "t", data]).status).toBe(0)
  scope.defer(() => void spawnSync("umount", ["-l", data]))
  return { directory, filler: join(data, "filler") }
}

/** Until nothing more fits. */
function fill(path: string): void {
  spawnSync("sh", ["-c", `head -c 1000000000 /dev/zero > "${path}" 2>/dev/null`])
}

async function healthOf(node: TestNode, query = ""): Promise<Health> {
  return (await (await fetch(`${node.url}/health${query}`)).json()) as Health
}

async function until<T>(what: () => T | undefined | Promise<T | undefined>): Promise<T> {
  for (const endMs = Date.now() + 20_000; ; ) {
    const found = await what()
    if (found !== undefined) return found
    if (Date.now() > endMs) throw new Error("it does not come to be")
    await Bun.sleep(50)
  }
}

const litefs = (...words: string[]) => run([...PROGRAM, ...words])

const ROWS = "insert into t select randomblob(900) from generate_series(1, 2000)"

test("a primary whose disk is full says so once, and when it has room again", async () => {
  await using scope = new Scope()
  const { directory, filler } = smallDisk(scope)
  const node = await scope.node({ directory })
  const path = `${node.mount}/a.db`
  sqlite3(node, "a.db", "pragma journal_mode = wal; create table t(x)")
  expect((await healthOf(node)).lastProblem).toBeUndefined()
  fill(filler)
  for (let count = 0; count < 3; count++) {
    expect(failureOf(["sqlite3", path, ROWS])).toMatch(/full|disk/)
  }
  await node.logged(/level=error .*msg="the disk is full[^"]*" path=\S+\/data free=\S+/)
  const text = "the disk of the data directory is full, "
  const health = await healthOf(node)
  expect(health).toMatchObject({
    status: "degraded",
    lastProblem: { problem: expect.stringContaining(text) },
  })
  expect(litefs("info", "--url", node.url)).toContain(`problem  ${text}`)

  rmSync(filler)
  sqlite3(node, "a.db", "insert into t values(1)")
  await node.logged(/msg="there is room on the disk again" path=\S+\/data free=\S+/)
  expect(await healthOf(node)).toMatchObject({
    status: "ok",
    lastProblem: { until: expect.any(String) },
  })
  expect(node.output.match(/msg="the disk is full/g)).toHaveLength(1)
  expect(sqlite3(node, "a.db", "select count(*) from t where length(x) < 900")).toBe("1")
})

test("what a client claims beyond the disk is refused, and is no full disk", async () => {
  await using scope = new Scope()
  const { directory } = smallDisk(scope)
  const node = await scope.node({ directory })
  sqlite3(node, "a.db", "pragma journal_mode = delete; create table t(x)")
  const path = `${node.mount}/a.db`
  for (const size of ["1T", "100M"]) {
    for (const flags of [[], ["-n"]]) {
      const refusal = failureOf(["fallocate", ...flags, "-l", size, path])
      expect(refusal).toMatch(/No space left on device/)
    }
  }
  sqlite3(node, "a.db", "insert into t values(1)")
  const health = await healthOf(node)
  expect(health).toMatchObject({ status: "ok" })
  expect(health.lastProblem).toBeUndefined()
  expect(node.output).not.toContain("the disk is full")
  expect(sqlite3(node, "a.db", "select x from t; pragma integrity_check")).toBe("1\nok")
})

test("a replica whose disk is full does not say that its primary is away", async () => {
  await using scope = new Scope()
  const primary = await scope.node()
  sqlite3(primary, "a.db", "pragma journal_mode = wal; create table t(x)")
  const { directory, filler } = smallDisk(scope)
  const replica = await scope.node({ directory, follows: primary })
  litefs("wait", "--synced", "--url", replica.url)
  fill(filler)
  sqlite3(primary, "a.db", ROWS)
  await replica.logged(/msg="the disk is full[^"]*" path=\S+\/data free=\S+/)
  await replica.logged(
    /msg="cannot take what the primary sends, trying again" .*(is full|no space)/,
  )
  expect(await healthOf(replica)).toMatchObject({ status: "degraded" })
  expect((await healthOf(replica, "?synced")).reason).toMatch(/cannot take what the primary sends/)
  expect((await healthOf(replica, "?max-lag-tx=0")).reason).toMatch(
    /^the lag is \d+ transactions, over 0: the disk of the data directory is full, /,
  )
  await Bun.sleep(1100)
  expect((await healthOf(replica, "?max-lag-ms=1000")).reason).toMatch(
    /^the lag is \d+ ms, over 1000 ms: the disk of the data directory is full, /,
  )
  expect(litefs("info", "--url", replica.url)).toContain(
    "problem  the disk of the data directory is full",
  )
  expect(replica.output).not.toContain("not connected to the primary")
  rmSync(filler)
  litefs("wait", "--synced", "--url", replica.url)
  await replica.logged(/msg="there is room on the disk again"/)
  expect(await healthOf(replica)).toMatchObject({ status: "ok" })
})

test("a replica that has lost its primary tells the problem of each address by itself, once", async () => {
  await using scope = new Scope()
  const primary = await scope.node({ flags: ["--no-handoff-on-exit"] })
  const peer = `127.0.0.1:${await freePort()}`
  const replica = await scope.node({ follows: primary, flags: ["--peer", `http://${peer}`] })
  litefs("wait", "--synced", "--url", replica.url)
  await primary.stop("SIGKILL")
  await replica.logged(new RegExp(`url=http://${peer} problem=`))
  const its = `nothing listens at ${primary.url.slice(7)} (ECONNREFUSED)`
  await until(async () => (await healthOf(replica)).lastProblem?.problem.includes(its) || undefined)
  await Bun.sleep(3000)
  expect((await healthOf(replica)).lastProblem?.problem).toContain(its)
  const said = [...replica.output.matchAll(/not connected to the .*url=(\S+) problem="?([^"\n]*)/g)]
  expect(said.map(([, url, problem]) => `${url}: ${problem}`).toSorted()).toEqual(
    [
      `http://${peer}: nothing listens at ${peer} (ECONNREFUSED)`,
      `${primary.url}: ${its}`,
      `${primary.url}: the connection was lost`,
    ].toSorted(),
  )
  expect(litefs("info", "--url", replica.url)).toContain(
    `problem  not connected to the primary: ${its}`,
  )
})

test("a first start says so when no peer answers, and which of the proxy's databases do not exist yet", async () => {
  await using scope = new Scope()
  const proxy = ["--proxy-addr", "127.0.0.1:0", "--proxy-target", "127.0.0.1:1"]
  const flags = ["--peer", `http://127.0.0.1:${await freePort()}`, ...proxy, "--proxy-db", "a.db"]
  const node = await scope.node({ flags })
  await node.logged(
    /level=info .*"no peer answers, this is a first start: this node is the primary"/,
  )
  await node.logged(
    /level=warn .*"the proxy tracks databases that do not exist \(yet\).*" databases=a.db/,
  )
  sqlite3(node, "a.db", "create table t(x)")
  await node.logged(/"a database that the proxy tracks is there now" db=a.db/)
  await node.stop()
  const again = await scope.again(node, { flags })
  await again.logged(/level=warn .*"no peer answers, believing --primary"/)
  expect(again.output).not.toContain("the proxy tracks")
})

test("a replica that becomes the primary has no problem with its primary any more", async () => {
  await using scope = new Scope()
  const primary = await scope.node({ flags: ["--no-handoff-on-exit"] })
  sqlite3(primary, "a.db", "create table t(x)")
  const replica = await scope.node({ follows: primary, flags: ["--candidate"] })
  litefs("wait", "--synced", "--url", replica.url)
  const metrics = async () => (await fetch(`${replica.url}/metrics`)).text()
  expect(await metrics()).toMatch(/^litefs_lag_seconds [\d.]+$/m)
  await primary.stop()
  await replica.logged(/not connected to the primary/)
  expect(litefs("info", "--url", replica.url)).toContain("problem  not connected to the primary")
  litefs("promote", "--force", "--url", replica.url)
  expect(litefs("info", "--url", replica.url)).not.toContain("problem")
  expect((await healthOf(replica)).lastProblem).toBeUndefined()
  expect(await metrics()).toMatch(/^litefs_lag_seconds 0$/m)
})

test("a replica without a primary starts its command after --sync-timeout", async () => {
  await using scope = new Scope()
  const nobody = { url: `http://127.0.0.1:${await freePort()}` }
  const flags = ["--sync-timeout", "300ms"]
  const node = await scope.spawn({
    follows: nobody,
    flags,
    command: ["sh", "-c", "echo it runs; sleep 1000"],
  })
  await node.logged(
    /level=warn .*msg="not in sync in time[^"]*" reason="not connected to the primary: /,
  )
  await node.logged(/it runs/)
  expect((await healthOf(node)).reason).toMatch(/^not connected to the primary: /)
  const metrics = await (await fetch(`${node.url}/metrics`)).text()
  expect(metrics).toMatch(/^litefs_lag_seconds \+Inf$/m)
})

test("a command does not outlive a daemon that was killed", async () => {
  await using scope = new Scope()
  const path = join(scope.directory, "pid")
  const node = await scope.node({ command: ["sh", "-c", `echo "$$ ." > ${path}; exec sleep 1000`] })
  const pid = Number.parseInt(await appeared(path, /\d+ \./), 10)
  await node.stop("SIGKILL")
  await until(() => (isRunning(pid) ? undefined : true))
})

function isRunning(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, "latin1"))
  } catch {
    return false
  }
}

test.each([["candidates"], ["primary"]])(
  "nodes that stop together do not wait for each other: the %s first",
  async (first) => {
    await using scope = new Scope()
    const a = await scope.node()
    sqlite3(a, "a.db", "create table t(x)")
    const flags = ["--candidate"]
    const others = [
      await scope.node({ follows: a, flags }),
      await scope.node({ follows: a, flags }),
    ]
    for (const { url } of others) litefs("wait", "--synced", "--url", url)
    const startMs = Date.now()
    // Of the candidates, those that stop first are gone when the primary turns to them.
    const nodes = first === "primary" ? [a, ...others] : [...others, a]
    const exits = nodes.map((node) => node.stop())
    for (const exit of await Promise.all(exits)) expect(exit.code).toBe(0)
    expect(Date.now() - startMs).toBeLessThan(4500)
    expect(await a.wholeOutput).not.toMatch(/has not accepted in 5 s/)
  },
  30_000,
)

test("commands beside a node with TLS reach it by its socket, without its name", async () => {
  await using scope = new Scope()
  using certificates = new Certificates()
  const { cert, key } = certificates.make("node")
  const token = join(scope.directory, "token")
  writeFileSync(token, "t0ken-of-the-test", { mode: 0o600 })
  const flags = ["--http-tls-cert", cert, "--http-tls-key", key, "--auth-token-file", token]
  const script = `${PROGRAM.join(" ")} info --json && echo "it is $LITEFS_URL"; sleep 1000`
  const node = await scope.node({ flags, command: ["sh", "-c", script] })
  await node.logged(/"isPrimary":\s*true/)
  await node.logged(new RegExp(`it is unix:${node.data}/api.sock`))
  const { mode } = lstatSync(`${node.data}/api.sock`)
  expect((mode & 0o777).toString(8)).toBe("600")
  const url = ["--url", `unix:${node.data}/api.sock`]
  expect(litefs("wait", "--primary", ...url)).toBe(`unix:${node.data}/api.sock is the primary\n`)
  sqlite3(node, "a.db", "create table t(x); insert into t values(7)")
  const copy = join(scope.directory, "copy.db")
  litefs("export", "--name", "a.db", ...url, copy)
  litefs("import", "--name", "b.db", ...url, copy)
  expect(run(["sqlite3", `${node.mount}/b.db`, "select x from t"]).trim()).toBe("7")
  expect(litefs("promote", ...url)).toContain("is the primary")
  await node.stop("SIGKILL")
  const again = await scope.node({ directory: node.directory, flags })
  expect(litefs("run", "--if-primary", ...url, "--", "echo", "again")).toBe("again\n")
  await again.stop()
  expect(failureOf([...PROGRAM, "info", ...url])).toMatch(
    /^ERROR: Cannot reach LiteFS at unix:[^\n]*\n$/,
  )
})
