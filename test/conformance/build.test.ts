/** Where SQLite's sources come from, with an apt-get that fetches nothing. */
import { afterEach, beforeEach, expect, test } from "bun:test"
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

const PROGRAM = join(import.meta.dirname, "../../scripts/conformance-build")

let dir: string
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "litefs-build-"))
  for (const name of ["cache", "bin"]) mkdirSync(join(dir, name))
})
afterEach(() => rmSync(dir, { recursive: true }))

/** `aptGet` is a shell script. */
function build(aptGet: string) {
  writeFileSync(join(dir, "bin/apt-get"), `#!/bin/sh\n${aptGet}\n`, { mode: 0o755 })
  const { exitCode, stdout, stderr } = Bun.spawnSync([PROGRAM], {
    env: {
      ...process.env,
      PATH: `${join(dir, "bin")}:${process.env.PATH}`,
      XDG_CACHE_HOME: join(dir, "cache"),
    },
  })
  return { exitCode, stdout: stdout.toString(), stderr: stderr.toString() }
}

test("conformance-build takes the newest build that is there", () => {
  for (const version of ["3.9.0", "3.40.1"]) {
    mkdirSync(join(dir, `cache/litefs-conformance-${version}`))
  }
  const { exitCode, stdout } = build("exit 9")
  expect({ exitCode, stdout }).toEqual({
    exitCode: 0,
    stdout: `${join(dir, "cache/litefs-conformance-3.40.1")}\n`,
  })
})

test("conformance-build asks the machine's own places for sources, says so when there are none, and leaves nothing", () => {
  const { exitCode, stderr } = build(
    `for word; do case $word in Dir::Etc::SourceParts=*) cat "\${word#*=}"/* >${dir}/asked; esac; done; exit 100`,
  )
  expect({ exitCode, left: readdirSync(join(dir, "cache")) }).toEqual({ exitCode: 3, left: [] })
  expect(stderr).toMatch(/ERROR: Cannot (get SQLite's sources|build SQLite's tests): /)
  if (stderr.includes("Cannot build")) return // there is no compiler here
  expect(readFileSync(join(dir, "asked"), "utf8")).toMatch(/^(Types: deb-src$|deb-src\s)/m)
  expect(readFileSync(join(dir, "asked"), "utf8")).not.toMatch(/^(Types: deb$|deb\s)/m)
})
