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
import { join } from "node:path"
import type { Scope } from "../support/node.ts"
import { FaultyPair } from "./faulty-pair.ts"
import type { Answer, Step } from "./line-worker.ts"
import {
  type Fault,
  faultsOf,
  isEnd,
  type SweepOptions as Options,
  opOf,
  sweepTargets,
  type Target,
} from "./sweep.ts"

export interface SweepOptions extends Options {
  /** Which node has the faults. */
  readonly at: "primary" | "replica"
}

export async function sweep(options: SweepOptions): Promise<void> {
  await sweepTargets(options, options.at, (scope) => Workload.start(scope, options))
}

/** A primary that has done the workload so often makes files for transactions in advance (store/spare-files.ts). */
const UNTIL_BUSY = 4

class Workload implements Target {
  readonly #pair: FaultyPair
  readonly #options: SweepOptions

  static async start(scope: Scope, options: SweepOptions): Promise<Workload> {
    return new Workload(await FaultyPair.start(scope, options), options)
  }

  private constructor(pair: FaultyPair, options: SweepOptions) {
    this.#pair = pair
    this.#options = options
  }

  get logs(): string {
    return this.#pair.logs
  }

  /** Every call that the workload makes the node do, with what may go wrong with it. */
  async allFaults(): Promise<Fault[]> {
    const pair = this.#pair
    // What is done for the first database alone is not there for the others.
    await this.#work(pair.newDatabase())
    pair.faults.forget()
    await this.#work(pair.newDatabase())
    const calls = pair.faults.chosen()
    const { sample, at } = this.#options
    if (sample === Infinity && at === "primary") {
      for (let count = 0; count < UNTIL_BUSY; count++) await this.#work(pair.newDatabase())
      pair.faults.forget()
      await this.#work(pair.newDatabase())
      const known = new Set(calls.map(({ name, nth }) => `${name} ${nth}`))
      calls.push(...pair.faults.chosen().filter(({ name, nth }) => !known.has(`${name} ${nth}`)))
    }
    return faultsOf(calls, this.#options)
  }

  /** Without a fault. */
  async #work(database: string): Promise<void> {
    const pair = this.#pair
    const { steps } = await pair.ask("work", pair.primary, database, {
      marks: pair.faults.countFile,
      follower: join(pair.replica.mount, database),
    })
    const failed = steps.filter(([, , problem]) => problem !== null)
    if (failed.length > 0) throw new Error(`without a fault: ${JSON.stringify(failed)}`)
    await pair.caughtUp(database)
  }

  async fail(fault: Fault): Promise<void> {
    const pair = this.#pair
    const { at } = this.#options
    const database = pair.newDatabase()
    pair.begin(fault)
    const { steps, problem: death } = await pair.ask("work", pair.primary, database)
    if (at === "replica") await pair.comeTo(database, fault.duration)
    const isHit = await pair.lift(fault)
    const isKilled = isHit && isEnd(fault.duration)
    if (death !== undefined && !isKilled) throw new Error(`${death}\n${tell(steps)}`)
    const wasRestarted = await pair.restartIfTold()
    if (at === "replica") {
      const failed = steps.filter(([, , problem]) => problem !== null)
      if (failed.length > 0) throw new Error(`the primary's client: ${JSON.stringify(failed)}`)
    }
    const found = await pair.ask("check", pair.primary, database)
    const needsRestart = !wasRestarted && (await pair.restartIfTold())
    const answer = needsRestart ? await pair.ask("check", pair.primary, database) : found
    checkSteps(steps, answer, () => {
      const { unknown } = this.#pair.options.result
      unknown.set(opOf(fault), (unknown.get(opOf(fault)) ?? 0) + 1)
    })
    const { problem } = await pair.ask("add", pair.primary, database, { n: 2_000_000 })
    if (problem !== undefined) throw new Error(`it does not go on: ${problem}\n${tell(steps)}`)
    await pair.checkSame(database)
    await pair.ask("drop", pair.primary, database)
  }
}

/** Every commit that was done is there, and none that was taken back. Calls for each that failed and is there. */
export function checkSteps(
  steps: readonly Step[],
  { rows, problems, problem }: Answer,
  onUnknown: () => void,
): void {
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
      if (isDropped && found.has(n)) throw new Error(`${n} is there after the drop\n${tell(steps)}`)
      const isExcused = isDropped || steps[dropAt]?.[2] !== undefined
      if (!isExcused && failure === null) throw new Error(`LOST: ${n}\n${tell(steps)}`)
    } else if (failure === null && !found.has(n)) {
      throw new Error(`LOST: ${n}, there is ${rows}\n${tell(steps)}`)
    } else if (failure !== null && found.has(n)) {
      onUnknown()
    }
  }
  for (const n of rows) {
    if (!attempted.has(n)) throw new Error(`${n} is there, which was rolled back\n${tell(steps)}`)
  }
}

function tell(steps: readonly Step[]): string {
  return steps.map(([what, n, problem]) => `${what} ${n || ""} ${problem ?? "ok"}`).join("\n")
}
