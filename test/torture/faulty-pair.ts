/** A primary and a replica, one of which has faults, and the client that uses both. */
import { readdirSync, rmSync } from "node:fs"
import { join } from "node:path"
import { mountsAt } from "../../src/sys/mount.ts"
import { FaultProxy } from "../support/fault-proxy.ts"
import {
  type Exit,
  freePort,
  type NodeOptions,
  type Scope,
  type TestNode,
} from "../support/node.ts"
import { until } from "../support/until.ts"
import { CallFaults } from "./call-faults.ts"
import { within } from "./client.ts"
import { difference, readContent, replayHistoryTo } from "./history-check.ts"
import { ANSWER_MS_MAX, type Answer, LineWorker } from "./line-worker.ts"
import { type Duration, type Fault, isEnd, noteHit, planOf, type SweepOptions } from "./sweep.ts"

/** So long a fault that is lifted stays when the replica has come to it, and so often it fails. */
/** For many large databases and a busy machine. */
const START_LIMIT_MS = 120_000
const LASTING_MS = 150
const LASTING_HITS = 3

export interface FaultyPairOptions extends Pick<SweepOptions, "mode" | "result"> {
  /** Which node has the faults. */
  readonly at: "primary" | "replica"
  /** Of both. */
  readonly flags?: readonly string[]
  /** Whether the replica reaches the primary over a link that can be cut. */
  readonly hasLink?: boolean
  /** Whether the primary says of itself that it is reached over that link, so that nothing goes past it. */
  readonly advertisesLink?: boolean
  /** Whether a fault may keep the node from starting. */
  readonly mayEnd?: boolean
}

export class FaultyPair {
  readonly scope: Scope
  readonly options: FaultyPairOptions
  readonly faults: CallFaults
  readonly link: FaultProxy | undefined
  readonly #worker: LineWorker
  primary: TestNode
  replica: TestNode
  #logStart = 0
  #stopped: Exit | undefined // when the node was stopped, and came to the fault in that
  #nextDatabase = 1

  static async start(scope: Scope, options: FaultyPairOptions): Promise<FaultyPair> {
    const faults = new CallFaults(join(scope.directory, "node"))
    const { at, flags = [], hasLink = false, advertisesLink = false } = options
    const { env } = faults
    const own = (of: "primary" | "replica") => ({ flags, ...(at === of ? { env } : {}) })
    const port = await freePort()
    const link = hasLink || advertisesLink ? await FaultProxy.start(port) : undefined
    if (link !== undefined) scope.defer(() => link[Symbol.asyncDispose]())
    const toLink = link !== undefined && advertisesLink ? ["--advertise-url", link.url] : []
    const primary = await scope.node({ ...own("primary"), port, flags: [...flags, ...toLink] })
    const replica = await scope.node({ ...own("replica"), follows: link ?? primary })
    return new FaultyPair(scope, options, faults, primary, replica, link)
  }

  private constructor(
    scope: Scope,
    options: FaultyPairOptions,
    faults: CallFaults,
    primary: TestNode,
    replica: TestNode,
    link: FaultProxy | undefined,
  ) {
    this.scope = scope
    this.options = options
    this.faults = faults
    this.link = link
    this.#worker = new LineWorker(scope)
    this.primary = primary
    this.replica = replica
  }

  /** The one with the faults. */
  get node(): TestNode {
    return this.options.at === "primary" ? this.primary : this.replica
  }

  get logs(): string {
    const tail = (text: string) => (text.length < 4000 ? text : `…${text.slice(-4000)}`)
    return `--- primary\n${tail(this.primary.output)}--- replica\n${tail(this.replica.output)}`
  }

  newDatabase(): string {
    return `f${this.#nextDatabase++}.db`
  }

  async ask(what: string, node: TestNode, database: string, more: object = {}): Promise<Answer> {
    const { mode } = this.options
    return this.#worker.ask({ do: what, path: join(node.mount, database), mode, ...more })
  }

  begin(fault: Fault): void {
    this.#logStart = this.node.output.length
    this.#stopped = undefined
    this.faults.forget()
    this.faults.set(planOf(fault))
  }

