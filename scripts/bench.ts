/**
 * What a client of the mount gets, beside plain ext4 and beside a pass-through mount of fuse-native. Run it through
 * `scripts/bench`, which says how.
 *
 * The machine is noisy, and a FUSE round trip costs 10 µs or 60 µs, depending on where the scheduler puts the two
 * sides. So in each round each workload runs on all sides, one right after the other, and ratios are those of a round.
 */
import { execFileSync } from "node:child_process"
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { availableParallelism, cpus, loadavg, release, totalmem } from "node:os"
import { parseArgs } from "node:util"
import { Scope } from "../test/support/node.ts"
import { type Amount, fdatasyncUs, measure } from "./benchmark/measurement.ts"
import { renewedPage, reportOf } from "./benchmark/report.ts"
import type { DiskSample, Machine, Results, Sample } from "./benchmark/results.ts"
import { litefsSide, peerSide, plainSide, type Side } from "./benchmark/sides.ts"
import { type Workload, workloadsNamed } from "./benchmark/workloads.ts"

const PAGE = "docs/benchmarks.md"
const USUAL: Amount = { ms: 700, mb: 100, commits: 200 }
const QUICK: Amount = { ms: 200, mb: 10, commits: 50 }

const { values, workloads, flags } = settings()
const rounds = Number(values.rounds ?? (values.quick ? 1 : 5))
const results: Results =
  values.from === undefined ? await run() : JSON.parse(readFileSync(values.from, "utf8"))
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(results, null, 1)}\n`)
if (values.page) writeFileSync(PAGE, renewedPage(readFileSync(PAGE, "utf8"), results))
console.log(reportOf(results))

function settings() {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        only: { type: "string", multiple: true, default: [] },
        rounds: { type: "string" },
        quick: { type: "boolean", default: false },
        json: { type: "string" },
        from: { type: "string" },
        page: { type: "boolean", default: false },
        image: { type: "boolean", default: false }, // scripts/bench has made it
      },
    })
    if (!/^[1-9]\d*$/.test(values.rounds ?? "1")) {
      throw new RangeError(`Cannot measure ${values.rounds} rounds: it should be a number from 1`)
    }
    if (positionals[0]?.startsWith("-") === false) {
      throw new RangeError(`Cannot measure "${positionals[0]}": name a workload with --only`)
    }
    return { values, workloads: workloadsNamed(values.only), flags: positionals }
  } catch (error) {
    console.error(`ERROR: ${(error as Error).message}`)
    process.exit(2)
  }
}

async function run(): Promise<Results> {
  const machine = machineOf()
  await using scope = new Scope()
  const plain = plainSide(scope)
  const sides = [plain]
  let peerProblem: string | undefined
  try {
    sides.push(await peerSide(scope))
  } catch (error) {
    peerProblem = (error as Error).message
  }
  sides.push(await litefsSide(scope, flags))
  const [samples, disk]: [Sample[], DiskSample[]] = [[], []]
  for (let round = 0; round < rounds; round++) {
    for (const workload of workloads) {
      const { name } = workload
      disk.push({ workload: name, round, fdatasyncUs: fdatasyncUs(plain.place.written) })
      for (const side of inTurn(sides, round)) {
        const figures = await measured(workload, side, round)
        if (figures !== undefined)
          samples.push({ workload: name, side: side.name, round, ...figures })
      }
    }
  }
  return {
    date: new Date().toISOString(),
    command: ["scripts/bench", ...process.argv.slice(2)].join(" "),
    machine: { ...machine, fileSystem: fileSystemOf(plain.place.written) },
    rounds,
    peerProblem,
    samples,
    disk,
  }
}

async function measured(workload: Workload, side: Side, round: number) {
  const figures = await measure(workload, side, values.quick ? QUICK : USUAL)
  if (figures !== undefined) {
    const result = `${workload.name} ${side.name}: ${figures.value.toFixed(0)} ${workload.unit}`
    console.error(`round ${round + 1}/${rounds} ${result}`)
  }
  return figures
}

/** Another one is the first in each round. */
function inTurn(sides: readonly Side[], round: number): readonly Side[] {
  const first = round % sides.length
  return [...sides.slice(first), ...sides.slice(0, first)]
}

function machineOf(): Omit<Machine, "fileSystem"> {
  return {
    processor: cpus()[0]?.model ?? "unknown",
    cores: availableParallelism(),
    memoryGiB: totalmem() / 2 ** 30,
    kernel: release(),
    node: execFileSync("node", ["--version"], { encoding: "utf8" }).trim(),
    bun: Bun.version,
    load: loadavg()[0] ?? Number.NaN,
  }
}

function fileSystemOf(path: string): string {
  const columns = ["-n", "-r", "-o", "FSTYPE,SOURCE", "-T", path]
  const [type = "", source = ""] = execFileSync("findmnt", columns, { encoding: "utf8" })
    .trim()
    .split(" ")
  if (type !== "ext4") return type
  const device = source.slice(source.lastIndexOf("/") + 1)
  const journals = existsSync("/proc/fs/jbd2") ? readdirSync("/proc/fs/jbd2") : []
  const hasJournal = journals.some((name) => name.startsWith(`${device}-`))
  const where = device.startsWith("loop") ? ", in an image" : ""
  return `${type} ${hasJournal ? "with" : "without"} a journal${where}`
}
