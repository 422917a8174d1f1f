/**
 * Operations of nodes beside the transactions of clients (upkeep-operations.ts), in which one system call fails, for
 * each call in turn. Clients have the database open on both nodes meanwhile. After each, with the fault gone:
 *
 * 1. The operation has happened whole or not at all, and it has when it said so.
 * 2. integrity_check is content, the log leads to the position, the replica is the same, and clients that had the
 *    database open see that content.
 * 3. The operation succeeds when it is done again, and the database takes the next transaction.
 * 4. When both nodes are started again, everything is there, nothing else is left, and nobody complains.
 *
 * Beside those of the primary, commands on its data directory have faults (command-faults.ts).
 */
import { readdirSync } from "node:fs"
import { join } from "node:path"
import { output, start } from "../support/client.ts"
import { PROGRAM, Scope, type TestNode } from "../support/node.ts"
import { type ProcessUsage, usageOf } from "../support/process-usage.ts"
import { until } from "../support/until.ts"
import type { SiteCalls } from "./call-faults.ts"
import { within } from "./client.ts"
import { COMMANDS, CommandFaults } from "./command-faults.ts"
import { FaultyPair } from "./faulty-pair.ts"
import type { Answer } from "./line-worker.ts"
import { MODES } from "./model.ts"
import { SiteChoice } from "./site-choice.ts"
import {
  type Fault,
  isEnd,
  noteSites,
  type SweepOptions,
  sweepTargets,
  type Target,
} from "./sweep.ts"
import { type Content, OPERATIONS, type Operation, type Outcome } from "./upkeep-operations.ts"

export interface UpkeepOptions extends SweepOptions {
  /** Which node has the faults. */
  readonly at: "primary" | "replica"
  /** The one of that name; without one all. */
  readonly operation?: string | undefined
  /** Told what each operation has left open, before it is swept. */
  readonly onUsage?: (usage: OperationUsage) => void
  /** All modes are swept, so that one of them is enough for what is the same in all. */
  readonly sharesModes?: boolean
  /** Without one all places are new. */
  readonly choice?: SiteChoice
}

/** Of one node, before and after an operation was done several times without a fault. */
export interface OperationUsage {
  readonly operation: string
  readonly node: "primary" | "replica"
  readonly before: ProcessUsage
  readonly after: ProcessUsage
  /** What is open and was not before: files of databases, and whatever else. */
  readonly more: readonly string[]
}

/** Before a sweep. */
export const TIMES_MEASURED = 3

export async function upkeepFaults(options: UpkeepOptions): Promise<void> {
  const { at, operation: wanted, mode, sharesModes = false } = options
  const choice = options.choice ?? new SiteChoice({ ...options, seed: options.random.seed })
  const isChosen = ({ name }: { readonly name: string }) => wanted === undefined || name === wanted
  const hasCommands = at === "primary" && (!sharesModes || mode === MODES[0])
  for (const command of hasCommands ? COMMANDS.filter(isChosen) : []) {
    await sweepTargets(options, command.name, (scope) =>
      CommandFaults.start(scope, { ...options, choice }, command),
    )
  }
  const chosen = OPERATIONS.filter((each) => isChosen(each) && each.at.includes(at))
  const deadline = Date.now() + options.limitMs
  for (const [index, operation] of chosen.entries()) {
    if (options.onUsage !== undefined) await measure(options, operation, options.onUsage)
    const limitMs = (deadline - Date.now()) / (chosen.length - index)
    await sweepTargets({ ...options, limitMs }, `${operation.name} at ${at}`, (scope) =>
      Upkeep.start(scope, { ...options, choice }, operation),
    )
  }
}

/** What leaks leaves something each time. Nodes rest before they are measured, for so long. */
export async function measure(
  options: UpkeepOptions,
  operation: Operation,
  onUsage: (usage: OperationUsage) => void,
  { times, restMs } = { times: TIMES_MEASURED, restMs: 0 },
): Promise<void> {
  await using scope = new Scope(options.scratch)
  const target = await Upkeep.start(scope, options, operation)
  for (const usage of await target.measure(times, restMs)) {
    onUsage(usage)
    if (!leaks(usage, times)) continue
    const text = `${options.mode}, ${operation.name}: the ${usage.node} has more open: ${usage.more.join(" ")}`
    options.onFailure(`${text}\n${target.logs}`)
    options.result.failures += 1
  }
}

