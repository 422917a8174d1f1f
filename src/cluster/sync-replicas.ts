/**
 * Which replicas have what durably, and who waits for that: `--sync-replicas N`, on the primary.
 *
 *   a commit ─▶ before(): have N replicas all that came before it? ── no, strict: it waits, then it is refused
 *            ─▶ it is durable here, and under way to all replicas (mount/databases/acknowledgements.ts)
 *            ─▶ after(): have N replicas this position? ── not yet: it waits
 *
 * A database is in one of two states:
 *
 *               degrade: a commit has waited for the timeout, or nobody could have acknowledged it for that long
 *   synchronous ─────────────────────────────────────────────────────────────────────────────────────▶ degraded
 *        ▲                                                                                                │
 *        └─── N replicas have the present position, or had one of less than the timeout ago in that time ─┘
 *
 * In strict mode it stays synchronous, and a commit under way waits without a limit: it may be at a replica, so to refuse
 * it would be a lie. before() is what is refused, when nothing of the commit counts yet.
 *
 * 1. A replica has a position when it has said so on a connection that belongs to its stream from this primary: this
 *    cluster, this epoch. It is forgotten with its stream.
 * 2. A position counts when its checksum is the one of our history. One that nobody here remembers counts for nothing.
 * 3. A node counts once, by its id, however many streams it has.
 * 4. A commit under way is acknowledged only while this node holds the lease. Without it another node may be the primary
 *    by now, and a replica may acknowledge what that one's history lacks. The commit waits: until this node holds the
 *    lease again, with its history as it was, or loses the role.
 * 5. before() does not count a replica that has been silent for SILENCE_MS_MAX, though it may have everything: the next
 *    transaction would wait for it. So a replica that hangs makes commits wait before they count, not after.
 */
import type { Clock } from "../lib/clock.ts"
import { type ErrorCode, LitefsError } from "../lib/errors.ts"
import { Histogram } from "../lib/histogram.ts"
import { LineLimit, logger } from "../lib/log.ts"
import type { MetricFamily } from "../lib/metrics.ts"
import { single } from "../lib/metrics.ts"
import type { SyncOptions } from "../litefs-options.ts"
import { type Checksum, type Pos, posEquals, type Txid, ZERO_POS } from "../ltx/pos.ts"

const log = logger("sync")

/** Positions of a database that are remembered: so many transactions may be under way. */
const PAST_COUNT_MAX = 1024

const NO_SYNC: SyncOptions = { replicas: 0, mode: "strict", timeoutMs: 0 }

/** A replica that says what it has. */
export interface SyncReplica {
  readonly id: string
  readonly name: string
  isWanted(database: string): boolean
}

export interface JoinedReplica {
  /** It has said something. */
  alive(): void
  /** It has the database up to the position, durably. */
  acknowledge(database: string, pos: Pos): void
  /** Its stream has ended. */
  leave(): void
}

export type SyncState = "synchronous" | "waiting" | "degraded"

export interface SyncStatus {
  readonly replicas: number
  readonly mode: SyncOptions["mode"]
  /** Replicas that acknowledge. */
  readonly acknowledging: number
  /** `waiting`: commits wait, or are refused. `degraded`: commits of a database do not wait. */
  readonly state: SyncState
  /** Why it is not synchronous. */
  readonly reason?: string
  readonly degraded?: readonly string[]
}

export interface SyncReplicasContext {
  readonly options: SyncOptions | undefined
  readonly clock: Clock
  /** Where the database is here. */
  position(database: string): Pos | undefined
  /** Whether this node may commit by its lease. */
  isHeld(): boolean
  /** What was acknowledged may not be any more: who remembers it asks again. */
  changed(): void
  /** The status is another one. */
  onStatus(): void
}

interface Waiting {
  readonly isEnough: () => boolean
  readonly end: (code: ErrorCode | undefined) => void
  readonly isCommitted: boolean // it is durable here
  isLate: boolean // it would not wait any more, but for the lease
  readonly sinceMs: number
}

interface Database {
  readonly waiting: Set<Waiting>
  /** Our own positions, the newest last. */
  readonly past: Map<Txid, Checksum>
  isDegraded: boolean
  /** While degraded: a position, and when it was made. */
  probe: { readonly pos: Pos; readonly sinceMs: number } | undefined
}

