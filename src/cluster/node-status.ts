/**
 * This node, its role and its health, for everybody who asks: `/info`, `/metrics`, `/health` and `/events`.
 *
 *   starting ── markReady(): mounted and, on a replica, once where the primary was ──▶ ready
 *
 * It keeps nothing up to date: it reads memory that other threads write, when it is asked.
 */
import type { Clock } from "../lib/clock.ts"
import { until } from "../lib/until.ts"
import { type Pos, ZERO_POS } from "../ltx/pos.ts"
import type { Positions, SharedState } from "../store/positions.ts"
import type { SharedLag } from "../store/shared-lag.ts"
import { NodeProblems } from "./node-problems.ts"
import type { LeaseRecord } from "./role/lease.ts"
import type { SyncReplicas, SyncStatus } from "./sync-replicas.ts"

export interface NodeIdentity {
  readonly id: string // 16 hexadecimal digits
  readonly hostname: string
  readonly version: string
  readonly dataDir: string
  readonly fuseDir: string
  readonly advertiseUrl: string | undefined
  /** Undefined: the node is the primary when it has no `primaryUrl`. */
  readonly isPrimary?: boolean
  /** URL of the primary that this node follows; undefined on the primary, and while none is known. */
  readonly primaryUrl: string | undefined
  clusterId(): string | undefined
  /** URL of the primary's proxy, if known. */
  proxyUrl?(): string | undefined
  /** Whether this node may become the primary. */
  readonly isCandidate?: boolean
  lease?(): LeaseRecord | undefined
  /** With a lease in a store. */
  leaseStore?(): LeaseStoreStatus | undefined
  /** Undefined until the mount answers. */
  capture?(): CaptureStatus | undefined
}

/** How commits to a WAL are captured while this node is the primary, and why. */
export interface CaptureStatus {
  readonly mode: "behind" | "strict"
  readonly reason: string
}

export interface LeaseStoreStatus {
  readonly type: string
  /** Where it is, without user and password. */
  readonly store: string
  /** Whether this node may commit as the primary. */
  readonly isHeld: boolean
  /** For how long, unless it renews the lease. */
  readonly leftMs: number
  /** As the store was seen last; undefined when nobody holds the lease, or nobody knows. */
  readonly holder: LeaseRecord | undefined
}

export interface Lag {
  /** Undefined until the node has been in sync once. */
  readonly ms: number | undefined
  readonly transactions: number
  readonly bytes: number // received and not applied
}

/**
 * Whether a database is `here`; `arriving`: the primary has it and nothing of it is here yet; or `left-out`: it cannot
 * be sent or applied, and other databases go on without it.
 */
export type DatabaseCondition = "here" | "arriving" | "left-out"

export interface DatabaseRemark {
  readonly isArriving: boolean
  /** It is here, and the primary does not have it. */
  readonly isForeign?: boolean
  /** Why the database is left out. */
  readonly problem?: string
}

export interface DatabaseStatus extends SharedState {
  readonly name: string
  readonly condition: DatabaseCondition
  readonly problem: string | undefined
  /** It is here, and the primary does not have it: nothing arrives for it. */
  readonly isForeign: boolean
  readonly lag: Lag
  /** What is durable and not applied yet, as far as anybody has asked. */
  readonly durable: Pos | undefined
}

/** A replica that is connected to this node. */
export interface ConnectedReplica {
  readonly id: string | undefined
  readonly name: string
  /** Where others reach it, if it has said so. */
  readonly url?: string | undefined
  readonly connectedMs: number
  /** For how long it has said nothing; undefined when it is not silent. What it was sent since may not be there. */
  readonly silentMs?: number | undefined
  readonly sent: ReadonlyMap<string, Pos>
  isWanted(database: string): boolean
  /** The databases that it cannot take for now. */
  readonly leftOut: ReadonlySet<string>
}

export interface NodeStatusContext {
  readonly positions: Positions
  readonly lag: SharedLag
  readonly clock: Clock
  replicas(): Iterable<ConnectedReplica>
  remarks?(): ReadonlyMap<string, DatabaseRemark>
  /** What a database at the given transaction is known to lack. */
  missing(database: string, txid: bigint): { readonly transactions: number; readonly bytes: number }
  problem?(): string | undefined
  /** Up to where a database of a replica is durable. */
  durable?(database: string): Pos | undefined
  readonly sync?: Pick<SyncReplicas, "isOn" | "status"> | undefined
}

