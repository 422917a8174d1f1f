/**
 * The long form of the kill tests. Run it through `scripts/torture`; test/mount/kill.mount.test.ts is the short
 * one.
 *
 * A job is a kind of torture in one journal mode, with a number of kills to reach. The jobs take turns, a round
 * each. Round i of a job uses seed + i, so a round that failed is repeated with the seed it prints:
 * `--seed THAT --only KIND --mode MODE`.
 */
import { availableParallelism } from "node:os"
import { parseArgs } from "node:util"
import { formatSize } from "../src/lib/size.ts"
import { MEMORY } from "../test/support/node.ts"
import { Random } from "../test/support/random.ts"
import { clientKill } from "../test/torture/client-kill.ts"
import { daemonKill } from "../test/torture/daemon-kill.ts"
import { failovers } from "../test/torture/failovers.ts"
import { sweep } from "../test/torture/fault-sweep.ts"
import { halt } from "../test/torture/halt.ts"
import { handoffKills, handoffs, noHandoffsResult } from "../test/torture/handoffs.ts"
import { largeKill } from "../test/torture/large-kill.ts"
import { linkFaults } from "../test/torture/link-faults.ts"
import { lockPage } from "../test/torture/lock-page.ts"
import { MODES, type Mode } from "../test/torture/model.ts"
import { noPowerCutResult, powerCut } from "../test/torture/power-cut.ts"
import { proxyPairs } from "../test/torture/proxy-pairs.ts"
import { readers } from "../test/torture/readers.ts"
import { roles } from "../test/torture/roles.ts"
import type { Result } from "../test/torture/round.ts"
import { shrink } from "../test/torture/shrink.ts"
import { SiteChoice } from "../test/torture/site-choice.ts"
import { noStartFaultsResult, STARTS_ON, startFaults } from "../test/torture/start-faults.ts"
import { DURATIONS, noSweepResult, type SweepResult } from "../test/torture/sweep.ts"
import { type OperationUsage, TIMES_MEASURED, upkeepFaults } from "../test/torture/upkeep-faults.ts"
import { TIMES_USED, usage } from "../test/torture/usage.ts"

const KINDS = [
  "client",
  "daemon",
  "large",
  "links",
  "readers",
  "shrink",
  "faults",
  "starts",
  "upkeep",
  "usage",
  "power",
  "lockpage",
  "proxy",
  "handoff",
  "roles",
  "halt",
  "acks",
] as const
type Kind = (typeof KINDS)[number]

const CLIENT_KILLS = 2000
const DAEMON_KILLS = 500
const LARGE_KILLS = 50 // in each mode
const LINK_FAULTS = 500
const READER_ROUNDS = 5
const READER_ROUND_MS = 120_000
const SHRINK_ROUNDS = 3
const SHRINK_MIB = 200
const POWER_CUTS = 5000
const HANDOFFS = 200 // in each mode
const ROLE_ROUNDS = 125 // in each mode
const HALT_ROUNDS = 20
const FAILOVERS = 250 // in each mode
const FAILURES_MAX = 20
const PROXY_PAIRS = 10_000
const LOCK_PAGE_SIZES = [65536, 4096] as const

const { values } = parseArgs({
  options: {
    seed: { type: "string" },
    minutes: { type: "string" },
    only: { type: "string" },
    mode: { type: "string" },
    capture: { type: "string" }, // strict: nobody writes past a node that is not told to allow it
    rounds: { type: "string" }, // of each job
    mib: { type: "string" }, // that a database grows to before it shrinks
    at: { type: "string" }, // the node that has faults
    call: { type: "string" }, // faults of calls with this in their name
    pairs: { type: "string" }, // of nodes that have faults side by side
    part: { type: "string" }, // 2/8: the second of eight parts of all faults
    operation: { type: "string" }, // of upkeep: the one of that name
    every: { type: "boolean" }, // of upkeep: all calls, not some of each place
  },
})

