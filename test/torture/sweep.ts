/** What sweeps have in common: the faults of all calls, and the loop that makes nodes and has them meet one after the other. */
import { Scope } from "../support/node.ts"
import type { Random } from "../support/random.ts"
import {
  type Call,
  changesNothing,
  errnosOf,
  isIn,
  type Part,
  type SiteCalls,
} from "./call-faults.ts"
import type { Mode } from "./model.ts"

/**
 * `lifted`: from the call on, until the fault is lifted. `untidy`: once, and from then on nothing can be cleared away
 * either. `kill`: the process ends there. `end`: the thread does, and is to take the process with it.
 */
export const DURATIONS = ["once", "lifted", "untidy", "kill", "end"] as const
export type Duration = (typeof DURATIONS)[number]

export interface Fault extends Call {
  readonly errno: "EIO" | "ENOSPC"
  readonly duration: Duration
}

/** What may go wrong with a call. */
export type Failure = Pick<Fault, "errno" | "duration">

export interface SweepOptions {
  readonly random: Random
  readonly mode: Exclude<Mode, "mixed">
  readonly durations: readonly Duration[]
  /** Only calls whose name has this in it. */
  readonly only?: string
  readonly part?: Part
  /** So many of all faults, chosen at random; all when there are fewer. */
  readonly sample: number
  readonly limitMs: number
  /** So many targets meet faults side by side: they wait more than they work. */
  readonly targets?: number
  /** Where the nodes have their directories. */
  readonly scratch: string
  readonly result: SweepResult
  /** So many faults follow. */
  readonly onFound?: (label: string, count: number) => void
  /** What a fault has led to that must not be. The sweep goes on, with new nodes. */
  readonly onFailure: (text: string) => void
}

export interface SweepResult {
  faults: number
  hits: number // of which the node came to the call
  left: number // for which there was no time
  failures: number
  restarts: number
  readonly ops: Set<string>
  /** Every name that was called, with or without a fault. */
  readonly calls: Set<string>
  readonly unknown: Map<string, number> // op: commits that failed and are there
  /** Of a sweep by places: the calls that were counted, the places, and those where a fault was met. */
  counted: number
  readonly sites: Set<string>
  readonly met: Set<string>
}

export function noSweepResult(): SweepResult {
  return {
    faults: 0,
    hits: 0,
    left: 0,
    failures: 0,
    restarts: 0,
    ops: new Set(),
    calls: new Set(),
    unknown: new Map(),
    counted: 0,
    sites: new Set(),
    met: new Set(),
  }
}

export function noteSites(result: SweepResult, sites: readonly SiteCalls[]): void {
  for (const { name, site, count } of sites) {
    result.counted += count
    result.sites.add(`${name}@${site}`)
  }
}

export function noteHit(result: SweepResult, fault: Fault): void {
  const { name, site } = fault
  result.hits += 1
  result.ops.add(opOf(fault))
  if (site !== undefined) result.met.add(`${name}@${site}`)
}

/** Something with nodes in it that meets faults. */
export interface Target {
  /** For the report of a failure. */
  readonly logs: string
  allFaults(): Promise<Fault[]>
  /** Throws when that leads to what must not be. */
  fail(fault: Fault): Promise<void>
  /** Throws when something is left of them that must not be. */
  end?(): Promise<void>
}

const RUNS_PER_TARGET = 60
const FAILURES_MAX = 20
/** Fewer for each target are not worth its start. */
const FAULTS_PER_TARGET_MIN = 20

export async function sweepTargets(
  options: SweepOptions,
  label: string,
  start: (scope: Scope) => Promise<Target>,
): Promise<void> {
  const deadline = Date.now() + options.limitMs
  const { random, sample, result, targets = 1 } = options
  const found = Promise.withResolvers<Fault[]>()
  const find = async (target: Target) => {
    const all = (await target.allFaults()).filter((fault) =>
      isIn(options.part, `${label} ${textOf(fault)}`),
    )
    const chosen = shuffled(all, random).slice(0, sample)
    options.onFound?.(label, chosen.length)
    found.resolve(chosen)
  }
  const sweepOne = async (index: number) => {
    let isFirst = index === 0
    if (!isFirst && (await found.promise).length < index * FAULTS_PER_TARGET_MIN) return
    while (result.failures < FAILURES_MAX) {
      await using scope = new Scope(options.scratch)
      const target = await start(scope)
      if (isFirst) await find(target)
      isFirst = false
      if (await meet(options, label, target, await found.promise, deadline)) return
    }
  }
  const sweeps = Array.from({ length: targets }, (_, index) => sweepOne(index))
  sweeps[0]?.catch(found.reject)
  await Promise.all(sweeps)
}

