/**
 * Prints the last line of `scripts/test` and exits with 1 when anything failed.
 *
 *     bun scripts/test-summary.ts JUNIT_XML [BROKEN_CHECK…]
 *
 * A check that broke counts as one failure, except the one for the tests when the report already
 * says which of them failed. No report, or one without tests, is a failure too.
 */
import { existsSync, readFileSync } from "node:fs"

const [reportPath = "", ...broken] = process.argv.slice(2)
const { tests, failures, skipped } = readReport(reportPath)

const others = broken.filter((check) => check !== "tests" || failures === 0)
for (const check of others) console.log(`FAILED: ${check}`)
if (tests === 0 && others.length === 0) others.push("no tests")

const passed = tests - failures - skipped
const failed = failures + others.length
console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`)
process.exit(failed > 0 ? 1 : 0)

/** The totals are attributes of the outermost element. */
function readReport(path: string): { tests: number; failures: number; skipped: number } {
  const report = existsSync(path) ? readFileSync(path, "utf8") : ""
  const totals = /<testsuites\b[^>]*>/.exec(report)?.[0] ?? ""
  const total = (name: string) => Number(new RegExp(`\\b${name}="(\\d+)"`).exec(totals)?.[1] ?? 0)
  return { tests: total("tests"), failures: total("failures"), skipped: total("skipped") }
}