/** Kills, faults of links, power cuts, handoffs, forced promotions, or rounds where there are none. */
const GOALS: Record<Kind, number> = {
  client: CLIENT_KILLS,
  daemon: DAEMON_KILLS,
  large: LARGE_KILLS,
  links: LINK_FAULTS,
  readers: READER_ROUNDS,
  shrink: SHRINK_ROUNDS,
  faults: values.at === undefined ? 2 : 1, // on the primary, on the replica
  starts: values.at === undefined ? 2 : 1,
  upkeep: values.at === undefined ? 2 : 1,
  usage: 1,
  power: POWER_CUTS,
  lockpage: LOCK_PAGE_SIZES.length,
  proxy: 1,
  handoff: HANDOFFS,
  roles: ROLE_ROUNDS,
  halt: HALT_ROUNDS,
  acks: FAILOVERS,
}

interface Job {
  readonly kind: Kind
  readonly mode: Mode
  readonly goal: number
  readonly result: Result
  /** Of handoffs: how long nobody took writes. */
  readonly gapsMs: number[]
  rounds: number
  failures: number
}

const targets = numberOf("pairs", values.pairs ?? String(2 * availableParallelism()))
const seed = values.seed === undefined ? Date.now() >>> 0 : numberOf("seed", values.seed)
const minutes = values.minutes === undefined ? Infinity : numberOf("minutes", values.minutes)
const roundsMax = values.rounds === undefined ? Infinity : numberOf("rounds", values.rounds)
const sizeMiB = values.mib === undefined ? SHRINK_MIB : numberOf("mib", values.mib)
const kinds = values.only === undefined ? KINDS : [oneOf("only", values.only, KINDS)]
const allModes: readonly Mode[] = [...MODES, "mixed"]
const modes = values.mode === undefined ? allModes : [oneOf("mode", values.mode, allModes)]
if (values.capture !== undefined) {
  process.env.LITEFS_CAPTURE = oneOf("capture", values.capture, ["auto", "strict"])
}
console.log(`seed ${seed}`)

const jobs: Job[] = kinds.flatMap((kind) =>
  modes
    .filter((mode) => ["client", "daemon", "links"].includes(kind) || mode !== "mixed")
    .map((mode) => ({
      kind,
      mode,
      goal: GOALS[kind],
      result: { kills: 0, acknowledged: 0, unended: 0 },
      gapsMs: [],
      rounds: 0,
      failures: 0,
    })),
)

const choices = new Map<string, SiteChoice>() // by the node that has faults
const places = new Map<string, Pick<SweepResult, "sites" | "met">>()
const startedMs = Date.now()
let isInterrupted = false
process.stdout.on("error", () => {
  isInterrupted = true // nobody reads any more: head(1)
})
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => {
    isInterrupted = true // after the round, so that nothing stays mounted
  })
}

for (;;) {
  const failures = jobs.reduce((sum, job) => sum + job.failures, 0)
  if (isInterrupted || failures >= FAILURES_MAX) break
  if (Date.now() - startedMs > minutes * 60_000) break
  const open = jobs.filter((job) => progress(job) < 1 && job.rounds < roundsMax)
  const job = open.sort((a, b) => progress(a) - progress(b))[0]
  if (job === undefined) break
  await runRound(job)
}

for (const job of jobs) console.log(lineOf(job))
const total = (of: (job: Job) => number) => jobs.reduce((sum, job) => sum + of(job), 0)
const failures = total((job) => job.failures)
console.log(
  `${total((job) => job.rounds)} rounds, ${total((job) => job.result.kills)} kills, ${failures} failures`,
)
process.exit(failures > 0 ? 1 : 0)

