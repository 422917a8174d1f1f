/** `--capture auto`: writers of a WAL pass LiteFS where the kernel and the rights of the daemon allow it. */
import { expect } from "bun:test"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { run, sqlite3 } from "../support/client.ts"
import { LongClient } from "../support/long-client.ts"
import { passingTest as test } from "../support/mount-test.ts"
import { type NodeOptions, PROGRAM, Scope, type TestNode } from "../support/node.ts"
import { infoOf, metricOf } from "../support/node-api.ts"
import { CallFaults } from "../torture/call-faults.ts"

const NOT_PASSED = "writers of a WAL do not pass LiteFS, as with --capture strict"
const WRITES = 'litefs_fuse_request_count{op="write"}'
const SYNCS = 'litefs_fuse_request_count{op="fsync"}'

/** Also where the environment says otherwise. */
const AUTO = { flags: ["--capture", "auto"] }

/** What it says it does, everywhere it says it. */
async function saidBy(node: TestNode) {
  const { capture } = await infoOf(node)
  const mode = capture?.mode ?? ""
  expect(node.output).toMatch(new RegExp(`msg=mounted .*capture=${mode}`))
  expect(await metricOf(node, "litefs_capture_behind")).toBe(mode === "behind" ? 1 : 0)
  expect(run([...PROGRAM, "info", "--url", node.url])).toContain(
    `capture  ${mode}: ${capture?.reason}\n`,
  )
  return { mode, reason: capture?.reason ?? "" }
}

/** Whether a writer of a WAL makes no requests, and then what is written and synced is all right. */
async function isPassed(scope: Scope, node: TestNode): Promise<boolean> {
  sqlite3(node, "a.db", "pragma journal_mode = wal; create table t(x)")
  const client = new LongClient(scope, node, "a.db")
  await client.exec("pragma synchronous = full; insert into t values(1)")
  const before = await metricOf(node, WRITES)
  await client.exec("insert into t values(2)")
  const isAsked = (await metricOf(node, WRITES)) > before
  await client.close()
  expect(sqlite3(node, "a.db", "select sum(x) from t; pragma integrity_check")).toBe("3\nok")
  return !isAsked
}

async function expectPassing(scope: Scope, options: NodeOptions): Promise<void> {
  const node = await scope.node({ ...AUTO, ...options })
  expect(await saidBy(node)).toEqual({ mode: "behind", reason: "the kernel lets writers pass" })
  expect(node.output).not.toContain(NOT_PASSED)
  expect(await isPassed(scope, node)).toBe(true)
}

/** One line says why, and nothing else is as with writers that pass. */
async function expectStrict(scope: Scope, options: NodeOptions, reason: RegExp): Promise<void> {
  const node = await scope.node({ ...AUTO, ...options })
  const said = await saidBy(node)
  expect(said).toEqual({ mode: "strict", reason: expect.stringMatching(reason) })
  expect(node.output.split(NOT_PASSED)).toHaveLength(2)
  expect(await isPassed(scope, node)).toBe(false)
  expect(await metricOf(node, SYNCS)).toBeLessThanOrEqual(1) // the kernel asks no more
  expect(readFileSync(join(node.data, "mounted"), "utf8")).not.toContain("behind")
}

test("writers pass", async () => {
  await using scope = new Scope()
  await expectPassing(scope, {})
})

test("writers pass on tmpfs", async () => {
  await using scope = new Scope("/dev/shm")
  await expectPassing(scope, {})
})

test("--capture strict needs no explanation", async () => {
  await using scope = new Scope()
  const node = await scope.node({ flags: ["--capture", "strict"] })
  expect(await saidBy(node)).toEqual({ mode: "strict", reason: "--capture strict" })
  expect(node.output).not.toContain(NOT_PASSED)
  expect(await isPassed(scope, node)).toBe(false)
})

test("--forward-writes keeps them from passing", async () => {
  await using scope = new Scope()
  const reason = /^--forward-writes is given, forwarding sees each lock as a request/
  await expectStrict(scope, { flags: [...AUTO.flags, "--forward-writes"] }, reason)
})

test("without CAP_SYS_PTRACE nobody passes, since nobody could be reached after a kill", async () => {
  await using scope = new Scope()
  const through = ["setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-all"]
  await expectStrict(scope, { through }, /^this process lacks CAP_SYS_PTRACE/)
})

test("in a user namespace the kernel lets nobody pass", async () => {
  await using scope = new Scope()
  const through = ["unshare", "--user", "--map-root-user", "--mount", "--propagation", "unchanged"]
  const node = await scope.node({ ...AUTO, through })
  const reason = expect.stringMatching(/^the kernel wants CAP_SYS_ADMIN for FUSE passthrough, and/)
  expect(await saidBy(node)).toEqual({ mode: "strict", reason })
})

test("with the data directory on overlayfs nobody passes", async () => {
  await using scope = new Scope()
  const layers = ["lower", "upper", "work", "node", "node/mnt", "node/data"]
  run(["mkdir", ...layers.map((name) => join(scope.directory, name))])
  const at = (name: string) => join(scope.directory, name)
  const options = `lowerdir=${at("lower")},upperdir=${at("upper")},workdir=${at("work")}`
  run(["mount", "-t", "overlay", "overlay", "-o", options, at("node/data")])
  scope.defer(() => {
    run(["umount", at("node/data")])
  })
  await expectStrict(scope, { directory: at("node") }, /on a file system on top of another/)
})

test.each([
  ["auto", AUTO.flags, "info"],
  ["behind", ["--capture", "behind"], "warn"],
])("--capture %s: a kernel that refuses is told in one line", async (_, flags, level) => {
  await using scope = new Scope()
  const faults = new CallFaults(join(scope.directory, "calls"))
  faults.set("bypass:open#1+=EIO")
  await expectStrict(scope, { flags, env: faults.env }, /Cannot open/)
  const node = await scope.node({ flags, env: faults.env })
  expect(node.output).toMatch(new RegExp(`level=${level} .*msg="${NOT_PASSED}"`, "i"))
})

test("in a PID namespace of its own, they pass only when nobody else may have the mount", async () => {
  await using scope = new Scope()
  const through = ["unshare", "--pid", "--fork", "--kill-child=SIGTERM"]
  const shared = join(scope.directory, "shared")
  run(["mkdir", "-p", join(shared, "node/mnt"), join(shared, "private/mnt")])
  run(["mount", "--bind", shared, shared])
  scope.defer(() => {
    run(["umount", "-R", "-l", shared])
  })
  run(["mount", "--make-private", shared])
  const node = await scope.node({ ...AUTO, directory: join(shared, "private"), through })
  expect((await saidBy(node)).mode).toBe("behind")
  run(["mount", "--make-shared", shared])
  const other = await scope.node({ ...AUTO, directory: join(shared, "node"), through })
  const reason = expect.stringMatching(/^other containers may share the mount/)
  expect(await saidBy(other)).toEqual({ mode: "strict", reason })
  for (const { pid, exited } of [node, other]) {
    process.kill(Number(run(["pgrep", "-P", String(pid)])), "SIGTERM") // unshare keeps signals
    await exited
  }
})