const TIDY_MS_MAX = 10_000
const OTHERS_MIN = 8
const LASTING_MS = 2500
const ENDED_MS = 300

class Upkeep implements Target {
  readonly #pair: FaultyPair
  readonly #options: UpkeepOptions
  readonly #operation: Operation
  #kept: [database: string, content: Content][] = []
  #hasMet: boolean | undefined
  /** Databases in whose transactions the node was ended. */
  readonly #ended = new Set<string>()

  static async start(scope: Scope, options: UpkeepOptions, operation: Operation): Promise<Upkeep> {
    const { flags = [], hasLink = false, advertisesLink = false, mayEnd = false } = operation
    return new Upkeep(
      await FaultyPair.start(scope, { ...options, flags, hasLink, advertisesLink, mayEnd }),
      options,
      operation,
    )
  }

  private constructor(pair: FaultyPair, options: UpkeepOptions, operation: Operation) {
    this.#pair = pair
    this.#options = options
    this.#operation = operation
  }

  get logs(): string {
    return this.#pair.logs
  }

  async measure(times: number, restMs: number): Promise<OperationUsage[]> {
    const pair = this.#pair
    await this.#do()
    await Bun.sleep(restMs)
    const nodes = ["primary", "replica"] as const
    const before = nodes.map((node) => usageOf(pair[node].pid))
    for (let time = 0; time < times; time++) await this.#do()
    await Bun.sleep(restMs)
    const deadline = Date.now() + TIDY_MS_MAX
    for (;;) {
      const usages = nodes.map((node, index): OperationUsage => {
        const old = before[index] as ProcessUsage
        const after = usageOf(pair[node].pid)
        const [now, then] = [after, old].map((usage) => kindsOf(usage, pair[node]))
        const more = without(now as string[], then as string[])
        return { operation: this.#operation.name, node, before: old, after, more }
      })
      // What was dropped last may still be on its way out.
      const isTidy = usages.every((usage) => !leaks(usage, times))
      if (isTidy || Date.now() > deadline) return usages
      await Bun.sleep(50)
    }
  }

  /** Without a fault. Returns the calls until it was done. */
  async #do(): Promise<SiteCalls[]> {
    const pair = this.#pair
    const database = pair.newDatabase()
    const prepared = await this.#operation.prepare(pair, database)
    const before = await this.#ready(database, prepared)
    pair.faults.forget()
    const outcome = await this.#operation.act(pair, database, before)
    if (outcome.problem !== undefined) throw new Error(`without a fault: ${outcome.problem}`)
    await pair.caughtUp(database)
    const sites = pair.faults.sites()
    await this.#operation.settle?.(pair, database)
    for (const op of pair.faults.ops) this.#options.result.calls.add(op)
    await pair.ask("release", pair.primary, database)
    await pair.ask("drop", pair.primary, database)
    await pair.caughtUp(database)
    return sites
  }

  async allFaults(): Promise<Fault[]> {
    const { faults } = this.#pair
    const { result, mode, choice } = this.#options
    const { name, isCostly: onlyNew = false } = this.#operation
    await this.#do()
    faults.countSites()
    const sites = await this.#do()
    faults.set("")
    noteSites(result, sites)
    return choice?.faultsOf(name, mode, sites, { onlyNew }) ?? []
  }