async function runRound(job: Job): Promise<void> {
  const roundSeed = (seed + job.rounds) >>> 0
  const random = new Random(roundSeed)
  const { kind, mode, result } = job
  job.rounds += 1
  const roundStartMs = Date.now()
  try {
    if (kind === "client") await clientKill({ random, mode, kills: 50, result })
    else if (kind === "daemon") await daemonKill({ random, mode, kills: 25, result })
    else if (kind === "links")
      await linkFaults({ random, mode, faults: 20, mayBeLong: true, result })
    else if (mode === "mixed") return
    else if (kind === "large") {
      const hits = await largeKill({ random, mode, kills: 10, result })
      console.log(`large ${mode}: ${hits} of 10 kills met old pages on disk`)
    } else if (kind === "handoff") await handOver(job, random, mode)
    else if (kind === "acks") await failOver(job, random, mode)
    else if (kind === "roles") await roles({ random, mode, rounds: 25, result })
    else if (kind === "halt")
      await halt({ random, mode, faults: 20, transactions: 1000, mayBeLong: true, result })
    else if (kind === "readers") await readLong(job, random, mode)
    else if (kind === "shrink") {
      const waits = await shrink({ random, mode, sizeMiB, cycles: 2 })
      const { statementMs, primaryMs, replicaMs } = waits
      console.log(
        `readers waited up to ${primaryMs} ms on the primary, ${replicaMs} ms on the replica; the longest statement took ${statementMs} ms`,
      )
    } else if (kind === "faults") await sweepAll(job, random, mode)
    else if (kind === "proxy") await proxyPairs({ random, mode, pairs: PROXY_PAIRS })
    else if (kind === "starts") await failStarts(job, random, mode)
    else if (kind === "upkeep") await sweepAll(job, random, mode)
    else if (kind === "usage") await measureAll(job, random, mode)
    else if (kind === "lockpage") {
      await lockPage({ mode, pageSize: LOCK_PAGE_SIZES[(job.rounds - 1) % 2] ?? 65536 })
    } else await cutPower(job, random, mode)
    console.log(`${lineOf(job)}, ${((Date.now() - roundStartMs) / 1000).toFixed(1)} s`)
  } catch (error) {
    job.failures += 1
    const message = error instanceof Error ? error.message : String(error)
    console.log(`FAILED: --seed ${roundSeed} --only ${kind} --mode ${mode}\n${message}`)
  }
}

async function handOver(job: Job, random: Random, mode: Exclude<Mode, "mixed">): Promise<void> {
  const result = noHandoffsResult()
  await handoffs({ random, mode, handoffs: 50, result })
  await handoffKills({ random, mode, handoffs: 10, result })
  job.result.kills += result.kills
  job.result.acknowledged += result.acknowledged
  job.gapsMs.push(...result.gapsMs)
  const gapsMs = job.gapsMs.toSorted((a, b) => a - b)
  const median = gapsMs[Math.floor(gapsMs.length / 2)]
  const gaps = `no commit for ${median} ms (median), ${gapsMs.at(-1)} ms (worst)`
  console.log(`handoff ${mode}: ${gapsMs.length} without a kill, ${gaps}`)
}

async function failOver(job: Job, random: Random, mode: Exclude<Mode, "mixed">): Promise<void> {
  const result = noHandoffsResult()
  try {
    await failovers({ random, mode, failovers: 25, result })
  } finally {
    job.result.kills += result.kills
    job.result.acknowledged += result.acknowledged
    job.gapsMs.push(...result.gapsMs)
  }
  const gapsMs = job.gapsMs.toSorted((a, b) => a - b)
  const median = gapsMs[Math.floor(gapsMs.length / 2)]
  const gaps = `no commit for ${median} ms (median), ${gapsMs.at(-1)} ms (worst)`
  console.log(`acks ${mode}: ${gapsMs.length} failovers, ${gaps}`)
}

async function readLong(job: Job, random: Random, mode: Exclude<Mode, "mixed">): Promise<void> {
  const roundMs = Math.min(READER_ROUND_MS, shareMs())
  const { reads, transactions, behind, walSize } = await readers({ random, mode, roundMs })
  job.result.acknowledged += transactions
  const tenths = Array.from({ length: 10 }, (_, tenth) =>
    behind.filter((_, index) => Math.floor((index * 10) / behind.length) === tenth),
  )
  const most = tenths.map((part) => Math.max(0, ...part)).join(" ")
  console.log(`readers ${mode}: ${reads} reads, WAL of the replica ${formatSize(walSize)}`)
  console.log(`transactions behind at most, in each tenth of the round: ${most}`)
}

/** Of the time that is left, what is due to one round. */
function shareMs(): number {
  const rounds = jobs.reduce((sum, { goal, rounds }) => sum + goal - rounds, 1)
  return Math.min((minutes * 60_000 - (Date.now() - startedMs)) / rounds, 6 * 3600_000)
}