/** True when no fault is left, or no time for it. */
async function meet(
  options: SweepOptions,
  label: string,
  target: Target,
  faults: Fault[],
  deadline: number,
): Promise<boolean> {
  const { result } = options
  const report = (what: string, error: unknown) => {
    const text = error instanceof Error ? error.stack : String(error)
    options.onFailure(`${options.mode}, ${label}: ${what}: ${text}\n${target.logs}`)
    result.failures += 1
  }
  const met: string[] = []
  let isOver = false
  for (let count = 0; count < RUNS_PER_TARGET; count++) {
    // A machine that is busy may need all of the time to start. One fault at least is met.
    const isLate = Date.now() > deadline && options.result.faults > 0
    const fault = isLate ? undefined : faults.pop()
    isOver = fault === undefined
    if (fault === undefined) break
    met.push(textOf(fault))
    result.faults += 1
    try {
      await target.fail(fault)
    } catch (error) {
      report(`--operation ${label.split(" ")[0]} --call '${textOf(fault)}'`, error)
      return false
    }
  }
  try {
    if (met.length > 0) await target.end?.()
  } catch (error) {
    report(`after ${met.join(", ")}`, error)
  }
  if (isOver) result.left += faults.splice(0).length
  return isOver
}

const MAIN_THREAD = "0/"

export function faultsOf(
  calls: readonly Call[],
  { durations, only = "" }: Pick<SweepOptions, "durations" | "only">,
): Fault[] {
  return calls.flatMap((call) => {
    const { name } = call
    if (!name.includes(only)) return []
    return failuresOf(name, durations).map((failure) => ({ ...call, ...failure }))
  })
}

export function failuresOf(name: string, durations: readonly Duration[]): Failure[] {
  // Clients map that file: a page that cannot be read kills them (SIGBUS).
  if (name.endsWith("/shm:read")) return []
  return durations.flatMap((duration) => {
    if (duration === "end" && name.startsWith(MAIN_THREAD)) return [] // it is the process
    // As well before the next call that does: what is on the disk is the same.
    if (isEnd(duration) && changesNothing(name)) return []
    const errnos = duration === "once" || duration === "lifted" ? errnosOf(name) : ["EIO" as const]
    return errnos.map((errno) => ({ errno, duration }))
  })
}

export function textOf(fault: Fault): string {
  return `${callOf(fault)}=${fault.errno} ${fault.duration}`
}

/** The fault that has this text, if one can have it. */
export function faultOf(text: string): Fault | undefined {
  const match = /^([^@]+)(?:@(\w+))?#(\d+)=(EIO|ENOSPC) (\w+)$/.exec(text)
  const [, name = "", site, nth, errno] = match ?? []
  const duration = DURATIONS.find((each) => each === match?.[5])
  if (duration === undefined) return undefined
  const call = { name, nth: Number(nth), ...(site === undefined ? {} : { site }) }
  return { ...call, errno: errno as Fault["errno"], duration }
}

/** As LITEFS_FAULTS has it. */
export function planOf(fault: Fault): string {
  const { errno, duration } = fault
  if (isEnd(duration)) return `${callOf(fault)}=${duration}`
  const tidying = duration === "untidy" ? `,*:discard#1+=${errno},log:erase#1+=${errno}` : ""
  return `${callOf(fault)}${duration === "lifted" ? "+" : ""}=${errno}${tidying}`
}

function callOf({ name, site, nth }: Call): string {
  return `${name}${site === undefined ? "" : `@${site}`}#${nth}`
}

/** Whether the node has to be started again. */
export function isEnd(duration: Duration): duration is "kill" | "end" {
  return duration === "kill" || duration === "end"
}

/** The name of the call without its thread. */
export function opOf({ name }: Call): string {
  return name.slice(name.indexOf("/") + 1)
}

function shuffled<T>(items: readonly T[], random: Random): T[] {
  return items
    .map((item): [number, T] => [random.u32(), item])
    .sort(([a], [b]) => a - b)
    .map(([, item]) => item)
}
