/**
 * The lease in a store (../stores/lease-store.ts): which node is the primary, and until when.
 *
 *                 the store answers             another node holds it
 *   asking ─────────────────────────┬──────────────────────────────────────▶ following
 *     ▲                             │ nobody holds it          gone ┌──────────┘  ▲
 *     │                             ▼                               ▼             │ another has taken it
 *     │                           vacant ─── told, waited, take() ──┬─────────────┘
 *     │                             ▲                               │ this node has
 *     │ lost                        │ it has run out                ▼
 *     └─────────────────────────────┴──────────────────────────── held ── give() ──▶ following
 *                                            it names this node ─────▲
 *
 *   asking      the store has not answered since the start, or since the lease was lost
 *   following   the store names another node: the record is heard, as from a node (member.ts), and followed. A
 *               candidate keeps a session in the store, and tells there what it has
 *   vacant      candidates tell what they have, and the one that has most takes it (election.ts)
 *   held        this node renews the session, and tells with it how far it is
 *
 * The epoch grows by one with every holder; `last` keeps it when the holder is gone. The record of the holder is a
 * lease record like any other (lease.ts): each node keeps it, tells it, and believes no older one. So what the lease of
 * flags and handoffs has, holds here too: a demoted primary follows the new one, and keeps what only it has. Different
 * is who makes the record. Nobody does but through the store, and a record that names this node makes it the primary
 * only while it holds the lease.
 *
 * 1. This node believes in the lease until `sent + TTL - margin`. `sent` is from before the renewal was sent, and the
 *    clock goes on while the machine is suspended (sys/process/boot-clock.ts). The store counts from when it has got the
 *    renewal. So this node has stopped before the store lets anybody else in, whatever became of the answer.
 * 2. The fs thread looks at that time at each commit, in shared memory. Nobody has to tell it that the time is over.
 * 3. A renewal counts only when the store, after it, still has this node's own text. A session may have been given away.
 * 4. In a handoff this node first stops to believe, and then writes the record of the other node. When there is no
 *    answer, the store may have done it, or may still do it: this node believes in that session no more, and gives the
 *    lease up. The other node takes over the session with the record, and believes in it once it has renewed it.
 * 5. When nobody holds the lease any more, this node takes it again like everybody else, with a new epoch. Until
 *    somebody has, it stays what it was, and commits nothing.
 * 6. A node whose id is in the record at another address is a copy of this one, or this one before. It waits until that
 *    has gone.
 */
import { type Clock, sleep } from "../../lib/clock.ts"
import { LitefsError, messageOf } from "../../lib/errors.ts"
import { logger, Once } from "../../lib/log.ts"
import { inTime } from "../../lib/until.ts"
import type { Pos } from "../../ltx/pos.ts"
import type { LeaseStore, StoreView } from "../stores/lease-store.ts"
import { isClusterId } from "./cluster-id.ts"
import { BACK_MS, FIRST_MS, lackOf, verdictOf } from "./election.ts"
import {
  type HeardLease,
  isNewer,
  type Lease,
  type LeaseNode,
  type LeaseRecord,
  nextEpoch,
} from "./lease.ts"
import { COPY_ADVICE } from "./peer-check.ts"
import type { StaticLease } from "./static-lease.ts"
import {
  type Candidate,
  decodeCandidate,
  decodeHolder,
  decodeLast,
  encodeCandidate,
  encodeHolder,
  encodeLast,
  type LastHolder,
  told,
  toldOf,
} from "./store-content.ts"

const log = logger("lease")

const MARGIN_MS_MIN = 500
/** While the lease is free, or about to be. */
const SOON_MS = 100
const RETRY_MS = 200
const RETRY_MS_MAX = 2000
const CLOSE_MS_MAX = 3000
/** A candidate that has just been started may not have told the store yet. */
const STAND_MS_MAX = 1000

type State =
  | { readonly kind: "asking" }
  | { readonly kind: "following"; readonly record: LeaseRecord }
  | Vacant
  | Held