/** Every fault of every call, for as long as there is time. */
async function sweepAll(job: Job, random: Random, mode: Exclude<Mode, "mixed">): Promise<void> {
  const at = nodeOf(job)
  const result = { ...noSweepResult(), ...placesOf(at) }
  const limitMs = shareMs()
  const startMs = Date.now()
  const onFailure = failureOf(job, random, at)
  const onFound = (label: string, count: number) => {
    const seconds = ((Date.now() - startMs) / 1000).toFixed(0)
    console.log(`${job.kind} ${mode}: ${count} faults of ${label}, after ${seconds} s`)
  }
  const how = {
    ...{ random, mode, at, sample: Infinity, limitMs, scratch: MEMORY, result, onFailure, onFound },
    ...{ only: values.call ?? "", part: partOf(values.part ?? "1/1"), targets },
  }
  try {
    if (job.kind === "faults") await sweep({ ...how, durations: ["once", "lifted", "kill", "end"] })
    else
      await upkeepFaults({
        ...how,
        ...measuring(at),
        durations: DURATIONS,
        operation: values.operation,
        sharesModes: values.mode === undefined,
        choice: choiceAt(at, random),
      })
  } finally {
    const unknown = [...result.unknown].map(([op, count]) => `${op} ${count}`).join(", ")
    const { faults, hits, left, ops, calls, restarts } = result
    console.log(
      `${job.kind} ${mode} on the ${at}: ${faults} faults, ${hits} of them at a call, of ${ops.size} kinds; ` +
        `${left} left for want of time, ${restarts} restarts, ${result.failures} failures, ` +
        `${((Date.now() - startMs) / 1000).toFixed(0)} s; failed commits that are there: ${unknown || "none"}`,
    )
    if (result.sites.size > 0) tellOfSites(result)
    console.log(`calls: ${[...ops].sort().join(" ")}`)
    const others = [...calls].filter((op) => !ops.has(op))
    if (others.length > 0) console.log(`calls without a fault: ${others.sort().join(" ")}`)
  }
}

/** What one mode has found counts for the others. */
function choiceAt(at: string, { seed }: Random): SiteChoice {
  const choice = choices.get(at)
  if (choice !== undefined) return choice
  const { every: isEvery = false, call: only = "" } = values
  const made = new SiteChoice({ seed, durations: DURATIONS, isEvery, only })
  choices.set(at, made)
  return made
}

/** Of all modes together. */
function placesOf(at: string): Pick<SweepResult, "sites" | "met"> {
  const known = places.get(at) ?? { sites: new Set(), met: new Set() }
  places.set(at, known)
  return known
}

function tellOfSites({ faults, counted, sites, met }: SweepResult): void {
  const others = [...sites].filter((site) => !met.has(site)).sort()
  const list = others.length === 0 ? "" : `: ${others.join(" ")}`
  console.log(
    `${faults} faults stand for ${counted} calls; of ${sites.size} places in all modes so far ${others.length} have had none${list}`,
  )
}

/** Both nodes are measured, with the first part of all. */
function measuring(at: string): { onUsage?: (usage: OperationUsage) => void } {
  if (at !== "primary" || partOf(values.part ?? "1/1").index > 0) return {}
  return { onUsage: usageTable(TIMES_MEASURED) }
}

/** What every operation leaves open, and how much memory. */
async function measureAll(job: Job, random: Random, mode: Exclude<Mode, "mixed">): Promise<void> {
  const how = { random, mode, sample: 1, limitMs: Infinity, scratch: MEMORY, durations: DURATIONS }
  const result = noSweepResult()
  const onFailure = failureOf(job, random, "primary")
  await usage({ ...how, result, onFailure, operation: values.operation }, usageTable(TIMES_USED))
}

