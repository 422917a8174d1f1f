/** A node that cannot start says why in one line and what to do, and leaves nothing behind. */
import { expect } from "bun:test"
import { mkdirSync, mkdtempSync, symlinkSync, writeFileSync } from "node:fs"
import { createServer } from "node:http"
import { join } from "node:path"
import { appeared } from "../support/appeared.ts"
import { type Ended, run, sqlite3, start } from "../support/client.ts"
import { test } from "../support/mount-test.ts"
import { freePort, mountsBelow, PROGRAM, Scope } from "../support/node.ts"

function litefs(args: readonly string[], through: readonly string[] = []): Promise<Ended> {
  return start([...through, ...PROGRAM, ...args]).ended
}

/** Flags with which a node would start, but for those that are given, and its mount directory. */
function flagsIn(scope: Scope, given: Record<string, string> = {}) {
  const directory = mkdtempSync(join(scope.directory, "node-"))
  const mount = join(directory, "mnt")
  mkdirSync(mount)
  const flags = {
    "--fuse-dir": mount,
    "--data-dir": join(directory, "data"),
    "--http-addr": "127.0.0.1:0",
    ...given,
  }
  return { mount, flags: Object.entries(flags).flat() }
}

function expectError(scope: Scope, ended: Ended, code: number, message: RegExp): void {
  expect(ended.stderr.replace(/^time=\S+ level=info .*\n/gm, "")).toMatch(message)
  expect(ended.stderr.match(/ERROR/g)).toHaveLength(1)
  expect(ended.stderr).toMatch(/^ERROR: Cannot .*\n$(?![\s\S])/m)
  expect(ended).toMatchObject({ code, signal: null, stdout: "" })
  expect(mountsBelow(scope.directory)).toEqual([])
}

test.each([
  [
    ["--primary", "--primary-url", "http://localhost:1"],
    /both --primary and --primary-url are given/,
  ],
  [
    [],
    /neither --primary nor --primary-url URL nor --lease STORE is given, and there is no litefs.yml/,
  ],
  [["--primary", "--fuse-dri", "/mnt"], /--fuse-dri.*did you mean --fuse-dir/],
  [["--primary", "stray"], /stray/],
  [["--primary", "--hostname", "two words"], /it should be one word/],
  [["--primary-url", "localhost:20202"], /should start with http/],
])("litefs mount %p is a usage error", async (words, message) => {
  await using scope = new Scope()
  const { flags } = flagsIn(scope)
  const { stderr, code, stdout } = await litefs(["mount", ...flags, ...words])
  expect(stderr).toMatch(message)
  expect(stderr).toMatch(/^ERROR: [^\n]*\n$/)
  expect({ code, stdout }).toEqual({ code: 2, stdout: "" })
  expect(mountsBelow(scope.directory)).toEqual([])
})

test("a mount directory that does not exist is made", async () => {
  await using scope = new Scope()
  const mount = join(scope.directory, "not", "there")
  const { flags } = flagsIn(scope, { "--fuse-dir": mount })
  const list = ["ls", "-lan", mount]
  const ended = await litefs(["mount", "--primary", ...flags, "--", ...list])
  expect(ended).toMatchObject({ code: 0, stdout: expect.stringContaining("drwxr-xr-x") })
  expect(ended.stderr).toMatch(
    /level=info tag=mount msg="made the mount directory" dir=.*not\/there/,
  )
  expect(mountsBelow(scope.directory)).toEqual([])
})

test("a mount directory that is not empty is told with what is in it", async () => {
  await using scope = new Scope()
  const { flags, mount } = flagsIn(scope)
  writeFileSync(join(mount, "thesis.txt"), "")
  const ended = await litefs(["mount", "--primary", ...flags])
  expectError(scope, ended, 1, /it is not empty, move "thesis.txt" out of it or choose another/)

  run(["sqlite3", join(mount, "z.db"), "create table t(x)"]) // a program that was started before LiteFS
  const again = await litefs(["mount", "--primary", ...flags])
  expectError(
    scope,
    again,
    1,
    /it is not empty, the database "z.db" was written there while nothing/,
  )
})

test("a file where the mount directory should be is told", async () => {
  await using scope = new Scope()
  const file = join(scope.directory, "file.txt")
  writeFileSync(file, "")
  const { flags } = flagsIn(scope, { "--fuse-dir": file })
  const ended = await litefs(["mount", "--primary", ...flags])
  expectError(scope, ended, 1, /it is not a directory, choose another --fuse-dir/)
})

test.each(["--fuse-dir", "--data-dir"])(
  "a %s that is a link to nowhere, or behind one, is told",
  async (flag) => {
    await using scope = new Scope()
    const links = { nowhere: "/nowhere/at/all", itself: join(scope.directory, "itself") }
    for (const [name, target] of Object.entries(links)) {
      const path = join(scope.directory, name)
      symlinkSync(target, path)
      for (const [dir, is] of [
        [path, "it"],
        [join(path, "sub"), `"${path}"`],
      ] as const) {
        const { flags } = flagsIn(scope, { [flag]: dir })
        const ended = await litefs(["mount", "--primary", ...flags])
        const problem = `"${dir}": ${is} is a symbolic link that leads nowhere, choose another ${flag}\n`
        expectError(scope, ended, 1, new RegExp(problem.replaceAll(".", "\\.")))
      }
    }
  },
)