interface Vacant {
  readonly kind: "vacant"
  /** Since this node has seen it. */
  readonly sinceMs: number
  /** The store knew by then what this node has. */
  readonly hasTold: boolean
}

interface Held {
  readonly kind: "held"
  readonly session: string
  readonly record: LeaseRecord
  /** The record as it is in the store. */
  readonly text: string
  /** The store was to write the record of another node, and has not answered. */
  readonly mayBeGiven?: boolean
}

/** A session of this node as a candidate. */
interface OwnSession {
  readonly id: string
  /** Until when it lives at least. */
  readonly untilMs: number
  /** What is told with it. */
  readonly text?: string
}

export interface ElectedLeaseOptions {
  readonly store: LeaseStore
  /** Where this node keeps the record. */
  readonly records: StaticLease
  readonly clock: Clock
  /** sys/process/boot-clock.ts */
  bootMs(): number
  readonly isCandidate: boolean
  self(): LeaseNode
  isLeaving(): boolean
  /** Why this node can never be the primary, beyond what a store can tell. */
  ineligibility(): string | undefined
  /** Whether it has never been in a cluster. */
  isNew(): boolean
  clusterId(): string | undefined
  makeClusterId(): string
  /** Of all databases that there are, dropped ones included. */
  positions(): ReadonlyMap<string, Pos>
  livePositions(): ReadonlyMap<string, Pos>
  /** From this time of the clock on no commit is taken. */
  commitUntil(ms: number): void
  /** The record of another holder. */
  heard(heard: HeardLease): void
  /** Keeps a record that names this node, durably. */
  keep(record: LeaseRecord, cluster: string): void
  /** This node may be the primary now. */
  held(): void
  /** What keeps this node from the store, or from the lease; undefined when nothing does. */
  problem(text: string | undefined): void
}

export class ElectedLease implements Lease {
  readonly #options: ElectedLeaseOptions
  readonly #closing = new AbortController()
  readonly #said = new Once()
  #state: State = { kind: "asking" }
  #untilMs = 0
  #cancelLapse = () => {}
  #session: OwnSession | undefined
  #view: StoreView | undefined // of the last look
  #work: Promise<unknown> = Promise.resolve()
  #running: Promise<void> | undefined
  #failureCount = 0
  #reachedSinceMs = Number.POSITIVE_INFINITY // the store has answered since then
  #lastProblem: string | undefined
  #unableUntilMs = 0
  #isWanted = false // a look at the store, before the next is due
  #wake = () => {}
  #written: string | undefined // `last`, as this holder has written it

  constructor(options: ElectedLeaseOptions) {
    this.#options = options
    options.commitUntil(0)
  }

  get kind(): string {
    return this.#options.store.kind
  }

  get where(): string {
    return this.#options.store.where
  }

  get isHeld(): boolean {
    return this.leftMs > 0
  }

