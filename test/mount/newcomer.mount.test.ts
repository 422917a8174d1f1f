/** What somebody meets who has just begun, and has not read everything. */
import { expect } from "bun:test"
import { spawnSync } from "node:child_process"
import { failureOf, run, sqlite3 } from "../support/client.ts"
import { test } from "../support/mount-test.ts"
import { PROGRAM, Scope } from "../support/node.ts"

test("commands find the only node that runs, and name all when there are several", async () => {
  await using scope = new Scope()
  const one = await scope.node()
  sqlite3(one, "a.db", "create table t(x); insert into t values(7)")
  const sql = [...PROGRAM, "sql", "--raw", "a.db", "select x from t"]
  expect(run(sql)).toBe("7\n")
  const program = ["sqlite3", `${one.mount}/a.db`, "insert into t values(8)"]
  const halted = [...PROGRAM, "run", "--url", one.url, "--with-halt-lock-on", "a.db", "--"]
  run([...halted, ...program])
  expect(run(sql)).toBe("7\n8\n")
  expect(run([...PROGRAM, "diverged", "list"])).not.toContain("/var/lib/litefs")
  expect(failureOf([...PROGRAM, "info"])).toContain(
    `give the address of the node with --url, like "unix:${one.data}/api.sock"`,
  )

  const two = await scope.node()
  expect(failureOf(sql)).toMatch(/ there is no directory "\/litefs", give where LiteFS is mounted/)
  for (const { mount } of [one, two]) expect(failureOf(sql)).toContain(`"${mount}"`)
  const diverged = failureOf([...PROGRAM, "diverged", "list"])
  for (const { data } of [one, two]) expect(diverged).toContain(`"${data}"`)
}, 60_000)

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