function usageTable(times: number): (usage: OperationUsage) => void {
  let isFirst = true
  return ({ operation, node, before, after }) => {
    if (isFirst)
      console.log(`operation, ${times} times  node     files        resident   anonymous`)
    isFirst = false
    const files = [before, after].map((usage) => String(usage.files.length).padStart(4))
    const sizes = (["residentSize", "anonymousSize"] as const).map((size) =>
      [before, after].map((usage) => formatSize(usage[size])).join(" → "),
    )
    console.log(
      `${operation.padEnd(19)}  ${node.padEnd(7)} ${files.join(" →")}   ${sizes.join("   ")}`,
    )
  }
}

/** 2/8 is the second of eight parts. */
function partOf(text: string): { index: number; count: number } {
  const [part = 0, count = 0] = text.split("/").map((word) => numberOf("part", word))
  if (part < 1 || part > count) refuse(`--part takes K/N, K from 1 to N, not "${text}"`)
  return { index: part - 1, count }
}

function failureOf(job: Job, random: Random, at: string): (text: string) => void {
  return (text) => {
    job.failures += 1
    const how = `--seed ${random.seed} --only ${job.kind} --mode ${job.mode} --at ${at}`
    console.log(`FAILED: ${how}\n${text}`)
  }
}

/** Which node has the faults. */
function nodeOf({ rounds }: Job): "primary" | "replica" {
  if (values.at !== undefined) return oneOf("at", values.at, ["primary", "replica"] as const)
  return rounds % 2 === 1 ? "primary" : "replica"
}

async function failStarts(job: Job, random: Random, mode: Exclude<Mode, "mixed">): Promise<void> {
  const at = nodeOf(job)
  const part = partOf(values.part ?? "1/1")
  const onFailure = failureOf(job, random, at)
  for (const on of STARTS_ON[at]) {
    const result = noStartFaultsResult()
    const [startMs, limitMs] = [Date.now(), shareMs() / STARTS_ON[at].length]
    const how = { at, on, sample: Infinity, limitMs, scratch: MEMORY, part }
    try {
      await startFaults({ random, mode, ...how, result, onFailure })
    } finally {
      const { faults, hits, ops, refusals, failures } = result
      console.log(
        `starts ${mode} of the ${at} on ${on}: ${faults} faults, ${hits} of them at a call, of ${ops.size} kinds; ` +
          `${refusals} did not start, ${failures} failures, ${((Date.now() - startMs) / 1000).toFixed(0)} s`,
      )
      console.log(`calls: ${[...ops].sort().join(", ")}`)
    }
  }
}

async function cutPower(job: Job, random: Random, mode: Exclude<Mode, "mixed">): Promise<void> {
  const result = noPowerCutResult()
  const synchronous = random.pick(["full", "normal"] as const)
  const node = random.pick(["primary", "primary", "replica"] as const)
  const maintains = random.below(2) === 0
  const picked = random.pick(["strict", "behind"] as const)
  const capture = values.capture === "strict" ? "strict" : picked
  const common = { random, mode, synchronous, node, capture, maintains, result }
  await powerCut({ ...common, transactions: 100, cuts: 150 })
  job.result.kills += result.cuts + result.recoveryCuts + result.recoveryFaults
  job.result.acknowledged += result.acknowledged
}

function progress(job: Job): number {
  const countsRounds = !["client", "daemon", "large", "power", "handoff", "roles", "acks"].includes(
    job.kind,
  )
  return (countsRounds ? job.rounds : job.result.kills) / job.goal + job.rounds * 1e-6
}

function lineOf({ kind, mode, rounds, result, failures }: Job): string {
  const { kills, acknowledged, unended } = result
  const hung = unended > 0 ? `, ${unended} clients outlived their daemon` : ""
  return `${kind} ${mode}: ${rounds} rounds, ${kills} kills, ${acknowledged} transactions, ${failures} failures${hung}`
}

function numberOf(name: string, text: string): number {
  const number = Number(text)
  if (text !== "" && Number.isFinite(number) && number >= 0) return number
  return refuse(`--${name} takes a number, not "${text}"`)
}

function oneOf<T extends string>(name: string, text: string, from: readonly T[]): T {
  const found = from.find((each) => each === text)
  return found ?? refuse(`--${name} takes ${from.join(", ")}, not "${text}"`)
}

function refuse(problem: string): never {
  console.error(`ERROR: ${problem}`)
  process.exit(2)
}
