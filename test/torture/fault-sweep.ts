/**
 * A fixed workload in which one system call of the daemon fails, for each call in turn, once or from then on until
 * the fault is lifted, or the daemon is stopped there. After each, with the fault gone:
 *
 * 1. Every transaction that the client was told is committed is there, and none that was rolled back.
 * 2. A commit that came back with an error is there whole or not at all. It is there when only what followed on
 *    the capture failed: the client's own request (removing, cutting or zeroing the journal), the pages that go to
 *    the database file after it, or the answer, when the daemon was stopped.
 * 3. integrity_check is content, the log leads to the position, and the replica is the same.
 * 4. The database takes the next transaction. When the log says that a restart is needed, after the restart.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { readFileSync, renameSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { Scope, type TestNode } from "../support/node.ts"
import type { Random } from "../support/random.ts"
import { StuckError, within } from "./client.ts"
import { difference, readContent, replayHistory } from "./history-check.ts"
import type { Mode } from "./model.ts"

export type Duration = "once" | "lifted" | "kill"

export interface SweepOptions {
  readonly random: Random
  readonly mode: Exclude<Mode, "mixed">
  readonly durations: readonly Duration[]
  /** Which node has the faults. */
  readonly at: "primary" | "replica"
  /** So many of all calls, chosen at random; all when there are fewer. */
  readonly sample: number
  readonly limitMs: number
  readonly result: SweepResult
}

export interface SweepResult {
  faults: number
  restarts: number
  readonly ops: Set<string>
  readonly unknown: Map<string, number> // op: commits that failed and are there
}

export function noSweepResult(): SweepResult {
  return { faults: 0, restarts: 0, ops: new Set(), unknown: new Map() }
}

/** More is not needed to find what depends on the number, and a loop of writes has hundreds. */
const NTH_MAX = 60
const ANSWER_MS_MAX = 30_000
const RUNS_PER_NODE = 60

interface Fault {
  readonly op: string
  readonly nth: number
  readonly errno: "EIO" | "ENOSPC"
  readonly duration: Duration
}

export async function sweep(options: SweepOptions): Promise<void> {
  const deadline = Date.now() + options.limitMs
  const { random, sample } = options
  let faults: Fault[] | undefined
  for (;;) {
    await using scope = new Scope()
    const run = await Run.start(scope, options)
    if (faults === undefined) {
      const all = await run.allFaults()
      faults = shuffled(all, random).slice(0, sample)
    }
    for (let count = 0; count < RUNS_PER_NODE; count++) {
      const fault = faults.pop()
      if (fault === undefined || Date.now() > deadline) return
      try {
        await run.fail(fault)
      } catch (error) {
        const { op, nth, errno, duration } = fault
        const message = error instanceof Error ? error.stack : String(error)
        throw new Error(
          `${options.mode}, ${options.at}: ${op}#${nth}=${errno} ${duration}: ${message}\n${run.logs}`,
        )
      }
      options.result.faults += 1
      options.result.ops.add(fault.op)
      if (fault.duration === "kill") break
    }
  }
}

function shuffled<T>(items: readonly T[], random: Random): T[] {
  return items
    .map((item): [number, T] => [random.u32(), item])
    .sort(([a], [b]) => a - b)
    .map(([, item]) => item)
}

type Step = readonly [what: string, n: number, problem: string | null]

interface Answer {
  readonly steps: Step[]
  readonly rows: number[]
  readonly problems: string[]
  readonly pos: string
  readonly problem?: string
}

class Run {
  readonly #scope: Scope
  readonly #options: SweepOptions
  readonly #faultsFile: string
  readonly #countFile: string
  readonly #worker: LineWorker
  #primary: TestNode
  #replica: TestNode
  #logStart = 0
  #nextDatabase = 1

  static async start(scope: Scope, options: SweepOptions): Promise<Run> {
    const files: [string, string] = [
      join(scope.directory, "faults"),
      join(scope.directory, "count"),
    ]
    writeFileSync(files[0], "")
    const env = { LITEFS_FAULTS_FILE: files[0], LITEFS_FAULTS_COUNT: files[1] }
    const primary = await scope.node(options.at === "primary" ? { env } : {})
    const replica = await scope.node({
      follows: primary,
      ...(options.at === "replica" ? { env } : {}),
    })
    return new Run(scope, options, files, primary, replica)
  }