  /** The fault is gone afterwards, and the node is there. False when the node has not come to it. */
  async lift(fault: Fault): Promise<boolean> {
    this.faults.set("") // before it is read what was hit: the node has threads that work for themselves
    const isHit = this.faults.hitCount > 0
    const { result } = this.options
    for (const op of this.faults.ops) result.calls.add(op)
    if (isHit) noteHit(result, fault)
    // A thread that only checks files is not missed.
    const ends = fault.duration === "kill" || (fault.duration === "end" && isOfNode(fault))
    if (isHit && ends) {
      if (this.#stopped === undefined && !(await within(ANSWER_MS_MAX, this.node.exited))) {
        throw new Error("it does not end")
      }
      const { code } = this.#stopped ?? (await this.node.exited)
      if (fault.duration === "end" && code !== 1) throw new Error(`it ends with ${code}, not 1`)
      if (!this.node.isRunning) await this.restart()
    }
    if (this.options.mayEnd === true) {
      const isEnding = /^ERROR: /m.test(this.node.output.slice(this.#logStart))
      if (isEnding) await within(ANSWER_MS_MAX, this.node.exited)
      if (!this.node.isRunning) await this.restart()
    }
    if (!this.node.isRunning) throw new Error("the daemon has ended")
    return isHit
  }

  /** The node comes to the fault in its stop, or not before the next start. */
  async stop(): Promise<void> {
    const exit = await this.node.stop()
    if (this.faults.hitCount > 0) this.#stopped = exit
  }

  /** Does what the log says since the last time, when it says so. */
  async restartIfTold(): Promise<boolean> {
    if (!/restart litefs|database is unavailable/.test(this.node.output.slice(this.#logStart)))
      return false
    await this.node.stop()
    await this.restart()
    return true
  }

  async restart(): Promise<void> {
    this.options.result.restarts += 1
    const { at } = this.options
    const last = this.node
    clearBare(last.mount)
    const node = await this.scope.spawn(this.#again(at, last))
    if (at === "primary") this.primary = node
    else this.replica = node
    this.#logStart = 0
    await node.logged(/msg=mounted/, START_LIMIT_MS)
    await node.prepared()
  }

  /** Both, one after the other. Throws when one of them does not end as it should. */
  async restartBoth(): Promise<void> {
    for (const node of [this.replica, this.primary]) {
      const exit = await node.stop()
      if (exit.code !== 0) throw new Error(`it ends with ${JSON.stringify(exit)}`)
    }
    this.primary = await this.scope.node(this.#again("primary", this.primary))
    this.replica = await this.scope.node(this.#again("replica", this.replica))
    this.#logStart = 0
  }

  #again(of: "primary" | "replica", { directory, port }: TestNode): NodeOptions {
    const { at, flags = [] } = this.options
    return {
      ...{ directory, port, flags, startLimitMs: START_LIMIT_MS },
      ...(at === of ? { env: this.faults.env } : {}),
      ...(of === "replica" ? { follows: this.link ?? this.primary } : {}),
    }
  }

  /** The replica has come to the fault, or has nothing to do any more. */
  async comeTo(database: string, duration: Duration): Promise<void> {
    if (duration === "once") return
    const deadline = Date.now() + 10_000
    let hitMs: number | undefined
    while (Date.now() < deadline) {
      const { hitCount } = this.faults
      if (hitCount > 0) hitMs ??= Date.now()
      if (isEnd(duration) && hitCount > 0) return
      if (hitCount >= LASTING_HITS || (hitMs ?? Infinity) < Date.now() - LASTING_MS) return
      if (hitCount === 0 && (await this.isSame(database))) return
      await Bun.sleep(5)
    }
  }

  /** The replica is where the primary is, has the same content, and the logs of both lead there. */
  async checkSame(database: string, hasWholeLog = true): Promise<void> {
    await this.caughtUp(database)
    const [ours, theirs] = [
      await this.ask("check", this.primary, database),
      await this.ask("check", this.replica, database),
    ]
    if (JSON.stringify(ours) !== JSON.stringify(theirs)) {
      throw new Error(`primary ${JSON.stringify(ours)}, replica ${JSON.stringify(theirs)}`)
    }
    const { pos } = await this.ask("pos", this.primary, database)
    if (!hasWholeLog || isNothing(pos)) return
    const nodes = [this.primary, this.replica]
    for (const { data } of nodes) {
      const replayed = await replayHistoryTo(pos.trim(), data, database)
      const differs = difference(replayed.bytes, readContent(data, database), replayed.pageSize)
      if (differs !== undefined) throw new Error(`log and database file of ${data}: ${differs}`)
    }
  }

  async caughtUp(database: string): Promise<void> {
    await until("the replica is where the primary is", () => this.isSame(database))
  }

  async isSame(database: string): Promise<boolean> {
    const [ours, theirs] = await this.#positions(database)
    return ours === theirs || (isNothing(ours) && isNothing(theirs))
  }

  async #positions(database: string): Promise<[ours: string, theirs: string]> {
    return [
      (await this.ask("pos", this.primary, database)).pos,
      (await this.ask("pos", this.replica, database)).pos,
    ]
  }
}

/** Of the two threads without which a node cannot go on. */
function isOfNode({ name }: Fault): boolean {
  return /^[12]\//.test(name)
}

/** A database of which nobody has committed anything is not known to others. */
function isNothing(pos: string): boolean {
  return pos === "" || /^0+\/0+\n$/.test(pos)
}

/** A client that opens a database while nothing is mounted makes a file of its own, and a node refuses to hide it. */
function clearBare(mount: string): void {
  if (mountsAt(mount).length > 0) return
  for (const name of readdirSync(mount)) rmSync(join(mount, name))
}