/** The status tells of a commit that has waited for so long. */
const LATE_MS = 1000

const SAID: Readonly<Record<SyncState, string>> = {
  synchronous: "enough replicas acknowledge transactions",
  waiting: "commits wait for replicas to acknowledge them",
  degraded: "commits go on without acknowledgements",
}

interface Joined extends SyncReplica {
  readonly positions: Map<string, Pos>
  heardMs: number
  isSilent: boolean
}

/** A replica says every second that it is there (cluster/replica/acknowledger.ts). */
const SILENCE_MS_MAX = 3000

export class SyncReplicas {
  readonly options: SyncOptions
  readonly #context: SyncReplicasContext
  readonly #joined = new Set<Joined>()
  readonly #databases = new Map<string, Database>()
  readonly #limit: LineLimit
  readonly #waitTime = new Histogram()
  #isPrimary = false
  #shortSinceMs: number | undefined // since when too few replicas acknowledge
  #refusalCount = 0
  #unacknowledgedCount = 0
  #cancelLook = () => {}
  #cancelWatch = () => {}
  #said: SyncState = "synchronous"

  constructor(context: SyncReplicasContext) {
    this.options = context.options ?? NO_SYNC
    this.#context = context
    this.#limit = new LineLimit(context.clock)
  }

  get isOn(): boolean {
    return this.options.replicas > 0
  }

  /** This node is the primary from here on. */
  begin(): void {
    this.#isPrimary = true
    this.#joined.clear()
    this.#databases.clear()
    this.#shortSinceMs = undefined
    this.#said = "synchronous"
    this.#look()
  }

  /** This node holds the lease, perhaps after a pause. */
  held(): void {
    for (const [name, known] of this.#databases) {
      this.#settle(name)
      if ([...known.waiting].some(({ isLate }) => isLate)) this.#endLate(name, known)
    }
  }

  /** This node is no longer the primary. Nobody knows whether those who wait have committed. */
  end(): void {
    this.#isPrimary = false
    this.#cancelLook()
    this.#cancelWatch()
    for (const { waiting } of this.#databases.values()) {
      for (const { end } of waiting) end("no-primary")
    }
    this.#joined.clear()
    this.#databases.clear()
    this.#context.onStatus()
  }