  private constructor(
    scope: Scope,
    options: SweepOptions,
    files: readonly [string, string],
    primary: TestNode,
    replica: TestNode,
  ) {
    this.#scope = scope
    this.#options = options
    this.#faultsFile = files[0]
    this.#countFile = files[1]
    this.#worker = new LineWorker(scope)
    this.#primary = primary
    this.#replica = replica
  }

  get logs(): string {
    const text = `--- primary\n${this.#primary.output}--- replica\n${this.#replica.output}`
    return text.length < 6000 ? text : `…${text.slice(-6000)}`
  }

  /** Every call that the workload makes the node do, with what may go wrong with it. */
  async allFaults(): Promise<Fault[]> {
    writeFileSync(this.#countFile, "")
    const database = this.#newDatabase()
    const { steps } = await this.#ask("work", this.#primary, database)
    const failed = steps.filter(([, , problem]) => problem !== null)
    if (failed.length > 0) throw new Error(`without a fault: ${JSON.stringify(failed)}`)
    await this.#caughtUp(database)
    const counts = Map.groupBy(readFileSync(this.#countFile, "utf8").trim().split("\n"), (op) => op)
    counts.delete("shm:read") // clients map that file: a page that cannot be read kills them (SIGBUS)
    return [...counts].flatMap(([op, calls]) => {
      const isRead = /:(read|look|list|stat)$/.test(op)
      const errnos = isRead ? (["EIO"] as const) : (["EIO", "ENOSPC"] as const)
      return this.#options.durations.flatMap((duration) =>
        (duration === "kill" ? (["EIO"] as const) : errnos).flatMap((errno) =>
          Array.from({ length: Math.min(calls.length, NTH_MAX) }, (_, index) => {
            return { op, nth: index + 1, errno, duration }
          }),
        ),
      )
    })
  }

  async fail({ op, nth, errno, duration }: Fault): Promise<void> {
    const { at } = this.#options
    const node = () => (at === "primary" ? this.#primary : this.#replica)
    this.#logStart = node().output.length
    const database = this.#newDatabase()
    const action = duration === "kill" ? "kill" : errno
    this.#setFaults(`${op}#${nth}${duration === "lifted" ? "+" : ""}=${action}`)
    const { steps } = await this.#ask("work", this.#primary, database)
    if (at === "replica") await Bun.sleep(duration === "once" ? 0 : 300)
    this.#setFaults("")
    if (duration === "kill") {
      if (node().isRunning && at === "primary") return // it did not come to that call
      if (node().isRunning) await within(2000, node().exited)
      if (node().isRunning) return
      await this.#restart()
    }
    if (!node().isRunning) throw new Error("the daemon has ended")
    let needsRestart = /restart litefs/.test(node().output.slice(this.#logStart))
    if (needsRestart) {
      await node().stop()
      await this.#restart()
    }
    if (at === "replica") {
      const failed = steps.filter(([, , problem]) => problem !== null)
      if (failed.length > 0) throw new Error(`the primary's client: ${JSON.stringify(failed)}`)
    }
    const found = await this.#ask("check", this.#primary, database)
    needsRestart = /restart litefs/.test(node().output.slice(this.#logStart)) && !needsRestart
    if (needsRestart) {
      await node().stop()
      await this.#restart()
    }
    this.#compare(
      op,
      steps,
      needsRestart ? await this.#ask("check", this.#primary, database) : found,
    )
    const { problem } = await this.#ask("add", this.#primary, database, 2_000_000)
    if (problem !== undefined) throw new Error(`it does not go on: ${problem}\n${tell(steps)}`)
    await this.#checkSame(database)
    await this.#ask("drop", this.#primary, database)
  }

  #compare(op: string, steps: readonly Step[], { rows, problems, problem }: Answer): void {
    if (problem !== undefined) throw new Error(`cannot check: ${problem}\n${tell(steps)}`)
    if (problems.length > 0) throw new Error(`integrity_check: ${problems}\n${tell(steps)}`)
    const found = new Set(rows)
    const attempted = new Set(steps.filter(([what]) => what === "commit").map(([, n]) => n))
    const dropAt = steps.findIndex(([what]) => what === "drop")
    const isDropped = steps[dropAt]?.[2] === null
    const before = steps.slice(0, dropAt).filter(([what]) => what === "commit")
    // Whether a drop that failed was done: then nothing of before is there.
    const hasBefore = before.some(([, n]) => found.has(n))
    for (const [index, [what, n, failure]] of steps.entries()) {
      if (what !== "commit") continue
      if (index < dropAt && (isDropped || !hasBefore)) {
        if (isDropped && found.has(n))
          throw new Error(`${n} is there after the drop\n${tell(steps)}`)
        const isExcused = isDropped || steps[dropAt]?.[2] !== undefined
        if (!isExcused && failure === null) throw new Error(`LOST: ${n}\n${tell(steps)}`)
      } else if (failure === null && !found.has(n)) {
        throw new Error(`LOST: ${n}, there is ${rows}\n${tell(steps)}`)
      } else if (failure !== null && found.has(n)) {
        const { unknown } = this.#options.result
        unknown.set(op, (unknown.get(op) ?? 0) + 1)
      }
    }
    for (const n of rows) {
      if (!attempted.has(n)) throw new Error(`${n} is there, which was rolled back\n${tell(steps)}`)
    }
  }

  async #checkSame(database: string): Promise<void> {
    await this.#caughtUp(database)
    const [ours, theirs] = [
      await this.#ask("check", this.#primary, database),
      await this.#ask("check", this.#replica, database),
    ]
    if (JSON.stringify(ours) !== JSON.stringify(theirs)) {
      throw new Error(`primary ${JSON.stringify(ours)}, replica ${JSON.stringify(theirs)}`)
    }
    const { pos } = await this.#ask("pos", this.#primary, database)
    const nodes = [this.#primary, this.#replica]
    for (const { data } of nodes) {
      const replayed = replayHistory(data, database)
      if (replayed.pos !== pos.trim())
        throw new Error(`the log leads to ${replayed.pos}, not ${pos}`)
      const differs = difference(replayed.bytes, readContent(data, database), replayed.pageSize)
      if (differs !== undefined) throw new Error(`log and database file of ${data}: ${differs}`)
    }
  }

  async #caughtUp(database: string): Promise<void> {
    const deadline = Date.now() + 10_000
    for (;;) {
      const ours = (await this.#ask("pos", this.#primary, database)).pos
      const theirs = (await this.#ask("pos", this.#replica, database)).pos
      if (ours === theirs) return
      if (Date.now() > deadline) throw new Error(`primary at ${ours}, replica at ${theirs}`)
      await Bun.sleep(5)
    }
  }

  async #restart(): Promise<void> {
    this.#options.result.restarts += 1
    const { at } = this.#options
    const { directory, port } = at === "primary" ? this.#primary : this.#replica
    const env = { LITEFS_FAULTS_FILE: this.#faultsFile, LITEFS_FAULTS_COUNT: this.#countFile }
    if (at === "primary") this.#primary = await this.#scope.node({ directory, port, env })
    else this.#replica = await this.#scope.node({ directory, port, env, follows: this.#primary })
    this.#logStart = 0
  }

  #newDatabase(): string {
    return `f${this.#nextDatabase++}.db`
  }

  #setFaults(text: string): void {
    writeFileSync(`${this.#faultsFile}.new`, text)
    renameSync(`${this.#faultsFile}.new`, this.#faultsFile)
  }

  async #ask(what: string, node: TestNode, database: string, n = 0): Promise<Answer> {
    const { mode } = this.#options
    return this.#worker.ask({ do: what, path: join(node.mount, database), mode, n })
  }
}

function tell(steps: readonly Step[]): string {
  return steps.map(([what, n, problem]) => `${what} ${n || ""} ${problem ?? "ok"}`).join("\n")
}

/** The client process. */
class LineWorker {
  readonly #child: ChildProcess
  readonly #answers: ((line: string) => void)[] = []

  constructor(scope: Scope) {
    const path = join(import.meta.dir, "programs", "faulty.mjs")
    this.#child = spawn("node", [path], { stdio: ["pipe", "pipe", "inherit"] })
    createInterface({ input: this.#child.stdout as NodeJS.ReadableStream }).on("line", (line) =>
      this.#answers.shift()?.(line),
    )
    scope.defer(() => void this.#child.kill("SIGKILL"))
  }

  async ask(request: object): Promise<Answer> {
    const { promise, resolve } = Promise.withResolvers<string>()
    this.#answers.push(resolve)
    this.#child.stdin?.write(`${JSON.stringify(request)}\n`)
    if (!(await within(ANSWER_MS_MAX, promise))) {
      throw new StuckError(`client at ${JSON.stringify(request)}`, this.#child.pid as number)
    }
    return JSON.parse(await promise) as Answer
  }
}
