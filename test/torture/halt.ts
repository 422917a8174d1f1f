/**
 * Three nodes that all take writes, behind bad links, killed and stopped, while each of them is written to: by programs
 * that know of nothing (`--forward-writes`), and now and then by one under flock(1).
 *
 *     writers ─▶ primary ◀─ fault proxy ─ replica ◀─ writers, holders of the lock
 *                        ◀─ fault proxy ─ replica ◀─ writers, holders of the lock
 *
 * When everything is healed each transaction that was acknowledged is there once, none is there twice, all nodes have
 * the same bytes, and each of them can be written to.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { join, resolve } from "node:path"
import { caughtUp, expectSame, output, sqlite3, start } from "../support/client.ts"
import { FaultProxy } from "../support/fault-proxy.ts"
import { Scope, type TestNode } from "../support/node.ts"
import type { Random } from "../support/random.ts"
import { within } from "./client.ts"
import type { Mode } from "./model.ts"
import type { Result } from "./round.ts"

const ROOT = resolve(import.meta.dir, "../..")
const DATABASE = "a.db"
const FLAGS = ["--forward-writes"]

/** Longer than a lock lives that is not renewed. */
const LONG_MS = 12_000
/** For a transaction somewhere: a lock that was left behind goes in 10 s, and then others have their turn. */
const PROGRESS_MS_MAX = 60_000
const WRITE_MS_MAX = 30_000
const END_MS_MAX = 40_000
const HOLDER_COMMITS = 5
/** A lock is given back by then that nobody uses. */
const LINGER_MS = 1000

const SCHEMA = `
  create table counter(n integer);
  insert into counter values(0);
  create table log(n integer primary key, writer integer, i integer, padding default (randomblob(100)), unique(writer, i));
`

export interface HaltOptions {
  readonly random: Random
  readonly mode: Exclude<Mode, "mixed">
  readonly faults: number
  /** At least so many are acknowledged. */
  readonly transactions: number
  /** Whether some faults last until a lock is lost. */
  readonly mayBeLong: boolean
  readonly result: Result
}

export async function halt(options: HaltOptions): Promise<void> {
  await using scope = new Scope()
  const round = new HaltRound(scope, options)
  try {
    await round.begin()
    for (let fault = 0; fault < options.faults; fault++) {
      await round.fault()
      options.result.kills += 1
    }
    round.heal()
    await round.until(options.transactions)
    await round.end()
    await round.check()
    options.result.acknowledged += round.acknowledged
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    throw new Error(`${message}\nafter: ${round.done.slice(-20).join(", ")}\n${round.report()}`)
  }
}

class HaltRound {
  /** What was done, for the report of a failure. */
  readonly done: string[] = []
  readonly #scope: Scope
  readonly #options: HaltOptions
  readonly #nodes: TestNode[] = [] // the primary first
  readonly #links: FaultProxy[] = [] // of the replicas
  readonly #writers: Writer[] = [] // one for each node
  readonly #holders = new Set<Writer>()
  readonly #all: Writer[] = []

  constructor(scope: Scope, options: HaltOptions) {
    this.#scope = scope
    this.#options = options
  }

  get acknowledged(): number {
    return this.#all.reduce((sum, { acks }) => sum + acks.size, 0)
  }

