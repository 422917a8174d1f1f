/**
 * A whole cluster in one process, from a seed: the same seed is the same run, event by event.
 *
 * Real, as it is in src:
 *   the place among the others     node/membership: member, role switch, static and elected lease, election, fencing,
 *                                  handoffs, offers, claims, confirmation, finding and following the primary
 *   replication                    replica, incoming stream, progress, acknowledgers; replica streams, database sender,
 *                                  resumable snapshots, ancestry; which replicas have what (--sync-replicas)
 *   write locks                    halting, halt locks, loans, borrowed locks, lender, echo filter
 *   the API                        its routes between nodes, and all that a request passes before them
 *   in the threads                 History with its checksums and LTX files, GatedLog, Acknowledgements, Proposals, who
 *                                  has a database; whether a file follows on a state, and what is kept of a state that is
 *                                  replaced; the ports between the threads, and shared memory
 *
 * Simulated: time (scheduler.ts), the network with TCP and HTTP on it (network.ts, http.ts), the disk (disk.ts), the
 * store of the lease (store.ts), programs that write (clients.ts), faults and people (faults.ts). A database is a map of
 * four pages. Of the two threads with the databases there is a model of what they do to a whole transaction
 * (fs-thread.ts, peer-thread.ts), without SQLite, the mount, the WAL, and without recovery: a start finds what was
 * written, or after a power cut what was durable, and perhaps more.
 *
 * Checked, always (ledger.ts):
 *   1. No two nodes commit in one epoch; with a lease in a store, at no moment may two nodes commit.
 *   2. Every database of every node is at a prefix of some history that clients have made, with its very pages.
 *   3. When all is well again there is one primary, and every node has what it has, within SETTLE_MS_MAX; no program
 *      waits any more.
 *   4. What a program was told is committed is in that history, or in a state that a node has kept as diverged.
 * Checked with strict acknowledgements:
 *   5. When a program is told that its transaction is committed, as many replicas as are waited for have it durably,
 *      beside the primary.
 *   6. What a program was told is committed is in the history in the end: with a lease in a store, where no more nodes
 *      are in trouble at a time than replicas are waited for, and nobody has forced a node into the role that lacks it.
 *
 * Not part of it: SQLite and the mount, the commit log and recovery, what parses bytes from outside, the clients of etcd
 * and Consul, TLS and tokens, the proxy, dropped and imported databases, retention, nodes with some of the databases,
 * compacted LTX files, more than one version of the program. Threads have no interleaving finer than their messages.
 */
import { configureLog } from "../../src/lib/log.ts"
import type { RoleOptions, SyncOptions } from "../../src/litefs-options.ts"
import { formatPos, type Pos, posEquals } from "../../src/ltx/pos.ts"
import { MemoryPlace } from "../support/memory-store.ts"
import { Random } from "../support/random.ts"
import type { Canary } from "./canaries.ts"
import { Clients } from "./clients.ts"
import { Faults } from "./faults.ts"
import { withoutTheWorld } from "./guard.ts"
import { keyOf, Ledger } from "./ledger.ts"
import { Network } from "./network.ts"
import { Machine, type Node, urlOf, type World } from "./node.ts"
import { Process, Scheduler } from "./scheduler.ts"
import { SimulatedStore, type StoreState } from "./store.ts"
import { Tables } from "./tables.ts"

const DATABASES = ["one.db", "two.db"] as const

/** The cluster comes up before anything goes wrong. */
const WARM_UP_MS = 4000
/** After the last fault, until all has to be well. */
const SETTLE_MS_MAX = 120_000

export interface SimulationOptions {
  readonly seed: number
  /** Otherwise as many as the seed says, 3 to 5. */
  readonly nodes?: number
  readonly canary?: Canary | undefined
  /** Gets a line of text for whatever happens. */
  readonly trace?: (line: string) => void
}

