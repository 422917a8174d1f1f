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
import { join } from "node:path"
import { createInterface } from "node:readline"
import { Scope, type TestNode } from "../support/node.ts"
import type { Random } from "../support/random.ts"
import { type Call, CallFaults, errnosOf, isIn, type Part } from "./call-faults.ts"
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
  /** Only calls whose name has this in it. */
  readonly only?: string
  readonly part?: Part
  /** So many of all faults, chosen at random; all when there are fewer. */
  readonly sample: number
  readonly limitMs: number
  /** Where the nodes have their directories. */
  readonly scratch: string
  readonly result: SweepResult
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
  readonly unknown: Map<string, number> // op: commits that failed and are there
}

export function noSweepResult(): SweepResult {
  return {
    faults: 0,
    hits: 0,
    left: 0,
    failures: 0,
    restarts: 0,
    ops: new Set(),
    unknown: new Map(),
  }
}

const ANSWER_MS_MAX = 30_000
const RUNS_PER_NODE = 60
const FAILURES_MAX = 20
/** So long a fault that is lifted stays when the replica has come to it, and so often it fails. */
const LASTING_MS = 150
const LASTING_HITS = 3

interface Fault extends Call {
  readonly errno: "EIO" | "ENOSPC"
  readonly duration: Duration
}

export async function sweep(options: SweepOptions): Promise<void> {
  const deadline = Date.now() + options.limitMs
  const { random, sample, result, onFailure } = options
  let faults: Fault[] | undefined
  while (result.failures < FAILURES_MAX) {
    await using scope = new Scope(options.scratch)
    const run = await Run.start(scope, options)
    faults ??= shuffled(
      (await run.allFaults()).filter((fault) => isIn(options.part, textOf(fault))),
      random,
    ).slice(0, sample)
    for (let count = 0; count < RUNS_PER_NODE; count++) {
      result.left = faults.length
      const fault = faults[faults.length - 1]
      if (fault === undefined || Date.now() > deadline) return
      faults.pop()
      result.faults += 1
      try {
        await run.fail(fault)
      } catch (error) {
        const text = error instanceof Error ? error.stack : String(error)
        onFailure(`${options.mode}, ${options.at}: ${textOf(fault)}: ${text}\n${run.logs}`)
        result.failures += 1
        break
      }
    }
  }
}

