import { afterEach, beforeEach, describe, expect, test } from "bun:test"
import { spawnSync } from "node:child_process"
import { mkdirSync } from "node:fs"
import { join } from "node:path"
import { run } from "../../src/cli/main-command.ts"
import { FakeIo } from "../support/fake-io.ts"
import { TemporaryDirectory } from "../support/temporary-directory.ts"

let directory: TemporaryDirectory

beforeEach(() => {
  directory = new TemporaryDirectory()
  mkdirSync(join(directory.path, "mnt"))
})
afterEach(() => directory[Symbol.dispose]())

/** A file with the two directories, and what else it is to say. */
function config(rest: string, name = "litefs.yml"): string {
  const { path } = directory
  const dirs = `fuse: {dir: "${path}/mnt"}\ndata: {dir: "${path}/data"}\nlog: {format: json}\n`
  return directory.write(name, dirs + rest)
}

async function mount(args: string[], env: Record<string, string> = {}) {
  const io = new FakeIo(env)
  const code = await run(["mount", "--log-level", "error", ...args], io)
  return { code, err: io.err, options: io.opened[0] }
}

const PRIMARY = "lease: {type: static, hostname: a, advertise-url: 'http://a:1'}\n"

describe("litefs mount --config", () => {
  test("opens the node that the file says", async () => {
    const path = config(`${PRIMARY}exec: "true"\n`)
    const { code, err, options } = await mount(["--config", path])
    expect({ code, err }).toEqual({ code: 0, err: "" })
    expect(options).toMatchObject({
      fuseDir: join(directory.path, "mnt"),
      role: { kind: "primary" },
      hostname: "a",
      advertiseUrl: "http://a:1",
      httpAddr: { host: "", port: 20202 },
      log: { level: "error", format: "json" },
    })
  })

  test("is also -config, and LITEFS_CONFIG", async () => {
    const path = config(`${PRIMARY}exec: "true"\n`)
    expect((await mount(["-config", path])).options?.hostname).toBe("a")
    expect((await mount([], { LITEFS_CONFIG: path })).options?.hostname).toBe("a")
  })

  test("gives way to flags and variables", async () => {
    const path = config(`${PRIMARY}exec: "true"\nhttp: {addr: ":1"}\n`)
    const env = { LITEFS_HTTP_ADDR: ":2", LITEFS_HOSTNAME: "b" }
    const { options } = await mount(["--config", path, "--hostname", "c"], env)
    expect(options).toMatchObject({ hostname: "c", httpAddr: { port: 2 } })
  })

  test.each<[string[], Record<string, string>]>([
    [["--primary-url", "http://p:1"], {}],
    [[], { LITEFS_PRIMARY_URL: "http://p:1" }],
  ])("gives way to a role, %j, %j", async (args, env) => {
    const path = config(`lease: {type: consul}\nexec: "true"\n`)
    const { options } = await mount(["--config", path, ...args], env)
    expect(options?.role).toMatchObject({ kind: "replica", primaryUrl: "http://p:1" })
  })

  test("runs the last command of exec as the command, and the others before it", async () => {
    const path = config(`${PRIMARY}exec:\n  - cmd: "true"\n  - cmd: sh -c 'exit 5'\n`)
    expect((await mount(["--config", path])).code).toBe(5)
    const failing = config(`${PRIMARY}exec:\n  - cmd: sh -c 'exit 4'\n  - cmd: "true"\n`)
    expect((await mount(["--config", failing])).code).toBe(4)
  })

  test.each([
    [["--", "sh", "-c", "exit 6"], 6],
    [["--exec", "sh -c 'exit 7'"], 7],
  ])("runs no command of the file besides %j", async (args, code) => {
    const path = config(`${PRIMARY}exec:\n  - cmd: sh -c 'exit 4'\n  - cmd: sh -c 'exit 5'\n`)
    expect((await mount(["--config", path, ...args])).code).toBe(code)
  })

  test.each([
    [
      "lease: {type: static, hostname: two words}\n",
      'lease.hostname (FILE:4) is "two words", it should be one word',
    ],
    [
      `${PRIMARY}exec:\n  - cmd: "a | b"\n`,
      `exec.0.cmd (FILE:6) is "a | b": | needs a shell, write sh -c '…' around it, or single quotes`,
    ],
    [
      `${PRIMARY}http:\n  addr: "80"\n`,
      'http.addr (FILE:6) is "80", it should be HOST:PORT or :PORT, like 127.0.0.1:20202',
    ],
    [
      "lease: {type: static, databases: [a.db]}\n",
      "lease.databases (FILE:4) is given, the primary has all databases",
    ],
  ])("refuses %j, and says where it stands", async (rest, problem) => {
    const path = config(rest)
    const { code, err } = await mount(["--config", path])
    expect({ code, err: err.replaceAll(path, "FILE") }).toEqual({
      code: 2,
      err: `ERROR: Cannot run litefs mount: ${problem}\n`,
    })
  })

  test("refuses a file that is not there", async () => {
    expect(await mount(["--config", "/no/such.yml"])).toMatchObject({
      code: 1,
      err: 'ERROR: Cannot run litefs mount: --config is "/no/such.yml": there is no such file\n',
    })
    expect(await mount(["--config", "/tmp"])).toMatchObject({
      code: 1,
      err: 'ERROR: Cannot run litefs mount: "/tmp" cannot be read: it is a directory, it should be a file\n',
    })
  })

  test("names the variables that are not set when a key has no value, or a wrong one", async () => {
    const path = config("lease: {type: static, candidate: $NONE}\n")
    const where = `Cannot run litefs mount: lease.candidate (${path}:4)`
    const { err } = await mount(["--config", path])
    expect(err).toBe(`ERROR: ${where} has no value, it should be true or false (not set: $NONE)\n`)
    const other = config(`lease: {type: static, advertise-url: "http://\${NONE}:1"}\n`)
    expect((await mount(["--config", other])).err).toMatch(
      /it should be a URL.* \(not set: \$NONE\)/,
    )
  })
})

describe("litefs mount without a role", () => {
  const program = join(import.meta.dirname, "../support/litefs-program.ts")
  const mountIn = (cwd: string, args: string[] = []) => {
    const words = ["mount", "--log-level", "error", ...args]
    const { status, stderr } = spawnSync(process.execPath, [program, ...words], {
      cwd,
      encoding: "utf8",
    })
    return { code: status, err: stderr }
  }

  test("reads the litefs.yml of the current directory", () => {
    config(`${PRIMARY}exec: sh -c 'exit 8'\n`)
    expect(mountIn(directory.path)).toEqual({ code: 8, err: "" })
  })

  test("but not with one", () => {
    config("not: a key\n")
    const dirs = ["--fuse-dir", "mnt", "--data-dir", "data"]
    expect(mountIn(directory.path, ["--primary", ...dirs, "--", "true"])).toEqual({
      code: 0,
      err: "",
    })
    const words = [program, "mount", "--primary", ...dirs, "--", "true"]
    const { stderr, stdout } = spawnSync(process.execPath, words, {
      cwd: directory.path,
      encoding: "utf8",
    })
    expect(stdout + stderr).toMatch(
      /"a configuration file is not read" file=litefs.yml problem="the command line gives the role/,
    )
    expect(mountIn(directory.path).err).toContain("not (litefs.yml:4) is not a key")
  })
})