  async begin(): Promise<void> {
    const primary = await this.#scope.node({ flags: FLAGS })
    this.#nodes.push(primary)
    sqlite3(primary, DATABASE, `pragma journal_mode = ${this.#options.mode}; ${SCHEMA}`)
    for (let count = 0; count < 2; count++) {
      const link = await FaultProxy.start(primary.port)
      this.#scope.defer(() => link[Symbol.asyncDispose]())
      this.#links.push(link)
      this.#nodes.push(await this.#scope.node({ follows: { url: link.url }, flags: FLAGS }))
    }
    for (const replica of this.#nodes.slice(1)) await caughtUp(primary, replica, DATABASE)
    for (const at of this.#nodes.keys()) this.#write(at)
    await this.until(this.#writers.length)
  }

  async fault(): Promise<void> {
    const { random, mayBeLong } = this.#options
    await this.until(this.acknowledged + random.between(1, 15))
    const isLong = mayBeLong && random.below(8) === 0
    const kinds = ["writer", "holder", "kill", "stop", "cut", "hold", "slow", "refuse"] as const
    const kind = random.pick(kinds)
    const at = random.below(this.#nodes.length)
    const link = random.pick(this.#links)
    this.done.push(`${kind}${isLong ? " long" : ""} ${at}`)
    switch (kind) {
      case "writer":
        await this.#writers[at]?.kill()
        this.#write(at)
        break
      case "holder":
        this.#hold(at)
        if (random.below(2) === 0) {
          await Bun.sleep(random.below(1500))
          for (const holder of this.#holders) await holder.kill()
        }
        break
      case "kill":
        await this.#restart(at)
        break
      case "stop":
        this.#nodes[at]?.signal("SIGSTOP")
        await Bun.sleep(isLong ? LONG_MS : random.below(random.pick([50, 1500])))
        this.#nodes[at]?.signal("SIGCONT")
        break
      case "cut":
        for (let count = random.between(1, 4); count > 0; count--) {
          link.cut()
          await Bun.sleep(random.below(50))
        }
        break
      case "hold":
        link.hold()
        await Bun.sleep(isLong ? LONG_MS : random.below(random.pick([50, 1500])))
        break
      case "slow":
        link.delayMs = random.below(100)
        link.bytesPerSecond = random.pick([5000, 50_000])
        await Bun.sleep(random.below(1000))
        break
      case "refuse":
        link.refuse()
        link.cut()
        await Bun.sleep(isLong ? LONG_MS : random.below(1500))
    }
    // Half of the time the next fault comes on top.
    if (random.below(2) === 0) this.heal()
  }

  heal(): void {
    for (const link of this.#links) {
      link.heal()
      link.cut() // what a held link has left hanging is noticed after seconds
    }
  }

  /** Resolves when so many transactions are acknowledged. */
  async until(count: number): Promise<void> {
    let [seen, seenMs] = [this.acknowledged, Date.now()]
    while (this.acknowledged < count) {
      const problem = this.#all.find(({ problem }) => problem !== undefined)?.problem
      if (problem !== undefined) throw new Error(problem)
      if (this.acknowledged > seen) [seen, seenMs] = [this.acknowledged, Date.now()]
      else if (Date.now() - seenMs > PROGRESS_MS_MAX) throw new Error("no writer goes on")
      await Bun.sleep(2)
    }
  }

  /** A transaction on every node, and then none any more. */
  async end(): Promise<void> {
    const before = this.#writers.map(({ acks }) => acks.size)
    const deadline = Date.now() + WRITE_MS_MAX
    while (this.#writers.some(({ acks }, at) => acks.size === before[at])) {
      const slow = this.#writers.findIndex(({ acks }, at) => acks.size === before[at])
      if (Date.now() > deadline) throw new Error(`nobody can write on node ${slow}`)
      await Bun.sleep(5)
    }
    for (const holder of this.#holders) await holder.kill()
    for (const writer of this.#writers) await writer.stop()
  }

  async check(): Promise<void> {
    const [primary, ...replicas] = this.#nodes as [TestNode, ...TestNode[]]
    for (const [at, node] of this.#nodes.entries()) {
      const sql = `insert into log(n, writer, i) select n + 1, ${-1 - at}, 0 from counter; update counter set n = n + 1`
      const timeout = ["-cmd", `.timeout ${WRITE_MS_MAX}`]
      const path = `${node.mount}/${DATABASE}`
      // This process has to go on: the links are in it.
      const command = ["sqlite3", "-bail", ...timeout, path, `begin immediate; ${sql}; commit`]
      await output(start(command, { limitMs: END_MS_MAX }))
    }
    // A reader that finds no wal-index locks it as a writer does.
    for (const { mount } of replicas) {
      const command = ["sqlite3", `${mount}/${DATABASE}`, "pragma integrity_check"]
      const found = await output(start(command, { limitMs: END_MS_MAX }))
      if (found.trim() !== "ok") throw new Error(found)
    }
    await Bun.sleep(LINGER_MS)
    for (const replica of replicas) await expectSame(primary, replica, DATABASE)
    const text = sqlite3(primary, DATABASE, "select n, writer, i from log order by n")
    const rows = text.split("\n").map((line) => line.split("|").map(Number))
    const counted = Number(sqlite3(primary, DATABASE, "select n from counter"))
    checkLog(rows as [number, number, number][], counted, this.#all)
  }

  report(): string {
    const writers = this.#all.map((writer) => writer.report()).join("\n")
    return `${writers}\n${this.#nodes.map(({ output }) => output.slice(-5000)).join("\n---\n")}`
  }

  #write(at: number): void {
    const node = this.#nodes[at] as TestNode
    this.#writers[at] = this.#start(node, [], Number.MAX_SAFE_INTEGER)
  }

  #hold(at: number): void {
    const node = this.#nodes[at] as TestNode
    const flock = ["flock", "-F", "-w", "15", `${node.mount}/${DATABASE}-lock`]
    const holder = this.#start(node, flock, HOLDER_COMMITS)
    this.#holders.add(holder)
    void holder.ended.then(() => this.#holders.delete(holder))
  }

  #start(node: TestNode, through: readonly string[], limit: number): Writer {
    const path = join(node.mount, DATABASE)
    const writer = new Writer(this.#all.length, through, path, limit)
    this.#scope.defer(() => writer.kill())
    this.#all.push(writer)
    return writer
  }

  async #restart(at: number): Promise<void> {
    const killed = this.#nodes[at] as TestNode
    await killed.stop("SIGKILL")
    await Bun.sleep(this.#options.random.below(500))
    const { directory, port } = killed
    const link = this.#links[at - 1]
    const follows = link === undefined ? {} : { follows: { url: link.url } }
    this.#nodes[at] = await this.#scope.node({ directory, port, flags: FLAGS, ...follows })
  }
}

type LogRow = readonly [n: number, writer: number, i: number]

/** Every transaction that a writer was told of is there, once, at its place, and nobody's are out of order. */
export function checkLog(
  rows: readonly LogRow[],
  counted: number,
  writers: readonly Pick<Writer, "number" | "acks" | "found">[],
): void {
  if (rows.length !== counted) throw new Error(`${rows.length} rows, ${counted} counted`)
  const next = new Map<number, number>()
  const place = new Map<string, number>()
  for (const [n, writer, i] of rows) {
    if (n !== place.size + 1) throw new Error(`row ${place.size + 1} is number ${n}`)
    if (i !== (next.get(writer) ?? 0)) throw new Error(`writer ${writer}: ${i} is out of order`)
    next.set(writer, i + 1)
    place.set(`${writer} ${i}`, n)
  }
  for (const { number, acks, found } of writers) {
    for (const [i, n] of acks) {
      const at = place.get(`${number} ${i}`)
      if (at !== n) throw new Error(`LOST: ${i} of writer ${number} was number ${n}, is ${at}`)
    }
    // The last one may be there though its writer did not live to hear of it.
    const unheard = (next.get(number) ?? 0) - acks.size - found
    if (unheard > 1) throw new Error(`writer ${number}: ${unheard} transactions too many`)
  }
}

class Writer {
  readonly number: number
  /** Which of all transactions each of its own was. */
  readonly acks = new Map<number, number>()
  found = 0
  problem: string | undefined
  readonly ended: Promise<void>
  readonly #child: ChildProcess
  readonly #failures: string[] = []

  constructor(number: number, through: readonly string[], path: string, limit: number) {
    this.number = number
    const program = join(import.meta.dir, "programs/counting-writer.mjs")
    const argument = JSON.stringify({ path, writer: number, limit })
    const [command = "node", ...args] = [...through, "node", program, argument]
    const child = spawn(command, args, { cwd: ROOT, stdio: ["pipe", "pipe", "pipe"] })
    this.#child = child
    child.stdin?.on("error", () => {}) // it has ended
    let rest = ""
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      const lines = (rest + text).split("\n")
      rest = lines.pop() ?? ""
      for (const line of lines) this.#take(line)
    })
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      // flock(1) of a daemon that is killed, or that does not get the lock.
      if (!/^flock:/.test(text)) this.problem ??= `writer ${number}: ${text}`
    })
    this.ended = new Promise((done) => child.once("close", () => done()))
  }

  #take(line: string): void {
    const [word, i, n] = line.split(" ")
    if (word === "failed") return void this.#failures.push(line)
    const isNext = Number(i) === this.acks.size + this.found
    if (word === "ack" && isNext) this.acks.set(Number(i), Number(n))
    else if (word === "found" && isNext) this.found += 1
    else this.problem ??= `writer ${this.number}: ${line}`
  }

  report(): string {
    const failures = this.#failures.slice(-3).join("; ")
    return `writer ${this.number}: ${this.acks.size} acknowledged, ${this.found} found; ${failures}`
  }

  async kill(): Promise<void> {
    this.#child.kill("SIGKILL")
    if (!(await within(END_MS_MAX, this.ended))) throw new Error(`writer ${this.number} is stuck`)
  }

  async stop(): Promise<void> {
    this.#child.stdin?.end()
    if (!(await within(END_MS_MAX, this.ended))) throw new Error(`writer ${this.number} is stuck`)
    if (this.problem !== undefined) throw new Error(this.problem)
  }
}
