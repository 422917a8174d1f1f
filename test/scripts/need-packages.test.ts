import { afterEach, beforeEach, expect, test } from "bun:test"
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

let dir: string

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "litefs-packages-"))
  for (const name of ["scripts", "bin", "shared"]) mkdirSync(join(dir, name))
  copyFileSync(join(import.meta.dirname, "../../scripts/lib.sh"), join(dir, "scripts/lib.sh"))
  writeFileSync(join(dir, "package-lock.json"), "{}")
  writeFileSync(join(dir, "shared/.litefs-lock-sum"), "of another package-lock.json")
  writeFileSync(join(dir, "bin/npm"), `#!/bin/sh\ntouch "${dir}/npm-ran"\n`, { mode: 0o755 })
})
afterEach(() => rmSync(dir, { recursive: true }))

/** Whether npm was called. */
function needPackages(): boolean {
  const path = `${join(dir, "bin")}:${process.env.PATH}`
  const script = `set -e; source "${dir}/scripts/lib.sh"; need_packages`
  const { exitCode, stderr } = Bun.spawnSync(["bash", "-c", script], {
    env: { ...process.env, PATH: path },
  })
  expect({ exitCode, stderr: exitCode === 0 ? "" : stderr.toString() }).toEqual({
    exitCode: 0,
    stderr: "",
  })
  return existsSync(join(dir, "npm-ran"))
}

test("need_packages() leaves packages alone that node_modules is a link to", () => {
  symlinkSync(join(dir, "shared"), join(dir, "node_modules"))
  expect(needPackages()).toBe(false)
})

test("need_packages() installs packages when there are those of another package-lock.json", () => {
  mkdirSync(join(dir, "node_modules"))
  expect(needPackages()).toBe(true)
})