export class NodeStatus {
  readonly identity: NodeIdentity
  readonly startedMs: number
  readonly problems: NodeProblems
  readonly #context: NodeStatusContext
  readonly #listeners = new Set<() => void>()
  #isReady = false
  #primaryName: string | undefined

  constructor(identity: NodeIdentity, context: NodeStatusContext) {
    this.identity = identity
    this.#context = context
    this.problems = new NodeProblems(context.clock)
    this.startedMs = context.clock.wallMs()
  }

  get isPrimary(): boolean {
    return this.identity.isPrimary ?? this.identity.primaryUrl === undefined
  }

  /** The problem that stops all work of the node, if any. */
  get problem(): string | undefined {
    return this.#context.problem?.()
  }

  /** Whether commits of this primary wait for replicas, and what comes of that; undefined when they do not. */
  get sync(): SyncStatus | undefined {
    const { sync } = this.#context
    return sync?.isOn === true && this.isPrimary ? sync.status : undefined
  }

  get isReady(): boolean {
    return this.#isReady
  }

  markReady(): void {
    this.#isReady = true
    this.changed()
  }

  /**
   * Host name of the primary: our own, or that of the primary we are connected to; undefined when we are not connected.
   */
  get primaryName(): string | undefined {
    return this.isPrimary ? this.identity.hostname : this.#primaryName
  }

  setPrimaryName(name: string | undefined): void {
    this.#primaryName = name
    this.changed()
  }

  /** The lag of all databases together. */
  get lag(): Lag {
    let [transactions, bytes] = [0, 0]
    for (const database of this.databases()) {
      transactions += database.lag.transactions
      bytes += database.lag.bytes
    }
    return { ms: this.lagMs, transactions, bytes }
  }

  /** Its `ms`, without a look at each database. */
  get lagMs(): number | undefined {
    const { lag, positions, clock } = this.#context
    return lag.lagMs(positions, clock.steadyMs())
  }

  /** Includes databases that have only a remark. */
  *databases(): Generator<DatabaseStatus> {
    const { positions } = this.#context
    const remarks = this.#remarks
    for (const [name, slot] of positions.entries()) {
      yield this.#status(name, positions.read(slot), remarks.get(name))
    }
    for (const [name, remark] of remarks) {
      if (positions.find(name) === undefined) yield this.#status(name, NOTHING_HERE, remark)
    }
  }

  database(name: string): DatabaseStatus | undefined {
    const { positions } = this.#context
    const slot = positions.find(name)
    const remark = this.#remarks.get(name)
    if (slot === undefined && remark === undefined) return undefined
    return this.#status(name, slot === undefined ? NOTHING_HERE : positions.read(slot), remark)
  }

  get #remarks(): ReadonlyMap<string, DatabaseRemark> {
    return this.#context.remarks?.() ?? new Map()
  }

  /** Whether this node has all that the primary had at the time, by our steady clock. */
  hasBeenSyncedSince(momentMs: number): boolean {
    return this.#context.lag.hasBeenSyncedSince(momentMs)
  }

  replicas(): Iterable<ConnectedReplica> {
    return this.#context.replicas()
  }

  /** Something in the status may have changed. */
  changed(): void {
    for (const listener of [...this.#listeners]) listener()
  }

  /** Whether this node is connected to a primary, now or within the limit. */
  isConnectedWithin(limitMs: number): Promise<boolean> {
    const { clock } = this.#context
    const onChange = (listener: () => void) => this.onChange(listener)
    return until(() => this.primaryName !== undefined, { clock, limitMs, onChange })
  }

  get listenerCount(): number {
    return this.#listeners.size
  }

  /** Calls back whenever something may have changed, until the returned function is called. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  #status(
    name: string,
    state: SharedState,
    { isArriving, isForeign = false, problem }: DatabaseRemark = NO_REMARK,
  ): DatabaseStatus {
    const { lag, clock, missing, durable: durableOf } = this.#context
    const stored = durableOf?.(name)
    const durable = stored !== undefined && stored.txid > state.pos.txid ? stored : undefined
    const ms = lag.databaseLagMs(state.timestampMs, clock.steadyMs())
    const condition = problem !== undefined ? "left-out" : isArriving ? "arriving" : "here"
    const behind = { ms, ...missing(name, state.pos.txid) }
    return { ...state, name, condition, problem, isForeign, durable, lag: behind }
  }
}

const NO_REMARK: DatabaseRemark = { isArriving: false }

const NOTHING_HERE: SharedState = {
  pos: ZERO_POS,
  timestampMs: 0,
  pageSize: 0,
  commit: 0,
  stored: ZERO_POS,
}