  /** For how long this node may still commit; 0 when it does not hold the lease, or no longer believes so. */
  get leftMs(): number {
    if (this.#state.kind !== "held") return 0
    return Math.max(0, this.#untilMs - this.#options.bootMs())
  }

  /** The holder, as the store was seen last. */
  get holder(): LeaseRecord | undefined {
    const state = this.#state
    return state.kind === "held" || state.kind === "following" ? state.record : undefined
  }

  start(): void {
    this.#running = this.#run()
  }

  /** After the last commit: gives the lease up, so that nobody waits for its end. */
  async close(): Promise<void> {
    const { store, clock } = this.#options
    this.#closing.abort()
    this.look()
    this.#cancelLapse()
    const late = () => new LitefsError("unavailable", "no answer")
    try {
      await inTime(this.#leave(), { clock, limitMs: CLOSE_MS_MAX }, late)
    } catch (error) {
      log.warn("cannot give the lease up, it has to run out", { problem: messageOf(error) })
    }
    store.close()
  }

  async #leave(): Promise<void> {
    const { store } = this.#options
    await this.#running
    await this.#work
    const held = this.#state
    this.#believe(0)
    this.#state = { kind: "asking" }
    if (held.kind === "held") {
      await store.release(held.session, held.text, this.#lastOf(held.record))
      log.info("gave the lease up", { epoch: held.record.epoch })
    } else if (this.#session !== undefined) await store.endSession(this.#session.id)
  }

  /** Looks at the store now: somebody has said that something has changed there. */
  look(): void {
    this.#isWanted = true
    this.#wake()
  }

  async #run(): Promise<void> {
    const { clock } = this.#options
    const { signal } = this.#closing
    while (!signal.aborted) {
      let waitMs: number
      let isReached = true
      this.#isWanted = false
      try {
        waitMs = await this.#alone(() => this.#step())
        this.#reached()
      } catch (error) {
        isReached = false
        waitMs = this.#failed(error)
      }
      if (this.#isWanted) continue
      const ended = new AbortController()
      const both = AbortSignal.any([signal, ended.signal])
      const { promise, resolve } = Promise.withResolvers<void>()
      this.#wake = resolve
      const waits = [promise, sleep(clock, waitMs, both).catch(() => {})]
      if (isReached) waits.push(this.#watch(both))
      await Promise.race(waits)
      ended.abort()
    }
  }

  /** The store tells of a change before the next look is due. */
  async #watch(signal: AbortSignal): Promise<void> {
    const view = this.#view
    const { kind } = this.#state
    if (kind === "held" || view === undefined) return new Promise(() => {})
    const { store, clock } = this.#options
    const startMs = clock.monotonicMs()
    await store.watch(view, kind === "vacant", signal)
    // One that ends at once must not make this node ask all the time.
    const pauseMs = kind === "vacant" ? SOON_MS / 4 : SOON_MS
    const restMs = pauseMs - (clock.monotonicMs() - startMs)
    if (restMs > 0) await sleep(clock, restMs * (0.5 + clock.random()), signal).catch(() => {})
  }

  /** Returns after how many milliseconds the next step is due. */
  #step(): Promise<number> {
    const state = this.#state
    if (state.kind !== "held") return this.#find()
    return state.mayBeGiven === true ? this.#giveUp(state) : this.#renew(state)
  }

  /** The record of another node may be there, or may still come, but never after this. */
  async #giveUp({ session, text, record }: Held): Promise<number> {
    await this.#options.store.release(session, text, this.#lastOf(record))
    this.#state = { kind: "asking" }
    return 0
  }

  #reached(): void {
    this.#reachedSinceMs = Math.min(this.#reachedSinceMs, this.#options.clock.monotonicMs())
    if (this.#lastProblem !== undefined) {
      log.info("the store of the lease answers again", { store: this.where })
    }
    this.#lastProblem = undefined
    this.#failureCount = 0
  }

  #failed(error: unknown): number {
    const { store, clock, problem } = this.#options
    const text = messageOf(error)
    this.#reachedSinceMs = Number.POSITIVE_INFINITY
    // Numbers differ from try to try.
    if (text !== this.#lastProblem && this.#failureCount === 0) {
      log.warn("cannot use the store of the lease, trying again", {
        ...{ store: store.where, problem: text },
      })
    } else if (text !== this.#lastProblem) {
      log.debug("cannot use the store of the lease", { store: store.where, problem: text })
    }
    this.#lastProblem = text
    problem(`the store of the lease, ${store.where}: ${text}`)
    const longestMs = Math.min(RETRY_MS * 2 ** Math.min(this.#failureCount, 10), RETRY_MS_MAX)
    this.#failureCount += 1
    return longestMs * (0.5 + clock.random())
  }

  async #renew(held: Held): Promise<number> {
    const { store, records, problem } = this.#options
    const sentMs = this.#options.bootMs()
    const ttlMs = await store.renew(held.session)
    if (ttlMs === undefined) return this.#lose("it has run out")
    if (isNewer(records.record ?? held.record, held.record))
      return this.#lose("there is a newer one")
    const last = this.#lastOf(held.record)
    const news = last === this.#written ? [] : [last]
    if (!(await store.confirm(held.session, held.text, ...news))) {
      return this.#lose("another node has it")
    }
    this.#written = last
    this.#believeIn(sentMs, ttlMs)
    problem(undefined)
    return this.#periodMs
  }

  get #periodMs(): number {
    return this.#options.store.ttlMs / 4
  }

