/** What somebody meets who has just begun, and has not read everything. */
import { expect } from "bun:test"
import { spawnSync } from "node:child_process"
import { failureOf } from "../support/client.ts"
import { hasMachines, type Machine, machines } from "../support/machines.ts"
import { test } from "../support/mount-test.ts"
import { PROGRAM, Scope } from "../support/node.ts"
import { until } from "../support/until.ts"

test.skipIf(!hasMachines)(
  "commands find the only node that runs, and name all when there are several",
  async () => {
    await using scope = new Scope()
    const [machine] = (await machines(scope, "10.9.0.1")) as [Machine]
    const flags = (name: string, port: number) =>
      `--primary --fuse-dir /srv/${name} --data-dir /srv/${name}.data --http-addr 127.0.0.1:${port}`
    machine.start(`exec litefs mount ${flags("one", 20301)}`)
    const done = async (script: string) => {
      const { code, out, err } = await machine.run(script)
      if (code !== 0) throw new Error(`${script}: ${err}`)
      return out
    }
    const failed = async (script: string) => {
      const { code, err } = await machine.run(script)
      expect(code).not.toBe(0)
      return err
    }
    await until(
      "there is a node",
      async () => (await machine.run("test -e /srv/one/.lag")).code === 0,
    )
    await done("litefs sql --create /srv/one/a.db 'create table t(x); insert into t values(7)'")
    const sql = "litefs sql --raw a.db 'select x from t'"
    expect(await done(sql)).toBe("7\n")
    const url = "--url http://127.0.0.1:20301"
    const insert = "litefs sql /srv/one/a.db 'insert into t values(8)'"
    await done(`litefs run ${url} --with-halt-lock-on a.db -- ${insert}`)
    expect(await done(sql)).toBe("7\n8\n")
    expect(await done("litefs diverged list")).not.toContain("/var/lib/litefs")
    expect(await failed("litefs info")).toContain(
      'give the address of the node with --url, like "unix:/srv/one.data/api.sock"',
    )

    machine.start(`exec litefs mount ${flags("two", 20302)}`)
    await until(
      "there are two",
      async () => (await machine.run("test -e /srv/two/.lag")).code === 0,
    )
    const several = await failed(sql)
    expect(several).toMatch(/ there is no directory "\/litefs", give where LiteFS is mounted/)
    for (const name of ["one", "two"]) expect(several).toContain(`"/srv/${name}"`)
    const diverged = await failed("litefs diverged list")
    for (const name of ["one", "two"]) expect(diverged).toContain(`"/srv/${name}.data"`)
  },
  60_000,
)

test.skipIf(!hasMachines)(
  "a primary says that it does not hear a replica whose network is cut",
  async () => {
    await using scope = new Scope()
    const [one, two] = (await machines(scope, "10.9.0.1", "10.9.0.2")) as [Machine, Machine]
    one.start("exec litefs mount --primary --http-addr :20202")
    two.start("exec litefs mount --primary-url http://10.9.0.1:20202 --hostname two")
    await two.run("litefs wait --synced")
    await one.run("litefs sql --create a.db 'create table t(x)'")
    await two.run("litefs wait --db a.db --synced")
    const info = async () => (await one.run("litefs info")).out
    const before = await info()
    expect(before).toContain("NOT SENT")
    expect(before).not.toContain("silent")

    await two.run("ip link set eth0 down")
    await one.run("litefs sql a.db 'insert into t values(1)'")
    const silent = /^silent: two, for [3-9].*s: what it was sent may not be there$/m
    await until("it is silent", async () => silent.test(await info()))
    const found = (await two.run("litefs info")).out
    expect(found).not.toMatch(/nothing listens at 10\.9\.0\.1:20202 \(/)
  },
  60_000,
)

test("who makes what a mount does not hold is told by the log, a few times", async () => {
  await using scope = new Scope()
  const node = await scope.node()
  for (const [command, what] of [
    ["mkdir DIR/x", "a directory"],
    ["mkfifo DIR/x", "a special file"],
    ["mknod DIR/x c 1 3", "a special file"],
    ["ln -s /nowhere DIR/x", "a symbolic link"],
  ] as const) {
    expect(failureOf(["sh", "-c", command.replace("DIR", node.mount)])).toContain("not permitted")
    await node.logged(new RegExp(`Cannot make ${what} in the mount: it holds databases and SQLite`))
  }
  const count = node.output.split("Cannot make").length
  for (let number = 0; number < 200; number++)
    failureOf(["mkdir", `${node.mount}/x${number % 150}`])
  expect(node.output.split("Cannot make").length).toBeLessThan(count + 40)
}, 30_000)

const NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]
const canRunAsNobody =
  spawnSync("setpriv", [...NOBODY.slice(1), ...PROGRAM, "version"]).status === 0

test.skipIf(!canRunAsNobody)(
  "a user who may not give files away is told so of --fuse-owner",
  async () => {
    await using scope = new Scope()
    const at = ["--fuse-dir", `${scope.directory}/m`, "--data-dir", `${scope.directory}/d`]
    const { status, stderr } = spawnSync(
      "setpriv",
      [...NOBODY.slice(1), ...PROGRAM, "mount", "--primary", ...at, "--fuse-owner", "root"],
      { encoding: "utf8" },
    )
    expect({ status, stderr }).toEqual({
      status: 2,
      stderr:
        'ERROR: Cannot run litefs mount: --fuse-owner is "root", this user (65534) may not give files to others, run it as root or leave the flag out\n',
    })
  },
  30_000,
)