test.each([
  "mount --primary --config LOOP",
  "mount --primary --auth-token-file LOOP",
  "mount --primary --http-tls-cert LOOP --http-tls-key LOOP",
  "info --http-tls-ca LOOP --url https://127.0.0.1:1",
  "ltx list LOOP",
  "import --name a.db LOOP",
  "export --name a.db LOOP/sub",
])("litefs %s with a link to itself says so in our words", async (line) => {
  await using scope = new Scope()
  const words = line.split(" ")
  const loop = join(scope.directory, "loop")
  symlinkSync(loop, loop)
  const flags = words[0] === "mount" ? flagsIn(scope).flags : []
  const ended = await litefs([...words.map((word) => word.replace("LOOP", loop)), ...flags])
  expect(ended.code).toBeGreaterThan(0)
  expect(ended.stderr).toMatch(
    /^ERROR: Cannot [^\n]*loop[^\n]*: too many levels of symbolic links \(ELOOP\)[^\n]*\n$/,
  )
})

test("a port that is in use is told, and nothing stays mounted", async () => {
  await using scope = new Scope()
  const server = createServer()
  const port = await freePort()
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve))
  scope.defer(() => void server.close())
  const { flags } = flagsIn(scope, { "--http-addr": `127.0.0.1:${port}` })
  const ended = await litefs(["mount", "--primary", ...flags])
  expectError(
    scope,
    ended,
    1,
    /Cannot listen on .*: the port is in use, choose another --http-addr/,
  )
})

/** Run by a shell in a mount namespace of its own, before the program. `$1` is a directory to use. */
const DEVICES = [
  [
    "is missing",
    "mkdir $1/d && mount -t tmpfs t $1/d && for f in null zero random urandom; do cp -a /dev/$f $1/d; done && mount --bind $1/d /dev",
    /Cannot use \/dev\/fuse: it does not exist, .*modprobe fuse.*--device \/dev\/fuse/,
  ],
  [
    "may not be opened",
    "mkdir $1/d && mount -t tmpfs -o nodev t $1/d && mknod $1/d/fuse c 10 229 && mount --bind $1/d/fuse /dev/fuse",
    /Cannot use \/dev\/fuse: it may not be opened \(EACCES\), .*--device \/dev\/fuse/,
  ],
  [
    "is another device",
    "mount --bind /dev/null /dev/fuse",
    /Cannot mount on ".*mnt": mount\(2\) says EINVAL, .*\/dev\/fuse/,
  ],
] as const

test.each(DEVICES)("a /dev/fuse that %s is told", async (_, prepare, message) => {
  await using scope = new Scope()
  const { flags } = flagsIn(scope)
  const script = `set -e; ${prepare}; shift; exec "$@"`
  const through = ["unshare", "-m", "sh", "-c", script, "sh", scope.directory]
  expectError(scope, await litefs(["mount", "--primary", ...flags], through), 1, message)
})

test("a user who may not mount is told what mounting needs", async () => {
  await using scope = new Scope()
  const { flags } = flagsIn(scope)
  const through = ["setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-all"]
  const ended = await litefs(["mount", "--primary", ...flags], through)
  expectError(scope, ended, 1, /mount\(2\) says EPERM, mounting needs CAP_SYS_ADMIN/)
})

test("a start that fails gives back all it had, while it stays to be looked at", async () => {
  await using scope = new Scope()
  const { flags } = flagsIn(scope, {
    "--http-addr": `127.0.0.1:${await freePort()}`,
    "--proxy-addr": `127.0.0.1:${await freePort()}`,
    "--proxy-target": "127.0.0.1:1",
  })
  const mount = [...PROGRAM, "mount", "--primary", "--exit-on-error=false", ...flags]
  const log = join(scope.directory, "log")
  writeFileSync(log, "")
  const unable = ["setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-all"]
  const failed = start(["sh", "-c", `exec "$@" 2>${log}`, "sh", ...unable, ...mount])
  expect(await appeared(log, /staying/)).toContain("mounting needs CAP_SYS_ADMIN")
  const { code, stderr } = await litefs([...mount.slice(PROGRAM.length), "--", "true"])
  expect({ code, problem: /ERROR.*|WARN.*/.exec(stderr)?.[0] }).toEqual({
    ...{ code: 0, problem: undefined },
  })
  failed.kill("SIGTERM")
  expect(await failed.ended).toMatchObject({ code: 1, signal: null })
})

test("directories that another litefs uses are told, and it goes on", async () => {
  await using scope = new Scope()
  const node = await scope.node()
  const refused = async (given: Record<string, string>) => {
    const { flags } = flagsIn(scope, given)
    const { code, stderr } = await litefs(["mount", "--primary", ...flags])
    expect(code).toBe(1)
    expect(stderr).toMatch(/^ERROR: [^\n]*\n$/)
    return stderr
  }
  expect(await refused({ "--data-dir": node.data })).toMatch(
    /Cannot use data directory ".*data": another litefs uses it, stop that one or choose another --data-dir/,
  )
  expect(await refused({ "--fuse-dir": node.mount })).toMatch(
    /Cannot mount on ".*mnt": another litefs serves it, stop that one or choose another --fuse-dir/,
  )
  expect(await refused({ "--data-dir": node.data, "--fuse-dir": node.mount })).toContain(
    "another litefs",
  )
  sqlite3(node, "a.db", "create table t(x)")
  expect(mountsBelow(scope.directory)).toHaveLength(1)
  expect(await node.stop()).toEqual({ code: 0, signal: null })
  expect(mountsBelow(scope.directory)).toEqual([])
})