export interface Outcome {
  readonly seed: number
  readonly violations: readonly string[]
  readonly config: string
  readonly simulatedMs: number
  readonly events: number
  readonly faults: number
  readonly answered: number
  readonly failed: number
  readonly borrowed: number
  /** Told as committed, and in no history in the end: kept as diverged. */
  readonly lost: number
  readonly epochs: number
  /** From the last fault until all was well. */
  readonly settledMs: number
}

/** A run has some thousand events. Nodes that are busy with nothing have any number. */
const EVENT_COUNT_MAX = 300_000

/** What the seed says of a run. */
interface Config {
  readonly nodes: number
  readonly isElected: boolean
  readonly sync: SyncOptions | undefined
  readonly ttlMs: number
  /** Machines in trouble at a time. */
  readonly troubleMax: number
  readonly isForced: boolean
  readonly faultMs: number
  readonly pauseMs: number
}

export function simulate(options: SimulationOptions): Outcome {
  const { trace } = options
  const run = new Run(options)
  const write = (line: string) => run.trace(`    ${Process.current?.name} ${line.trimEnd()}`)
  configureLog({ level: trace === undefined ? "error" : "info", format: "plain" }, write)
  try {
    return withoutTheWorld(() => run.run())
  } finally {
    run.end()
  }
}

class Run {
  readonly #options: SimulationOptions
  readonly #config: Config
  readonly #scheduler = new Scheduler()
  readonly #random: Random
  readonly #network: Network
  readonly #store: StoreState = { isDown: false, slowMs: 0, lossRate: 0 }
  readonly #ledger: Ledger
  readonly #machines: readonly Machine[]
  readonly #tables = new Tables()
  readonly #clients: Clients
  readonly #faults: Faults
  #endMs = 0