  #lose(problem: string): number {
    const { record } = this.#state as Held
    this.#believe(0)
    this.#state = { kind: "asking" }
    log.warn("this node has lost the lease, it takes no writes", { epoch: record.epoch, problem })
    return 0
  }

  async #find(): Promise<number> {
    const { store, records, heard } = this.#options
    const view = await store.read()
    this.#view = view
    this.#checkCluster(view)
    if (view.holder === undefined) return this.#vacant(view)
    const holder = decodeHolder(view.holder.text)
    if (holder === undefined) {
      throw new LitefsError("invalid", "it is held by a record that is not of this program")
    }
    const { record } = holder
    if (record.primary.id === records.id) return this.#named(record, view)
    const isNews = this.#state.kind !== "following" || this.#state.record.epoch !== record.epoch
    this.#state = { kind: "following", record }
    if (isNews) {
      const { epoch, primary } = record
      log.info("the lease is held by another node", { epoch, primary: primary.hostname })
    }
    heard({ record, cluster: view.cluster })
    this.#options.problem(undefined)
    if (this.#mayStand) await this.#announce(undefined, true)
    return this.#periodMs
  }

  #checkCluster({ cluster }: StoreView): void {
    const own = this.#options.clusterId()
    if (cluster === undefined || (isClusterId(cluster) && (own ?? cluster) === cluster)) return
    throw new LitefsError(
      "unavailable",
      `it is of cluster ${cluster.slice(0, 40)}, this node of ${own}: give the cluster a place of its own in it`,
    )
  }

  /** Whether this node tells what it has, and stands for the lease. */
  get #mayStand(): boolean {
    const { isCandidate, isLeaving } = this.#options
    return isCandidate && !isLeaving()
  }

  /** The store names this node: the primary has handed over, or this node has taken it and not heard the answer. */
  async #named(record: LeaseRecord, view: StoreView): Promise<number> {
    const { store, records, self, isLeaving, bootMs } = this.#options
    const { session, text } = view.holder as NonNullable<StoreView["holder"]>
    const known = records.record
    if (record.primary.url !== self().url) {
      const { url } = record.primary
      if (this.#said.take(url)) {
        log.warn("a node with this node's id holds the lease, waiting for its end", {
          ...{ url, problem: `if it stays, ${COPY_ADVICE}` },
        })
      }
      return this.#periodMs
    }
    if (isLeaving() || (known !== undefined && isNewer(known, record))) return RETRY_MS
    const sentMs = bootMs()
    const ttlMs = await store.renew(session)
    if (ttlMs === undefined) return SOON_MS
    if (!(await store.confirm(session, text, this.#lastOf(record)))) return 0
    this.#hold({ kind: "held", session, record, text }, view.cluster, sentMs, ttlMs)
    await this.#endOwnSession(session)
    return this.#periodMs
  }

  async #vacant(view: StoreView): Promise<number> {
    const { clock, store, problem } = this.#options
    const last = lastOf(view)
    const vacant = this.#seeVacant()
    if (!this.#mayStand) {
      problem("nobody holds the lease, and this node is no candidate")
      return this.#periodMs
    }
    const unfit = this.#unfitness(view, last)
    const own = await this.#announce(last?.record.epoch ?? 0, unfit === undefined)
    if (unfit !== undefined) return this.#doNotTake(unfit)
    const others = (await store.candidates()).flatMap((text) => decodeCandidate(text) ?? [])
    const vacantMs = clock.monotonicMs() - vacant.sinceMs
    // Others that have data may be about to start.
    const firstMs = this.#options.isNew() ? FIRST_MS : store.ttlMs
    const backMs = this.#backMs(vacant, last)
    const verdict = verdictOf({ own, others, last, vacantMs, firstMs, backMs })
    if (verdict.kind === "behind") return this.#doNotTake(verdict.problem)
    problem(`nobody holds the lease yet`)
    if (verdict.kind === "wait") return SOON_MS
    return (await this.#take(view, last)) ? this.#periodMs : SOON_MS * clock.random()
  }

  #seeVacant(): Vacant {
    const { clock, store, bootMs } = this.#options
    if (this.#state.kind === "vacant") return this.#state
    log.info("nobody holds the lease", { store: store.where })
    const hasTold = (this.#session?.untilMs ?? 0) > bootMs()
    const vacant = { kind: "vacant", sinceMs: clock.monotonicMs(), hasTold } as const
    this.#state = vacant
    return vacant
  }

  /** How long others may take to tell what they have: when the store is back for this node, it is not yet for all. */
  #backMs({ hasTold, sinceMs }: Vacant, last: LastHolder | undefined): number {
    const { records } = this.#options
    if (last?.record.primary.id === records.id) return 0 // they have had all of it from this node
    if (!hasTold) return BACK_MS
    return Math.max(0, Math.min(this.#reachedSinceMs + BACK_MS - sinceMs, BACK_MS))
  }

  /** Why this node does not take the lease by itself. */
  #unfitness(view: StoreView, last: LastHolder | undefined): string | undefined {
    const { clock, ineligibility, isNew } = this.#options
    if (clock.monotonicMs() < this.#unableUntilMs) return "it could not take it just now"
    const isFirst = isNew() && view.cluster === undefined && last === undefined
    const problem = isFirst ? undefined : (ineligibility() ?? this.#otherPrimary(last))
    return problem ?? (last && lackOf(this.#own(undefined, true), last))
  }

  /** Before the first lease in this store the record of this node may say that another one has more. */
  #otherPrimary(last: LastHolder | undefined): string | undefined {
    const { record, id } = this.#options.records
    if (last !== undefined || record === undefined || record.primary.id === id) return undefined
    return `the store knows of no primary yet, and the last one was ${record.primary.hostname}`
  }

  #doNotTake(problem: string): number {
    const { store } = this.#options
    if (this.#said.take(`behind ${problem}`)) {
      log.warn("nobody holds the lease, and this node does not take it by itself", {
        ...{ store: store.where, problem },
        advice: "start the last primary again, or make a node the primary: litefs promote --force",
      })
    }
    this.#options.problem(
      `nobody holds the lease, and this node does not take it by itself: ${problem}`,
    )
    return this.#periodMs
  }

  /** Returns whether this node has it. */
  async #take(view: StoreView, last: LastHolder | undefined): Promise<boolean> {
    const { store, records, self, clusterId, makeClusterId, bootMs } = this.#options
    const cluster = view.cluster ?? clusterId() ?? makeClusterId()
    const known = records.record
    const newest =
      last !== undefined && (known?.epoch ?? 0) < last.record.epoch ? last.record : known
    const record = { epoch: nextEpoch(newest), primary: self() }
    const text = encodeHolder(record, cluster)
    const sentMs = bootMs()
    const { id: session, ttlMs } = await this.#renewOwn()
    const taken = { id: records.id, text, last: this.#lastOf(record, cluster), cluster }
    if (!(await store.take(session, taken, view))) return false
    this.#hold({ kind: "held", session, record, text }, cluster, sentMs, ttlMs)
    this.#session = undefined
    return true
  }

  /** The record is kept before anything follows from it. */
  #hold(held: Held, cluster: string | undefined, sentMs: number, ttlMs: number): void {
    const { keep, clusterId, clock, problem } = this.#options
    this.#state = held
    try {
      keep(held.record, cluster ?? clusterId() ?? "")
    } catch (error) {
      // It gives it back with the next step: another may have a disk that takes it.
      this.#unableUntilMs = clock.monotonicMs() + this.#options.store.ttlMs * 3
      void this.#alone(() => this.#giveBack(held)).catch(() => {})
      throw error
    }
    this.#written = undefined
    problem(undefined)
    log.info("this node holds the lease", { store: this.where, epoch: held.record.epoch })
    this.#believeIn(sentMs, ttlMs)
  }

  async #giveBack(held: Held): Promise<void> {
    if (this.#state !== held) return
    this.#state = { kind: "asking" }
    await this.#options.store.release(held.session, held.text, this.#lastOf(held.record))
  }

  async give(record: LeaseRecord): Promise<void> {
    await this.#alone(async () => {
      const { store, records } = this.#options
      const held = this.#state
      if (held.kind !== "held") throw cannotGive("this node has lost the lease")
      // The record is of before it was lost, and taken again: of two records of one epoch some believe the other.
      if (record.epoch <= held.record.epoch)
        throw cannotGive("this node has lost the lease meanwhile")
      await this.#checkStands(record.primary)
      this.#believe(0)
      const cluster = this.#cluster
      const next = encodeHolder(record, cluster)
      let isGiven: boolean
      try {
        const last = this.#lastOf(record, cluster)
        isGiven = await store.replace(held.session, held.text, next, last)
      } catch (error) {
        this.#state = { ...held, mayBeGiven: true }
        throw cannotGive(`the store of the lease, ${store.where}: ${messageOf(error)}`)
      } finally {
        this.look()
      }
      if (!isGiven) {
        this.#lose("another node has it")
        throw cannotGive("this node has lost the lease")
      }
      this.#state = { kind: "following", record }
      const problem = records.learn(record)
      if (problem !== undefined) log.error("cannot keep the lease record", { error: problem })
    })
  }

  /** A node that does not ask the store would be the primary for ever. */
  async #checkStands({ id, hostname }: LeaseNode): Promise<void> {
    const { store, clock } = this.#options
    const endMs = clock.monotonicMs() + STAND_MS_MAX
    try {
      for (;;) {
        const texts = await store.candidates()
        if (texts.some((text) => decodeCandidate(text)?.id === id)) return
        if (clock.monotonicMs() >= endMs) break
        await sleep(clock, SOON_MS)
      }
    } catch (error) {
      throw cannotGive(`the store of the lease, ${store.where}: ${messageOf(error)}`)
    }
    throw cannotGive(`${hostname} is no candidate in ${store.where}, start it with this --lease`)
  }

  async force(): Promise<void> {
    await this.#alone(async () => {
      const { store } = this.#options
      if (this.isHeld) return
      const refuse = (problem: string) => {
        throw new LitefsError("unavailable", `Cannot promote by force: ${problem}`)
      }
      const view = await store.read().catch((error) => {
        return refuse(`the store of the lease, ${store.where}, must answer: ${messageOf(error)}`)
      })
      if (view === undefined) return
      this.#checkCluster(view)
      const holder = view.holder && decodeHolder(view.holder.text)
      if (view.holder !== undefined) {
        const who = holder?.record.primary.hostname ?? "another node"
        const untilS = Math.ceil(store.ttlMs / 1000)
        refuse(
          `${who} holds the lease, stop it and wait ${untilS} s, or use litefs promote without --force`,
        )
      }
      const last = lastOf(view)
      log.warn("taking the lease by force", { epoch: (last?.record.epoch ?? 0) + 1 })
      if (!(await this.#take(view, last))) refuse("another node has just taken the lease")
    })
    this.look()
  }

  get #cluster(): string {
    return this.#options.clusterId() ?? this.#view?.cluster ?? ""
  }

  #lastOf(record: LeaseRecord, cluster = this.#cluster): string {
    return encodeLast(record, cluster, this.#options.livePositions())
  }

  #own(vacancy: number | undefined, isAble: boolean): Candidate {
    const { records, positions } = this.#options
    const found = toldOf(told(positions())) as Candidate["told"]
    return { id: records.id, epoch: records.historyEpoch, vacancy, isAble, told: found }
  }

  /** Tells the other candidates what this node has. */
  async #announce(vacancy: number | undefined, isAble: boolean): Promise<Candidate> {
    const { store, positions, records, bootMs } = this.#options
    const own = this.#own(vacancy, isAble)
    const text = encodeCandidate(own, positions())
    const isDue = (this.#session?.untilMs ?? 0) - bootMs() < store.ttlMs * 0.6
    const session = isDue ? await this.#renewOwn() : this.#session
    if (session?.id === undefined) return own
    if (this.#session?.text === text) return own
    const isTold = await store.announce(session.id, records.id, text)
    this.#session = isTold && this.#session ? { ...this.#session, text } : undefined
    return own
  }

  async #renewOwn(): Promise<{ readonly id: string; readonly ttlMs: number }> {
    const { store, bootMs } = this.#options
    const own = this.#session
    const sentMs = bootMs()
    if (own !== undefined) {
      const ttlMs = await store.renew(own.id)
      if (ttlMs !== undefined) {
        this.#session = { ...own, untilMs: sentMs + Math.min(ttlMs, store.ttlMs) }
        return { id: own.id, ttlMs }
      }
    }
    const id = await store.openSession()
    this.#session = { id, untilMs: sentMs + store.ttlMs }
    return { id, ttlMs: store.ttlMs }
  }

  /** Of this node as a candidate, once it holds the lease by another. */
  async #endOwnSession(other: string): Promise<void> {
    const own = this.#session
    this.#session = undefined
    if (own === undefined || own.id === other) return
    await this.#options.store.endSession(own.id).catch(() => {}) // it runs out
  }

  #believeIn(sentMs: number, ttlMs: number): void {
    const { store } = this.#options
    const livesMs = Math.min(ttlMs, store.ttlMs)
    this.#believe(sentMs + livesMs - Math.max(MARGIN_MS_MIN, livesMs / 10))
  }

  #believe(untilMs: number): void {
    const { commitUntil, bootMs, held } = this.#options
    const wasOver = this.#untilMs <= bootMs()
    this.#untilMs = untilMs
    commitUntil(untilMs)
    this.#cancelLapse()
    if (untilMs <= bootMs()) return
    this.#watchLapse()
    if (wasOver) held()
  }

  #watchLapse(): void {
    this.#cancelLapse = this.#options.clock.after(Math.ceil(this.leftMs) + 1, () => this.#lapsed())
  }

  /** Nobody has renewed it in time. The fs thread knows. */
  #lapsed(): void {
    if (this.#state.kind !== "held") return
    if (this.isHeld) return this.#watchLapse() // the two clocks differ a little
    log.error("the lease could not be renewed, this node takes no writes", {
      ...{ store: this.where, problem: this.#lastProblem },
    })
    this.#options.problem(`the lease could not be renewed: ${this.#lastProblem ?? "no answer"}`)
  }

  /** What changes the state comes one after the other. */
  #alone<T>(change: () => Promise<T>): Promise<T> {
    const done = this.#work.then(change, change)
    this.#work = done.catch(() => {})
    return done
  }
}

function lastOf({ last }: StoreView): LastHolder | undefined {
  if (last === undefined) return undefined
  const found = decodeLast(last.text)
  if (found !== undefined) return found
  throw new LitefsError("invalid", "what it keeps of the last primary cannot be read")
}

function cannotGive(why: string): LitefsError {
  return new LitefsError("unavailable", `Cannot hand over: ${why}`)
}
