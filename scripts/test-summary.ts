/**
 * Prints the last line of `scripts/test` and exits with 1 when anything failed.
 *
 *     bun scripts/test-summary.ts REPORTS_DIR [BROKEN_CHECK…]
 *
 * A check that broke counts as one failure, except the one for the tests when the reports already
 * say which of them failed. No report, or none with tests, is a failure too.
 */
import { readReports } from "./junit.ts"

const [reportsDir = "", ...broken] = process.argv.slice(2)
const { tests, failures, skipped } = readReports(reportsDir)

const others = broken.filter((check) => check !== "tests" || failures === 0)
for (const check of others) console.log(`FAILED: ${check}`)
if (tests === 0 && others.length === 0) others.push("no tests")

const passed = tests - failures - skipped
const failed = failures + others.length
console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`)
process.exit(failed > 0 ? 1 : 0)
