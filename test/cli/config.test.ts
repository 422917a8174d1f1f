import { expect, test } from "bun:test"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { run } from "../../src/cli/main-command.ts"
import { FakeIo, WIDE } from "../support/fake-io.ts"
import { TemporaryDirectory } from "../support/temporary-directory.ts"

async function check(words: readonly string[], env: Record<string, string> = {}) {
  const io = new FakeIo(env)
  const code = await run(["config", "check", ...words], io)
  return { code, out: io.out, err: io.err, opened: io.opened }
}

/** The line of a setting: its value, and where it comes from. */
function line(out: string, setting: string): string[] {
  const found = out.split("\n").find((each) => each.startsWith(`${setting} `)) ?? ""
  return found.split(/ {2,}/).slice(1)
}

test("shows each setting and where it comes from, and starts nothing", async () => {
  using directory = new TemporaryDirectory()
  const path = join(directory.path, "litefs.yml")
  writeFileSync(
    path,
    'fuse:\n  dir: "/data"\nlease:\n  type: static\n  candidate: true\nexec:\n  - cmd: "node server.js"\n',
  )
  const { code, out, err, opened } = await check(["--config", path, "--retention", "1h"], {
    LITEFS_LOG_LEVEL: "debug",
  })
  expect({ code, err, opened }).toEqual({ code: 0, err: "", opened: [] })
  expect(line(out, "--retention")).toEqual(["1h", "command line"])
  expect(line(out, "--log-level")).toEqual(["debug", "$LITEFS_LOG_LEVEL"])
  expect(line(out, "--fuse-dir")).toEqual(["/data", `fuse.dir (${path}:2)`])
  expect(line(out, "--primary")).toEqual(["true", `lease.candidate (${path}:5)`])
  expect(line(out, "--data-dir")).toEqual(["/var/lib/litefs", "default"])
  expect(line(out, "--peer")).toEqual(["-", "default"])
  expect(out).toContain("it runs: node server.js\n")
})

test("names variables that nobody reads, and exits with 1", async () => {
  const { code, out } = await check(["--primary"], { LITEFS_RETENTOIN: "1h" })
  expect(code).toBe(1)
  expect(out).toContain("LITEFS_RETENTOIN (did you mean LITEFS_RETENTION?)")
})

test.each([
  [["--primray"], "there is no flag --primray, did you mean --primary?"],
  [["--primary", "--primary-url", "http://a:1"], "a node is either the primary or a replica"],
  [["--primary", "--retention", "1"], '--retention is "1"'],
  [["my.yml"], '"my.yml" is not a flag, a configuration is given as --config my.yml'],
])("exits with 2 where litefs mount would not start: %p", async (words, message) => {
  const { code, out, err } = await check(words)
  expect({ code, out }).toEqual({ code: 2, out: "" })
  expect(err).toContain(message)
})

test("names unknown keys with their line", async () => {
  using directory = new TemporaryDirectory()
  const path = join(directory.path, "litefs.yml")
  writeFileSync(path, "fuse:\n  dri: /data\n")
  const { code, err } = await check(["--config", path])
  expect(code).toBe(2)
  expect(err).toContain(`fuse.dri (${path}:2) is not a key`)
})

test("shows no secrets, and what would break a line as text", async () => {
  const { out } = await check([
    ...["--lease", "etcd://root:secret@a:2379/x", "--auth-token", "hidden-token"],
    ...["--hostname", "a\u202eb", "--", "echo", "a\nb"],
  ])
  expect(out).not.toContain("secret")
  expect(out).not.toContain("hidden-token")
  expect(line(out, "--hostname")[0]).toBe("a\\u202eb")
  expect(out).toContain("it runs: echo a\\nb\n")
})

test("has colours on a terminal only", async () => {
  const io = new FakeIo()
  io.screens[1] = { ...WIDE, hasColors: true }
  await run(["config", "check", "--primary"], io)
  expect(io.out).toStartWith("\x1b[1msetting")
  expect((await check(["--primary"])).out).not.toContain("\x1b")
})
