import { afterAll, beforeAll, expect, test } from "bun:test"
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

const PROGRAM = join(import.meta.dirname, "../../scripts/test-summary.ts")

let dir: string

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "litefs-summary-"))
})
afterAll(() => rmSync(dir, { recursive: true }))

function report(tests: number, failures: number, skipped: number): string {
  const totals = `tests="${tests}" assertions="9" failures="${failures}" skipped="${skipped}"`
  return `<?xml version="1.0"?>\n<testsuites name="bun test" ${totals} time="0.1"></testsuites>`
}

test.each([
  [[report(5, 0, 0)], [], 0, "5 passed, 0 failed"],
  [[report(5, 0, 2)], [], 0, "3 passed, 0 failed, 2 skipped"],
  [[report(5, 1, 2)], ["tests"], 1, "2 passed, 1 failed, 2 skipped"],
  [[report(5, 1, 0)], ["types", "tests"], 1, "4 passed, 2 failed"],
  [[report(5, 0, 0)], ["types"], 1, "5 passed, 1 failed"],
  [[report(5, 0, 0)], ["tests"], 1, "5 passed, 1 failed"], // what runs them has crashed
  [[report(0, 0, 0)], [], 1, "0 passed, 1 failed"],
  [[], [], 1, "0 passed, 1 failed"],
  [[], ["tests"], 1, "0 passed, 1 failed"],
  [[report(5, 0, 2), report(20, 0, 0), report(0, 0, 0)], [], 0, "23 passed, 0 failed, 2 skipped"],
  [[report(5, 1, 2), report(20, 3, 1)], ["tests"], 1, "18 passed, 4 failed, 3 skipped"],
])("scripts/test-summary.ts ends as the checks went: %#", (reports, broken, code, lastLine) => {
  const path = join(dir, "reports")
  rmSync(path, { recursive: true, force: true })
  mkdirSync(path)
  for (const [i, xml] of reports.entries()) writeFileSync(join(path, `${i}.xml`), xml)
  const { stdout, exitCode } = Bun.spawnSync([process.execPath, PROGRAM, path, ...broken])
  expect(stdout.toString().trimEnd().split("\n").at(-1)).toBe(lastLine)
  expect(exitCode).toBe(code)
})
