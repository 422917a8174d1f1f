/** Files of tests that go wrong in every way, run as `scripts/test` runs them. */
import { expect, setDefaultTimeout, test } from "bun:test"
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { readReports } from "../../scripts/junit.ts"
import { until } from "../support/until.ts"

const PROGRAM = join(import.meta.dirname, "../../scripts/test-lanes.ts")

setDefaultTimeout(60_000)

const IMPORTS = 'import { afterAll, test } from "bun:test"'
const GOOD = `test("good", () => {})`

/** Runs files with these tests in them, and gives what came of it. */
function run(
  files: Readonly<Record<string, string>>,
  words: readonly string[] = [],
  limitMs = 60_000,
  through: readonly string[] = [],
) {
  const root = mkdtempSync(join(tmpdir(), "litefs-lanes-"))
  try {
    for (const name of ["test", "reports", "tmp"]) mkdirSync(join(root, name))
    for (const [name, text] of Object.entries(files)) {
      writeFileSync(join(root, `test/${name}.test.ts`), `${IMPORTS}\n${text}`)
    }
    const env = { ...process.env, TMPDIR: join(root, "tmp"), LITEFS_TEST_LIMIT_MS: String(limitMs) }
    const command = [...through, process.execPath, PROGRAM, join(root, "reports"), ...words]
    const { exitCode, stdout, stderr } = Bun.spawnSync(command, { cwd: root, env })
    const output = `${stdout}${stderr}`
    return { exitCode, output, totals: readReports(join(root, "reports")) }
  } finally {
    rmSync(root, { recursive: true })
  }
}

const MOUNT = '["sh", "-c", "mkdir $TMPDIR/m && mount -t tmpfs none $TMPDIR/m"]'

test("scripts/test-lanes.ts runs every file, and adds up", () => {
  const files = { a: GOOD, b: `${GOOD}; test.skip("left out", () => {})`, c: GOOD, d: GOOD }
  const { exitCode, totals } = run(files)
  expect(exitCode).toBe(0)
  expect(totals).toEqual({ tests: 5, failures: 0, skipped: 1 })
})

test.each([
  ["fails", `test("bad", () => { throw new Error("no") })`, 2, "(fail) bad"],
  ["does not load", `throw new Error("no")`, 2, "exit code 1"],
  ["has no test", "", 2, "no test of it was done"],
  ["breaks afterwards", `${GOOD}; afterAll(() => { throw new Error("no") })`, 3, "(fail)"],
  ["ends its process", `test("bad", () => process.exit(0))`, 2, "exit code 0, and no test"],
  ["leaves a mount", `test("bad", () => void Bun.spawnSync(${MOUNT}))`, 3, "no test of it failed"],
  ["crashes", `test("bad", () => process.kill(process.pid, "SIGSEGV"))`, 2, "SIGSEGV"],
])("scripts/test-lanes.ts loses no file that %s", (_, text, tests, message) => {
  const { exitCode, output, totals } = run({ a: text, b: GOOD })
  expect(exitCode).toBe(1)
  expect(totals).toEqual({ tests, failures: 1, skipped: 0 })
  expect(output.slice(output.indexOf("FAILED: test/a.test.ts"))).toContain(message)
  expect(output).not.toContain("FAILED: test/b.test.ts")
})

test("scripts/test-lanes.ts kills a file that hangs, with what it has started", async () => {
  const hang = `test("bad", () => {
    console.log("pid", Bun.spawn(["sleep", "600"]).pid)
    for (;;);
  })`
  const { exitCode, output, totals } = run({ a: hang, b: GOOD }, [], 5000)
  expect(exitCode).toBe(1)
  expect(totals).toEqual({ tests: 2, failures: 1, skipped: 0 })
  expect(output).toContain("FAILED: test/a.test.ts\n  it took longer than 5 s")
  const pid = Number(/pid (\d+)/.exec(output)?.[1])
  await until("what it has started has ended", () => commandOf(pid) === "")
})

test("scripts/test-lanes.ts loses no file when all time is over", () => {
  const hang = `test("bad", () => { for (;;); })`
  // As many hang as there are lanes, and one is left.
  const hanging = { a: hang, c: hang, e: hang, f: hang, g: hang, h: hang }
  const files = { ...hanging, b: GOOD, d: GOOD, i: GOOD }
  const { totals } = run(files, [], 60_000, ["timeout", "5"])
  expect(totals).toEqual({ tests: 9, failures: 7, skipped: 0 })
})

/** Empty when it has ended, though nobody may have asked for its exit code. */
function commandOf(pid: number): string {
  const path = `/proc/${pid}/cmdline`
  return existsSync(path) ? readFileSync(path, "utf8") : ""
}

test("scripts/test-lanes.ts runs what is chosen by a part of its path", () => {
  const files = { one: GOOD, two: GOOD, other: GOOD }
  expect(run(files, ["./test/one.test.ts", "tw"]).totals.tests).toBe(2)
  const { exitCode, output } = run(files, ["one", "nothing"])
  expect(exitCode).toBe(1)
  expect(output).toContain("ERROR: Cannot run nothing")
})