  constructor(options: SimulationOptions) {
    this.#options = options
    const random = new Random(options.seed)
    this.#random = random
    const scheduler = this.#scheduler
    const config = configOf(random, options.nodes)
    this.#config = config
    const { isElected, ttlMs, sync, troubleMax, isForced } = config
    this.#network = new Network(scheduler, random)
    const names = [..."abcde"].slice(0, config.nodes)
    this.#ledger = new Ledger({
      nowMs: () => scheduler.nowMs,
      committing: () => this.#nodes.filter((node) => node.mayCommit).map(nameOf),
      epoch: (name) => this.#node(name)?.membership.member.record?.epoch ?? 0,
      isElected,
    })
    const storeClock = new Process("store", scheduler, random, 1).clock
    const place = new MemoryPlace(storeClock, ttlMs)
    const world: World = {
      ...{ scheduler, network: this.#network, random, account: this.#ledger },
      canary: options.canary,
      newStore: (process) => new SimulatedStore(place, this.#store, this.#network, process),
      newTables: () => this.#tables.take(),
    }
    this.#machines = names.map((name, index) => {
      const role: RoleOptions = isElected
        ? { kind: "elected", store: undefined as never }
        : index === 0
          ? { kind: "primary" }
          : { kind: "replica", primaryUrl: urlOf("a") }
      const peers = isElected ? [] : names.filter((other) => other !== name).map(urlOf)
      return new Machine(world, { name, role, peers, sync, isCandidate: true })
    })
    this.#clients = new Clients({
      ...{ scheduler, random, machines: this.#machines, databases: DATABASES },
      ...{ pauseMs: config.pauseMs, borrowRate: 0.1 },
      answered: (node, database, pos) => this.#answered(nameOf(node), database, pos),
    })
    this.#faults = new Faults({
      ...{ scheduler, random, network: this.#network, machines: this.#machines },
      ...{ store: this.#store, troubleMax, isForced, graceMs: ttlMs + 2000 },
      longMs: [ttlMs / 2, ttlMs * 2.5],
      trace: (text) => this.trace(text),
      forced: (machine) => {
        const { databases } = machine.node ?? {}
        this.#ledger.forced((database) => databases?.position(database))
      },
    })
  }

  /** A program was told that its transaction is committed. */
  #answered(node: string, database: string, pos: Pos): void {
    const { isElected, sync, troubleMax } = this.#config
    const isStrict = sync?.mode === "strict"
    const isSafe = isElected && isStrict && troubleMax <= sync.replicas
    const answered = { database, pos, node, atMs: this.#scheduler.nowMs, isSafe }
    this.#ledger.answer(answered)
    if (!isStrict) return
    const having = this.#machines.filter(({ disk }) => {
      const history = this.#ledger.historyOf(database, disk.durablePos(database))
      return this.#ledger.isIn(history, answered)
    })
    if (having.length > sync.replicas) return
    const names = having.map(({ name }) => name).join()
    this.#ledger.violation(
      `${node} has answered ${keyOf(database, pos)}, which is durable on ${names || "no node"} alone`,
    )
  }

  get #nodes(): Node[] {
    return this.#machines.flatMap(({ node }) => node ?? [])
  }

  #node(name: string): Node | undefined {
    return this.#machines.find((machine) => machine.name === name)?.node
  }

  trace(line: string): void {
    this.#options.trace?.(`${(this.#scheduler.nowMs / 1000).toFixed(3)} ${line}`)
  }

  end(): void {
    this.#tables.giveBack()
  }

  run(): Outcome {
    const scheduler = this.#scheduler
    const random = this.#random
    const { faultMs } = this.#config
    this.trace(describe(this.#config))
    for (const machine of this.#machines) {
      scheduler.after(random.below(1500), () => machine.start())
    }
    this.#restartFailed()
    this.#clients.start()
    const isBroken = () => {
      const isBusy = scheduler.eventCount > EVENT_COUNT_MAX
      if (isBusy) this.#ledger.violation(`busy with nothing: ${scheduler.eventCount} events`)
      return this.#ledger.violations.length > 0
    }
    scheduler.run(WARM_UP_MS, isBroken)
    this.#faults.start(1000)
    scheduler.run(WARM_UP_MS + faultMs, isBroken)
    this.trace("FAULTS are over")
    this.#faults.end()
    const healedMs = scheduler.nowMs
    this.#settle(healedMs, isBroken)
    this.#endMs = scheduler.nowMs
    const lost = isBroken() ? 0 : this.#judge()
    const { okCount, failedCount, borrowedCount } = this.#clients
    return {
      seed: this.#options.seed,
      violations: this.#ledger.violations,
      config: describe(this.#config),
      simulatedMs: this.#endMs,
      events: scheduler.eventCount,
      ...{ faults: this.#faults.count, answered: okCount, failed: failedCount },
      ...{ borrowed: borrowedCount, lost, settledMs: this.#endMs - healedMs },
      epochs: Math.max(0, ...this.#nodes.map((node) => node.membership.member.record?.epoch ?? 0)),
    }
  }

  /** A node that cannot go on ends, and somebody starts it again. */
  #restartFailed(): void {
    this.#scheduler.after(1000, () => {
      for (const machine of this.#machines) {
        const { node } = machine
        if (node?.failure === undefined || node.process.isStopped) continue
        this.trace(`${machine.name} cannot go on: ${node.failure.message}`)
        machine.kill()
        machine.start()
      }
      this.#restartFailed()
    })
  }

  #settle(healedMs: number, isBroken: () => boolean): void {
    const scheduler = this.#scheduler
    scheduler.run(healedMs + 3000, isBroken)
    this.#clients.isOver = true
    const endMs = healedMs + SETTLE_MS_MAX
    while (scheduler.nowMs < endMs && !isBroken()) {
      scheduler.run(scheduler.nowMs + 500, isBroken)
      if (this.#difference() === undefined) return
    }
    if (isBroken()) return
    const seconds = SETTLE_MS_MAX / 1000
    this.#ledger.violation(`not well ${seconds} s after the last fault: ${this.#difference()}`)
  }

  /** What keeps the cluster from being well; undefined when nothing does. */
  #difference(): string | undefined {
    const missing = this.#machines.filter(({ node }) => node === undefined)
    if (missing.length > 0) return `${missing.map(({ name }) => name)} does not run`
    const primaries = this.#nodes.filter((node) => node.mayCommit)
    if (primaries.length !== 1) return `${primaries.length} primaries, ${this.#states()}`
    const [primary] = primaries as [Node]
    for (const node of this.#nodes) {
      if (node === primary) continue
      const name = nameOf(node)
      if (node.membership.member.state !== "replica")
        return `${name} is no replica, ${this.#states()}`
      for (const database of DATABASES) {
        const [theirs, ours] = [primary, node].map((each) => each.databases.position(database))
        const isSame = theirs === undefined || (ours !== undefined && posEquals(theirs, ours))
        if (isSame) continue
        const at = ours === undefined ? "nothing" : formatPos(ours)
        return `${database} is at ${at} on ${name}, at ${formatPos(theirs)} on ${nameOf(primary)}`
      }
    }
    const waiting = this.#clients.waiting()
    return waiting.length === 0 ? undefined : `programs wait: ${waiting.join("; ")}`
  }

  #states(): string {
    return this.#nodes
      .map((node) => {
        const { member, elected } = node.membership
        const held = elected === undefined ? "" : member.isHeld ? ", holds the lease" : ""
        return `${nameOf(node)} ${member.state} of epoch ${member.record?.epoch}${held}`
      })
      .join("; ")
  }

  /** Looks for what was answered. Returns the number that is not in the history, and is kept. */
  #judge(): number {
    const primary = this.#nodes.find((node) => node.mayCommit) as Node
    let lost = 0
    for (const database of DATABASES) {
      const pos = primary.databases.position(database)
      if (pos === undefined) continue
      const history = this.#ledger.historyOf(database, pos)
      const kept = this.#machines.flatMap(({ disk }) =>
        disk.kept
          .filter((each) => each.database === database)
          .map((each) => this.#ledger.historyOf(database, each.pos)),
      )
      for (const answered of this.#ledger.answered) {
        if (answered.database !== database || this.#ledger.isIn(history, answered)) continue
        lost += 1
        const { node, atMs, isSafe } = answered
        const what = `${keyOf(database, answered.pos)}, committed on ${node} at ${(atMs / 1000).toFixed(3)} s,`
        if (isSafe) this.#ledger.violation(`${what} was acknowledged and is lost`)
        else if (!kept.some((each) => this.#ledger.isIn(each, answered))) {
          this.#ledger.violation(`${what} is lost, and nobody has kept it`)
        }
      }
    }
    return lost
  }
}

function nameOf(node: Node): string {
  return node.process.name
}

function configOf(random: Random, givenNodes: number | undefined): Config {
  const nodes = random.between(3, 5)
  const isElected = random.below(4) > 0
  const replicas = random.pick([0, 1, 1, 1, 2])
  const mode = random.below(4) === 0 ? "degrade" : "strict"
  const isBold = random.below(3) === 0
  const count = givenNodes ?? nodes
  return {
    nodes: count,
    isElected,
    sync: replicas === 0 ? undefined : { replicas, mode, timeoutMs: random.pick([1000, 5000]) },
    ttlMs: random.pick([3000, 5000]),
    troubleMax: isBold ? count - 1 : Math.max(1, replicas),
    isForced: random.below(3) === 0,
    faultMs: random.pick([15_000, 30_000]),
    pauseMs: random.pick([500, 2000]),
  }
}

function describe({ nodes, isElected, sync, ttlMs, troubleMax, isForced }: Config): string {
  const lease = isElected ? `lease of ${ttlMs} ms` : "static lease"
  const wait = sync ? `${sync.replicas} replicas, ${sync.mode}` : "no acknowledgements"
  const people = isForced ? ", people force" : ""
  return `${nodes} nodes, ${lease}, ${wait}, ${troubleMax} in trouble at most${people}`
}