function textOf({ name, nth, errno, duration }: Fault): string {
  return `${name}#${nth}=${errno} ${duration}`
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

const DIED = "the client has died"
const NO_ANSWER: Answer = { steps: [], rows: [], problems: [], pos: "" }

class Run {
  readonly #scope: Scope
  readonly #options: SweepOptions
  readonly #faults: CallFaults
  readonly #worker: LineWorker
  #primary: TestNode
  #replica: TestNode
  #logStart = 0
  #nextDatabase = 1

  static async start(scope: Scope, options: SweepOptions): Promise<Run> {
    const faults = new CallFaults(join(scope.directory, "node"))
    const { env } = faults
    const primary = await scope.node(options.at === "primary" ? { env } : {})
    const replica = await scope.node({
      follows: primary,
      ...(options.at === "replica" ? { env } : {}),
    })
    return new Run(scope, options, faults, primary, replica)
  }

  private constructor(
    scope: Scope,
    options: SweepOptions,
    faults: CallFaults,
    primary: TestNode,
    replica: TestNode,
  ) {
    this.#scope = scope
    this.#options = options
    this.#faults = faults
    this.#worker = new LineWorker(scope)
    this.#primary = primary
    this.#replica = replica
  }

  get logs(): string {
    const tail = (text: string) => (text.length < 4000 ? text : `…${text.slice(-4000)}`)
    return `--- primary\n${tail(this.#primary.output)}--- replica\n${tail(this.#replica.output)}`
  }

  /** Every call that the workload makes the node do, with what may go wrong with it. */
  async allFaults(): Promise<Fault[]> {
    // What is done for the first database alone is not there for the others.
    await this.#work(this.#newDatabase())
    this.#faults.forget()
    await this.#work(this.#newDatabase())
    const { durations, only = "" } = this.#options
    return this.#faults.chosen().flatMap((call) => {
      const { name } = call
      // Clients map that file: a page that cannot be read kills them (SIGBUS).
      if (name.endsWith("/shm:read") || !name.includes(only)) return []
      return durations.flatMap((duration) =>
        (duration === "kill" ? (["EIO"] as const) : errnosOf(name)).map((errno) => {
          return { ...call, errno, duration }
        }),
      )
    })
  }

  /** Without a fault. */
  async #work(database: string): Promise<void> {
    const { steps } = await this.#ask("work", this.#primary, database, {
      marks: this.#faults.countFile,
      follower: join(this.#replica.mount, database),
    })
    const failed = steps.filter(([, , problem]) => problem !== null)
    if (failed.length > 0) throw new Error(`without a fault: ${JSON.stringify(failed)}`)
    await this.#caughtUp(database)
  }

  async fail({ name, nth, errno, duration }: Fault): Promise<void> {
    const { at, result } = this.#options
    const node = () => (at === "primary" ? this.#primary : this.#replica)
    this.#logStart = node().output.length
    const database = this.#newDatabase()
    const action = duration === "kill" ? "kill" : errno
    this.#faults.forget()
    this.#faults.set(`${name}#${nth}${duration === "lifted" ? "+" : ""}=${action}`)
    const { steps, problem: death } = await this.#ask("work", this.#primary, database)
    if (at === "replica") await this.#comeTo(database, duration)
    const isHit = this.#faults.hitCount > 0
    this.#faults.set("")
    const op = name.slice(name.indexOf("/") + 1)
    if (isHit) {
      result.hits += 1
      result.ops.add(op)
    }
    if (isHit && duration === "kill") {
      if (!(await within(ANSWER_MS_MAX, node().exited))) throw new Error("it was not killed")
      await this.#restart()
    } else if (death !== undefined) {
      throw new Error(`${death}\n${tell(steps)}`)
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
    const { problem } = await this.#ask("add", this.#primary, database, { n: 2_000_000 })
    if (problem !== undefined) throw new Error(`it does not go on: ${problem}\n${tell(steps)}`)
    await this.#checkSame(database)
    await this.#ask("drop", this.#primary, database)
  }

  /** The replica has come to the fault, or has nothing to do any more. */
  async #comeTo(database: string, duration: Duration): Promise<void> {
    if (duration === "once") return
    const deadline = Date.now() + 10_000
    let hitMs: number | undefined
    while (Date.now() < deadline) {
      const { hitCount } = this.#faults
      if (hitCount > 0) hitMs ??= Date.now()
      if (duration === "kill" && hitCount > 0) return
      if (hitCount >= LASTING_HITS || (hitMs ?? Infinity) < Date.now() - LASTING_MS) return
      if (hitCount === 0 && (await this.#isSame(database))) return
      await Bun.sleep(5)
    }
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
    const deadline = Date.now() + 20_000
    while (!(await this.#isSame(database))) {
      if (Date.now() > deadline) {
        const [ours, theirs] = await this.#positions(database)
        throw new Error(`primary at ${ours}, replica at ${theirs}`)
      }
      await Bun.sleep(5)
    }
  }

  async #isSame(database: string): Promise<boolean> {
    const [ours, theirs] = await this.#positions(database)
    return ours === theirs
  }

  async #positions(database: string): Promise<[ours: string, theirs: string]> {
    return [
      (await this.#ask("pos", this.#primary, database)).pos,
      (await this.#ask("pos", this.#replica, database)).pos,
    ]
  }

  async #restart(): Promise<void> {
    this.#options.result.restarts += 1
    const { at } = this.#options
    const { directory, port } = at === "primary" ? this.#primary : this.#replica
    const { env } = this.#faults
    if (at === "primary") this.#primary = await this.#scope.node({ directory, port, env })
    else this.#replica = await this.#scope.node({ directory, port, env, follows: this.#primary })
    this.#logStart = 0
  }

  #newDatabase(): string {
    return `f${this.#nextDatabase++}.db`
  }

  async #ask(what: string, node: TestNode, database: string, more: object = {}): Promise<Answer> {
    const { mode } = this.#options
    return this.#worker.ask({ do: what, path: join(node.mount, database), mode, ...more })
  }
}

function tell(steps: readonly Step[]): string {
  return steps.map(([what, n, problem]) => `${what} ${n || ""} ${problem ?? "ok"}`).join("\n")
}

/**
 * The client process. One that dies, as clients do whose daemon is killed while they read what is mapped (SIGBUS), is
 * started again; what it has told of its steps is its answer.
 */
class LineWorker {
  readonly #scope: Scope
  #child: ChildProcess | undefined
  #onLine: (line: string) => void = () => {}
  #onDeath: () => void = () => {}

  constructor(scope: Scope) {
    this.#scope = scope
  }

  async ask(request: object): Promise<Answer> {
    const child = this.#child ?? this.#start()
    const { promise, resolve } = Promise.withResolvers<Answer>()
    const steps: Step[] = []
    this.#onLine = (line) => {
      const { begins, ended, ...answer } = JSON.parse(line)
      if (begins !== undefined) steps.push([begins[0], begins[1], DIED])
      else if (ended === undefined) resolve(answer)
      else steps.push([...(steps.pop() as Step).slice(0, 2), ended] as unknown as Step)
    }
    this.#onDeath = () => resolve({ ...NO_ANSWER, steps, problem: DIED })
    child.stdin?.write(`${JSON.stringify(request)}\n`)
    if (!(await within(ANSWER_MS_MAX, promise))) {
      throw new StuckError(`client at ${JSON.stringify(request)}`, child.pid as number)
    }
    return promise
  }

  #start(): ChildProcess {
    const path = join(import.meta.dir, "programs", "faulty.mjs")
    const child = spawn("node", [path], { stdio: ["pipe", "pipe", "inherit"] })
    child.stdin?.on("error", () => {}) // it has died, which is told below
    createInterface({ input: child.stdout as NodeJS.ReadableStream }).on("line", (line) =>
      this.#onLine(line),
    )
    child.once("close", () => {
      this.#child = undefined
      this.#onDeath()
    })
    this.#scope.defer(() => void child.kill("SIGKILL"))
    this.#child = child
    return child
  }
}