  async fail(fault: Fault): Promise<void> {
    const pair = this.#pair
    const { at } = this.#options
    const database = pair.newDatabase()
    const before = await this.#ready(database, await this.#operation.prepare(pair, database))
    if (isEnd(fault.duration)) this.#ended.add(database)
    pair.begin(fault)
    const outcome = await this.#actUnder(fault, database, before)
    if (at === "replica") await pair.comeTo(database, fault.duration)
    const isKilled = (await this.#lift(fault)) && isEnd(fault.duration)
    await this.#operation.settle?.(pair, database)
    const isRestarted = (await pair.restartIfTold()) || isKilled
    const found = await this.#check(database, outcome, !isRestarted)
    // What was refused is possible now.
    const again = await this.#operation.act(pair, database, await this.#ready(database, found))
    if (again.problem !== undefined) throw new Error(`again: ${again.problem}`)
    await this.#operation.settle?.(pair, database)
    const { rows } = await this.#goOn(database, await this.#check(database, again, true))
    await pair.ask("release", pair.primary, database)
    this.#kept.push([database, rows])
  }

  /** What tries again for as long as a fault lasts is not waited for to the end: it is lifted meanwhile. */
  async #actUnder(fault: Fault, database: string, before: Content): Promise<Outcome> {
    const pair = this.#pair
    const acting = this.#operation.act(pair, database, before)
    if (fault.duration === "lifted" && !(await within(LASTING_MS, acting))) pair.faults.set("")
    this.#hasMet = undefined
    if (isEnd(fault.duration) && this.#operation.outlives === true) {
      await Promise.race([acting, pair.node.exited])
      if (!(await within(ENDED_MS, acting))) await this.#lift(fault)
    }
    return acting
  }

  /** Once for a fault, which may be before the operation is over. True when the node has come to it. */
  async #lift(fault: Fault): Promise<boolean> {
    this.#hasMet ??= await this.#pair.lift(fault)
    return this.#hasMet
  }

  async end(): Promise<void> {
    const pair = this.#pair
    const { reaps = false, settle } = this.#operation
    await pair.ask("release", pair.primary, "")
    await pair.restartBoth()
    for (const [database, content] of this.#kept) {
      await settle?.(pair, database)
      await pair.caughtUp(database)
      for (const node of [pair.primary, pair.replica]) {
        const found = await pair.ask("check", node, database)
        expectContent(found, [content], `after a restart, on ${node.directory}`)
      }
    }
    for (const node of [pair.primary, pair.replica]) {
      if (/level=error/.test(node.output)) throw new Error("it complains")
      await this.#untilTidy(node)
    }
    if (!reaps) return
    for (const node of [pair.replica, pair.primary]) {
      await node.stop()
      await output(start([...PROGRAM, "doctor", "--data-dir", node.data]))
    }
  }

  /** What a start has left to look at is looked at, which makes files for a while. */
  async #untilTidy(node: TestNode): Promise<void> {
    const strays = () => straysIn(node).filter((path) => !this.#isKept(path))
    const context = () => strays().join("\n")
    const isTidy = () => strays().length === 0
    await until("nothing is left", isTidy, { limitMs: TIDY_MS_MAX, everyMs: 20, context })
  }

  /**
   * A WAL with a commit that was neither captured nor acknowledged is kept; and the history of a replica that was ended
   * before its client heard that the primary has not taken the commit.
   */
  #isKept(path: string): boolean {
    if (path === "diverged") return true
    const [, wal] = /^dbs\/([^/]+)\/wal\.removed-\d+$/.exec(path) ?? []
    const [, history] = /^diverged\/[^/]+Z-(f\d+\.db)-/.exec(path) ?? []
    return this.#ended.has(wal ?? history ?? "")
  }

  /** Clients have it open on both nodes, and have read it. */
  async #ready(database: string, content: Content): Promise<Content> {
    const pair = this.#pair
    if (content.length > 0) {
      await pair.caughtUp(database)
      const paths = [pair.primary, pair.replica].map(({ mount }) => join(mount, database))
      const { problem } = await pair.ask("hold", pair.primary, database, { paths })
      if (problem !== undefined) throw new Error(`cannot read: ${problem}`)
    }
    return (await this.#operation.ready?.(pair, database, content)) ?? content
  }

  async #check(database: string, outcome: Outcome, isHeld: boolean): Promise<Content> {
    const pair = this.#pair
    const { problem, done, notDone } = outcome
    let answer = await pair.ask("check", pair.primary, database)
    const isRestarted = await pair.restartIfTold()
    if (isRestarted) answer = await pair.ask("check", pair.primary, database)
    const said = problem === undefined ? "it said that it is done" : `it said ${problem}`
    expectContent(answer, problem === undefined ? done : notDone, said)
    const { rows } = answer
    await pair.checkSame(database, false) // what is durable elsewhere goes to the log with the next transaction
    if (isHeld && !isRestarted && this.#operation.mayEnd !== true) {
      const { held, problem } = await pair.ask("held", pair.primary, database)
      if (problem !== undefined) throw new Error(`one that had it open: ${problem}`)
      for (const [index, each] of (held ?? []).entries()) {
        const where = index === 0 ? "primary" : "replica"
        expectContent({ ...answer, ...each }, [rows], `to one on the ${where} that had it open`)
      }
    }
    await pair.ask("release", pair.primary, database)
    return rows
  }

  async #goOn(database: string, before: Content): Promise<Answer> {
    const pair = this.#pair
    const n = 2_000_000
    const { problem } = await pair.ask("add", pair.primary, database, { n })
    if (problem !== undefined) throw new Error(`it does not go on: ${problem}`)
    const found = await pair.ask("check", pair.primary, database)
    expectContent(found, [[...before, n]], "after another transaction")
    await pair.checkSame(database, this.#operation.reaps !== true)
    return found
  }
}