  join(replica: SyncReplica): JoinedReplica {
    const { clock } = this.#context
    const joined: Joined = {
      ...{ id: replica.id, name: replica.name, positions: new Map() },
      ...{ heardMs: clock.monotonicMs(), isSilent: false },
      isWanted: (database) => replica.isWanted(database),
    }
    this.#joined.add(joined)
    log.debug("a replica acknowledges", { replica: replica.name })
    this.#came()
    const alive = () => {
      joined.heardMs = clock.monotonicMs()
      if (!joined.isSilent || !this.#joined.has(joined)) return
      joined.isSilent = false
      this.#came()
    }
    return {
      alive,
      acknowledge: (database, pos) => {
        alive()
        // Of databases that are not here a replica could name any number.
        if (!this.#joined.has(joined) || this.#context.position(database) === undefined) return
        joined.positions.set(database, pos)
        this.#settle(database)
      },
      leave: () => {
        if (!this.#joined.delete(joined)) return
        this.#context.changed()
        this.#look()
      },
    }
  }

  /** One more replica acknowledges, or does so again. */
  #came(): void {
    this.#watch()
    this.#look()
    for (const name of this.#databases.keys()) this.#settle(name)
  }

  /** Notices those that fall silent. */
  #watch(): void {
    const { clock, changed } = this.#context
    this.#cancelWatch()
    const speaking = [...this.#joined].filter(({ isSilent }) => !isSilent)
    if (speaking.length === 0) return
    const nextMs = Math.min(...speaking.map(({ heardMs }) => heardMs)) + SILENCE_MS_MAX
    this.#cancelWatch = clock.after(Math.max(0, nextMs - clock.monotonicMs()), () => {
      const nowMs = clock.monotonicMs()
      const silent = speaking.filter(({ heardMs }) => nowMs - heardMs >= SILENCE_MS_MAX)
      for (const joined of silent) joined.isSilent = true
      if (silent.length > 0) {
        changed()
        this.#look()
      }
      this.#watch()
    })
  }

  /**
   * Before a transaction of the database counts here. Resolves with why it may not; undefined when as many replicas as
   * are wanted have everything that came before it. With `isPatient` it waits for them, until the timeout.
   */
  before(database: string, isPatient = true, signal?: AbortSignal): Promise<ErrorCode | undefined> {
    if (!this.isOn || this.options.mode === "degrade") return Promise.resolve(undefined)
    if (!isPatient && !this.#hasAll(database)) return Promise.resolve(this.#refuse(database))
    return this.#wait(database, () => this.#hasAll(database), false, signal)
  }

  /**
   * The transaction that leads to the position is durable here. Resolves when its client may hear of it; with a code
   * when nobody knows what becomes of it.
   */
  after(database: string, pos: Pos, signal?: AbortSignal): Promise<ErrorCode | undefined> {
    if (!this.isOn) return Promise.resolve(undefined)
    this.#remember(database, pos)
    const isEnough = () => {
      return this.#context.isHeld() && this.#count(database, pos) >= this.options.replicas
    }
    return this.#wait(database, isEnough, true, signal)
  }

  /** As after(), for whatever the database is at. Throws when that is not known. */
  async acknowledged(database: string, signal?: AbortSignal): Promise<void> {
    const pos = this.#context.position(database)
    const code = pos && (await this.after(database, pos, signal))
    if (code !== undefined) throw this.#unknown(database, code)
  }

  /** As before(). Throws when the transaction may not be made. */
  async allowed(database: string, signal?: AbortSignal): Promise<void> {
    const code = await this.before(database, true, signal)
    if (code === undefined) return
    const advice = "connect more of them, or start this node with a smaller --sync-replicas"
    throw new LitefsError(code, `Cannot write "${database}": ${this.#shortage()}, ${advice}`)
  }

  #unknown(database: string, code: ErrorCode): LitefsError {
    const problem =
      "the replicas had not acknowledged it when this node lost its role, or its sender was gone"
    return new LitefsError(
      code,
      `Cannot tell what becomes of a transaction of "${database}": ${problem}`,
    )
  }

  #wait(
    database: string,
    isEnough: () => boolean,
    isCommitted: boolean,
    signal?: AbortSignal,
  ): Promise<ErrorCode | undefined> {
    if (!this.#isPrimary) return Promise.resolve("no-primary")
    const known = this.#database(database)
    const { clock } = this.#context
    const { mode, timeoutMs } = this.options
    if (isEnough()) {
      if (isCommitted) this.#waitTime.observe(0)
      this.#forget(database, known)
      return Promise.resolve(undefined)
    }
    const mayGoOn = !isCommitted || this.#context.isHeld()
    if (mode === "degrade" && mayGoOn && (known.isDegraded || this.#isShortFor(timeoutMs))) {
      this.#goOn(database, known)
      return Promise.resolve(undefined)
    }
    if (!isCommitted && this.#isShortFor(timeoutMs)) {
      this.#forget(database, known)
      return Promise.resolve(this.#refuse(database))
    }
    const { promise, resolve } = Promise.withResolvers<ErrorCode | undefined>()
    let cancel = () => {}
    const sinceMs = clock.monotonicMs()
    const waiting: Waiting = {
      ...{ isEnough, isCommitted, sinceMs, isLate: false },
      end: (code) => {
        known.waiting.delete(waiting)
        cancel()
        signal?.removeEventListener("abort", aborted)
        this.#forget(database, known)
        if (isCommitted && code === undefined) {
          this.#waitTime.observe(clock.monotonicMs() - sinceMs)
        }
        resolve(code)
      },
    }
    known.waiting.add(waiting)
    const aborted = () => waiting.end("unavailable") // nobody waits for the answer any more
    signal?.addEventListener("abort", aborted)
    if (isCommitted && mode === "strict") {
      cancel = clock.after(Math.min(LATE_MS, timeoutMs), () => this.#look())
      return promise
    }
    cancel = clock.after(timeoutMs, () => {
      if (!isCommitted) return waiting.end(this.#refuse(database))
      waiting.isLate = true
      if (this.#context.isHeld()) this.#endLate(database, known)
    })
    return promise
  }

  /** In degrade mode: commits of the database do without acknowledgements. */
  #endLate(database: string, known: Database): void {
    this.#goOn(database, known)
    for (const each of [...known.waiting]) each.end(undefined)
  }

  /** In strict mode: why the transaction may not be made. */
  #refuse(database: string): ErrorCode {
    this.#refusalCount += 1
    const said = this.#limit.take(`refuse ${database}`)
    if (said !== undefined) {
      log.warn("refused a commit, of which nothing counts", {
        ...{ db: database, problem: this.#shortage(), ...said },
      })
    }
    return "unavailable"
  }

  /** The database does without acknowledgements. */
  #goOn(database: string, known: Database): void {
    this.#unacknowledgedCount += 1
    known.probe ??= this.#newProbe(database)
    if (known.isDegraded) return
    known.isDegraded = true
    // Of what is so of all databases, one line is enough.
    const isAlone = this.#nodeCount >= this.options.replicas
    const said = isAlone ? this.#limit.take(`degrade ${database}`) : undefined
    if (said !== undefined) {
      log.warn("commits of a database go on without acknowledgements", {
        ...{ db: database, problem: this.#shortage(), ...said },
      })
    }
    this.#look()
  }

  #newProbe(database: string): Database["probe"] {
    const pos = this.#context.position(database)
    return pos && { pos, sinceMs: this.#context.clock.monotonicMs() }
  }

  /** A replica has more of the database. */
  #settle(database: string): void {
    const known = this.#databases.get(database)
    if (known === undefined) return
    for (const each of [...known.waiting]) if (each.isEnough()) each.end(undefined)
    if (known.isDegraded && this.#hasCaughtUp(database, known)) {
      known.isDegraded = false
      known.probe = undefined
      this.#forget(database, known)
    }
    if (this.#said !== "synchronous") this.#look()
  }

  /** Under load no replica is ever where the primary is: what was committed a moment ago tells how far it is behind. */
  #hasCaughtUp(database: string, known: Database): boolean {
    if (this.#hasAll(database)) return true
    const { probe } = known
    if (probe === undefined || this.#count(database, probe.pos) < this.options.replicas)
      return false
    const tookMs = this.#context.clock.monotonicMs() - probe.sinceMs
    known.probe = this.#newProbe(database)
    if (known.probe !== undefined) this.#remember(database, known.probe.pos)
    return tookMs < this.options.timeoutMs
  }

  #hasAll(database: string): boolean {
    const pos = this.#context.position(database) ?? ZERO_POS
    const isCounted = ({ isSilent }: Joined) => !isSilent
    return this.#count(database, pos, isCounted) >= this.options.replicas
  }

  /** The number of nodes that have our database up to the position. */
  #count(database: string, pos: Pos, isCounted = (_: Joined) => true): number {
    const ids = new Set<string>()
    for (const joined of this.#joined) {
      if (!joined.isWanted(database) || !isCounted(joined)) continue
      if (pos.txid === 0n || this.#has(joined, database, pos)) ids.add(joined.id)
    }
    return ids.size
  }

  #has({ positions }: Joined, database: string, pos: Pos): boolean {
    const theirs = positions.get(database)
    if (theirs === undefined || theirs.txid < pos.txid) return false
    if (theirs.txid === pos.txid) return posEquals(theirs, pos)
    const ours = this.#context.position(database)
    if (ours !== undefined && posEquals(theirs, ours)) return true
    return this.#databases.get(database)?.past.get(theirs.txid) === theirs.checksum
  }

  #remember(database: string, { txid, checksum }: Pos): void {
    const { past } = this.#database(database)
    past.set(txid, checksum)
    if (past.size > PAST_COUNT_MAX) past.delete(past.keys().next().value as Txid)
  }

  #database(name: string): Database {
    const known = this.#databases.get(name)
    if (known !== undefined) return known
    const database = {
      waiting: new Set<Waiting>(),
      past: new Map(),
      isDegraded: false,
      probe: undefined,
    }
    this.#databases.set(name, database)
    return database
  }

  /** A database at rest costs nothing. */
  #forget(name: string, { waiting, isDegraded }: Database): void {
    if (waiting.size === 0 && !isDegraded) this.#databases.delete(name)
  }

  get #nodeCount(): number {
    const speaking = [...this.#joined].filter(({ isSilent }) => !isSilent)
    return new Set(speaking.map(({ id }) => id)).size
  }

  #isShortFor(ms: number): boolean {
    const since = this.#shortSinceMs
    return since !== undefined && this.#context.clock.monotonicMs() - since >= ms
  }

