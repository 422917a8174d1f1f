/**
 * Runs the files of tests for `scripts/test`, some side by side: most of them wait more than they compute.
 *
 *     bun scripts/test-lanes.ts REPORTS_DIR [PART_OF_A_PATH…]
 *
 * Each file has a `bun test` of its own, with a time limit, and with a TMPDIR and ports that no other file has at that
 * time. What it prints is shown when it has ended, in one piece. REPORTS_DIR gets a JUnit report for each file; one that
 * failed and does not say which test it was (it hung, crashed, or has none) gets a report with one failure.
 */

import { chmodSync, closeSync, globSync, mkdirSync, openSync, readFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join, relative } from "node:path"
import type { Subprocess } from "bun"
import { readReport, writeFailure } from "./junit.ts"

/**
 * Three for each core of the machines that this is run on: a file of tests waits for something two thirds of the time,
 * for a process that starts, a disk, a lease that ends.
 */
const LANES = 6
const FILE_LIMIT_MS = Number(process.env.LITEFS_TEST_LIMIT_MS ?? 400_000)

/** Those that take longest, or a lane would have nothing to do while the other is busy with one of them. */
const FIRST = [
  "test/attacks/crowds.mount.test.ts",
  "test/mount/elected-failures.mount.test.ts",
  "test/mount/sync-replicas.mount.test.ts",
  "test/mount/behind-roles.mount.test.ts",
  "test/docs.mount.test.ts",
  "test/conformance/conformance.mount.test.ts",
  "test/recovery/power-cut.test.ts",
  "test/mount/wal-replica.mount.test.ts",
  "test/mount/faults.mount.test.ts",
  "test/mount/handoff-kill.mount.test.ts",
  "test/mount/halt.mount.test.ts",
  "test/mount/restarts.mount.test.ts",
  "test/mount/import-export.mount.test.ts",
  "test/mount/forward-writes.mount.test.ts",
  "test/mount/diverged.mount.test.ts",
  "test/attacks/http2.mount.test.ts",
  "test/mount/start-orders.mount.test.ts",
  "test/mount/descriptors.mount.test.ts",
  "test/proxy/proxy.mount.test.ts",
  "test/mount/elected.mount.test.ts",
  "test/mount/half-applied.mount.test.ts",
  "test/mount/lifecycle.mount.test.ts",
  "test/mount/lock-page.mount.test.ts",
  "test/http/status-page.mount.test.ts",
  "test/mount/promote.mount.test.ts",
  "test/mount/behind.mount.test.ts",
  "test/mount/takeover.mount.test.ts",
  "test/mount/writers.mount.test.ts",
  "test/mount/halt-kill.mount.test.ts",
  "test/mount/kill.mount.test.ts",
  "test/mount/journal-modes.mount.test.ts",
  "test/mount/links.mount.test.ts",
  "test/mount/left-out.mount.test.ts",
  "test/mount/status.mount.test.ts",
  "test/cluster/lease-contract.test.ts",
]

/**
 * Runs a file of tests in a mount namespace of its own. A test that makes one more has copies of all mounts in it, and
 * those of other files would be busy for as long as it lives. What is left mounted is seen only from inside.
 */
const APART = `"$@"
code=$?
left=$(awk -v dir="$TMPDIR/" 'index($5, dir) == 1 { print $5 }' /proc/self/mountinfo)
if [ -n "$left" ]; then
  echo "left mounted: $left"
  exit 1
fi
[ "$code" -le 128 ] || kill -s $((code - 128)) $$
exit "$code"`
const APART_WORDS = ["unshare", "-m", "--propagation", "slave", "sh", "-c", APART, "sh"]
const canBeApart = Bun.spawnSync(["unshare", "-m", "--propagation", "slave", "true"]).exitCode === 0

/** Without what has every Node process read a hundred certificates before it begins, which takes as long as all else. */
const { NODE_EXTRA_CA_CERTS: _, ...ENVIRONMENT } = process.env

interface Outcome {
  readonly file: string
  readonly seconds: number
  /** Of all processors: of its tests, and of what they have started and seen the end of. */
  readonly cpuSeconds: number
  /** Lines about what failed. */
  readonly failures: readonly string[]
}

const [reportsDir = "", ...given] = process.argv.slice(2)
const parts = given.map((part) => relative(".", part))
const files = chosenFiles()
const outcomes: Outcome[] = []

const queue = [...files]
const running = new Map<string, Subprocess>()
process.once("SIGTERM", giveUp)
await Promise.all(Array.from({ length: LANES }, (_, lane) => runAll(lane)))