/** A database has one of the contents that it may have. */
export function expectContent(
  { rows, problems, problem }: Answer,
  may: readonly Content[],
  when: string,
): void {
  if (problem !== undefined) throw new Error(`cannot check: ${problem}; ${when}`)
  if (problems.length > 0) throw new Error(`integrity_check: ${problems}; ${when}`)
  const isRight = may.some((content) => `${content}` === `${rows}`)
  if (!isRight) throw new Error(`there is ${rows}, not ${may.map(String).join(" or ")}; ${when}`)
}

/** Of sockets, a few come and go meanwhile. */
function leaks({ more }: OperationUsage, times: number): boolean {
  const files = more.filter((file) => file.startsWith("/") && !file.startsWith("/dev/"))
  return files.length >= times || more.length >= Math.max(times, OTHERS_MIN)
}

/**
 * Not what the faults count their calls in, a file for each thread. Nor what a node holds of a dead mount, whose names
 * are in no directory any more: as long as its clients have it open (sys/process/stale-handles.ts), and one process.
 */
const NOT_COUNTED = /-calls$|^\/f\d+\.db|\/fdinfo\//

/** What is open: databases by a name that stands for all of them, sockets and the like by their kind. */
function kindsOf(usage: ProcessUsage, { data, mount }: TestNode): string[] {
  const files = usage.files.filter((file) => !NOT_COUNTED.test(file))
  return files.map((file) =>
    [data, mount].some((own) => file.startsWith(own))
      ? file.replace(/f\d+\.db/, "f.db")
      : file.replace(/:\[\d+\]$/, ""),
  )
}

function without(files: readonly string[], others: readonly string[]): string[] {
  const left = [...others]
  return files.filter((file) => {
    const index = left.indexOf(file)
    if (index >= 0) left.splice(index, 1)
    return index < 0
  })
}

/** Files of a data directory that are neither databases and their logs nor of the node itself. */
function straysIn({ data }: TestNode): string[] {
  const known = [
    /^(lock|commit-log\.[01]|lease\.json|mounted|owners|api\.sock|clusterid|clusterkey|id|dbs|import|side|spare)$/,
    /^dbs\/[^/]+$/,
    /^dbs\/[^/]+\/(database|journal|wal|shm|synced|checksums|sums|written|past|ltx)$/,
    /^dbs\/[^/]+\/ltx\/[0-9a-f]{16}-[0-9a-f]{16}\.ltx$/,
  ]
  return readdirSync(data, { recursive: true, encoding: "utf8" }).filter(
    (path) => !known.some((pattern) => pattern.test(path)),
  )
}