  #shortage(): string {
    const { replicas } = this.options
    const count = this.#nodeCount
    const wanted = `waiting for ${replicas} ${replicas === 1 ? "replica" : "replicas"}: have ${count}`
    return count < replicas ? wanted : `${wanted}, but not all of them acknowledge in time`
  }

  /** Notes whether there are enough replicas, and says once what has changed. */
  #look(): void {
    if (!this.isOn || !this.#isPrimary) return
    const { clock, onStatus } = this.#context
    const { replicas, mode, timeoutMs } = this.options
    const nowMs = clock.monotonicMs()
    const isShort = this.#nodeCount < replicas
    const wasShort = this.#shortSinceMs !== undefined
    if (!isShort) this.#shortSinceMs = undefined
    else this.#shortSinceMs ??= nowMs
    if (isShort !== wasShort) {
      this.#cancelLook()
      if (isShort) this.#cancelLook = clock.after(timeoutMs, () => this.#look())
    }
    const { state, reason } = this.status
    if (state !== this.#said) {
      const facts = { wanted: replicas, have: this.#nodeCount, mode, problem: reason }
      const said = this.#limit.take(state)
      if (said !== undefined) {
        log[state === "synchronous" ? "info" : "warn"](SAID[state], { ...facts, ...said })
      }
    }
    this.#said = state
    onStatus()
  }

  get status(): SyncStatus {
    const { replicas, mode, timeoutMs } = this.options
    const acknowledging = this.#nodeCount
    const base = { replicas, mode, acknowledging }
    if (!this.#isPrimary || !this.isOn) return { ...base, state: "synchronous" }
    const degraded = [...this.#databases].filter(([, known]) => known.isDegraded)
    if (degraded.length > 0) {
      const names = degraded.map(([name]) => name).sort()
      return { ...base, state: "degraded", reason: this.#shortage(), degraded: names }
    }
    const lateMs = Math.min(LATE_MS, timeoutMs)
    const isLate = () => {
      const sinceMs = this.#context.clock.monotonicMs() - lateMs
      const all = [...this.#databases.values()].flatMap(({ waiting }) => [...waiting])
      return all.some((each) => each.sinceMs <= sinceMs)
    }
    if (acknowledging >= replicas && !isLate()) return { ...base, state: "synchronous" }
    const state = mode === "degrade" && this.#isShortFor(timeoutMs) ? "degraded" : "waiting"
    return { ...base, state, reason: this.#shortage() }
  }

  /** The metrics of a primary that waits for replicas. */
  families(): Iterable<MetricFamily> {
    return this.isOn && this.#isPrimary ? this.allFamilies() : []
  }

  *allFamilies(): Generator<MetricFamily> {
    const databases = [...this.#databases]
    yield single(
      "gauge",
      "litefs_sync_replicas",
      "Replicas that must have a transaction before its client hears of it.",
      () => this.options.replicas,
    )
    yield single(
      "gauge",
      "litefs_sync_acknowledging",
      "Connected replicas that acknowledge transactions.",
      () => this.#nodeCount,
    )
    const count = (isCommitted: boolean) =>
      databases
        .flatMap(([, { waiting }]) => [...waiting])
        .filter((each) => each.isCommitted === isCommitted).length
    yield single(
      "gauge",
      "litefs_sync_waiting",
      "Transactions that wait for replicas to acknowledge them.",
      () => count(true),
    )
    yield single(
      "gauge",
      "litefs_sync_held",
      "Commits that wait for enough replicas before they count.",
      () => count(false),
    )
    yield single(
      "counter",
      "litefs_sync_refused_total",
      "Commits that were refused because too few replicas had what came before them.",
      () => this.#refusalCount,
    )
    yield single(
      "counter",
      "litefs_sync_unacknowledged_total",
      "Commits that went on without acknowledgements.",
      () => this.#unacknowledgedCount,
    )
    yield single(
      "gauge",
      "litefs_sync_degraded",
      "Databases whose commits do not wait for replicas for now.",
      () => databases.filter(([, { isDegraded }]) => isDegraded).length,
    )
    yield {
      name: "litefs_sync_seconds",
      type: "histogram",
      help: "Time from when a transaction was durable here until enough replicas had it.",
      samples: () => this.#waitTime.samples(),
    }
  }
}