const cpuSeconds = outcomes.reduce((sum, outcome) => sum + outcome.cpuSeconds, 0)
console.log(`\n${cpuSeconds.toFixed(0)} s of CPU, and files that took longest:`)
const slowest = outcomes.toSorted((a, b) => b.seconds - a.seconds)
for (const outcome of slowest.slice(0, 30)) {
  const [seconds, cpu] = [outcome.seconds, outcome.cpuSeconds].map((n) => n.toFixed(1).padStart(6))
  console.log(`${seconds} s ${cpu} s of CPU ${outcome.file}`)
}
const unwell = outcomes.filter(({ failures }) => failures.length > 0)
for (const { file, failures } of unwell) {
  console.log(`\nFAILED: ${file}`)
  for (const line of failures) console.log(`  ${line}`)
}
process.exit(unwell.length > 0 ? 1 : 0)

/** In the order in which they start. */
function chosenFiles(): string[] {
  const all = globSync("test/**/*.test.ts").sort(
    (a, b) => rankOf(a) - rankOf(b) || (a < b ? -1 : 1),
  )
  for (const part of parts) {
    if (all.some((file) => file.includes(part))) continue
    console.error(`ERROR: Cannot run ${part}: no file of tests has that in its path`)
    process.exit(1)
  }
  return parts.length === 0 ? all : all.filter((file) => parts.some((part) => file.includes(part)))
}

function rankOf(file: string): number {
  const place = FIRST.indexOf(file)
  if (place >= 0) return place
  return FIRST.length + (file.includes(".mount.") ? 0 : 1)
}

/** Takes from the queue until nothing is left. */
async function runAll(lane: number): Promise<void> {
  for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
    outcomes.push(await runFile(file, lane))
  }
}

async function runFile(file: string, lane: number): Promise<Outcome> {
  const name = String(files.indexOf(file))
  const report = join(reportsDir, `${name}.xml`)
  const outputPath = join(reportsDir, `${name}.log`)
  const directory = join(tmpdir(), name)
  mkdirSync(directory)
  chmodSync(directory, 0o755) // some tests are somebody who is not root
  const output = openSync(outputPath, "w")
  const startMs = performance.now()
  const child = Bun.spawn({
    cmd: [
      ...(canBeApart ? APART_WORDS : []),
      ...[process.execPath, "test", `./${file}`, "--timeout=60000"],
      ...["--reporter=junit", `--reporter-outfile=${report}`],
    ],
    stdio: ["ignore", output, output],
    env: { ...ENVIRONMENT, TMPDIR: directory, LITEFS_TEST_LANE: `${lane}/${LANES}` },
    detached: true, // a process group, with everything that the tests start
  })
  closeSync(output)
  running.set(file, child)
  let isLate = false
  const limit = setTimeout(() => {
    isLate = true
    killAll(child)
  }, FILE_LIMIT_MS)
  const code = await child.exited
  clearTimeout(limit)
  running.delete(file)
  const seconds = (performance.now() - startMs) / 1000

  const text = readFileSync(outputPath, "utf8")
  process.stdout.write(`\n${text.replace(/^bun test v.*\s+/, "")}`)
  const failures = text.split("\n").filter((line) => line.startsWith("(fail)"))
  const { tests, failures: failed } = readReport(report)
  // One that ends its own process ends well, and says nothing.
  if (tests === 0 || (code !== 0 && failed === 0)) {
    writeFailure(join(reportsDir, `${name}-failure.xml`))
    const end = child.signalCode ?? `exit code ${code}`
    const why = isLate ? `it took longer than ${FILE_LIMIT_MS / 1000} s` : `it ended with ${end}`
    failures.push(`${why}, and ${tests === 0 ? "no test of it was done" : "no test of it failed"}`)
  }
  const cpuSeconds = Number(child.resourceUsage()?.cpuTime.total ?? 0) / 1e6
  return { file, seconds, cpuSeconds, failures }
}

function killAll({ pid }: Subprocess): void {
  process.kill(-pid, "SIGKILL")
}

/** All time is over: what has not ended has failed. */
function giveUp(): never {
  for (const child of running.values()) killAll(child)
  for (const [index, file] of files.entries()) {
    if (outcomes.some((outcome) => outcome.file === file)) continue
    writeFailure(join(reportsDir, `${index}-failure.xml`))
    console.log(`FAILED: ${file}\n  there was no time left for it`)
  }
  process.exit(1)
}
