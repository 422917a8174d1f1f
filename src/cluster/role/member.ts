/**
 * The role of this node among the others. The lease record says what it should be (lease.ts); this makes it so.
 *
 *                      a record that names this node
 *   replica ─────────────────────────────────────────────▶ promoting ─▶ primary
 *      ▲                                                                 │    ▲
 *      │                                                       handOff() │    │ refused, or too late
 *      │                                                                 ▼    │
 *      └── demoting ◀── a newer record, that names another ───────── draining
 *
 *   primary    takes writes.
 *   draining   keeps clients from writing; all they have committed is on its way to the target. Before that, whoever
 *              writes for others begins nothing more, and ends what it has begun.
 *   promoting, demoting   nobody writes: one thread has ended, the other begins (role-switch.ts).
 *
 * 1. A node takes writes only while the newest record that it has heard names it. A record is durable before anything
 *    follows from it, with one exception: a primary stops taking writes first.
 * 2. In a handoff the old primary makes the record, and only when the target has shown that it has everything. From
 *    then on the old primary is none, whatever happens: when the target does not get the answer, it hears of the record
 *    when one of the two calls the other. Until then an error, a silence or a crash leaves all as it was.
 * 3. A forced promotion makes a record that the old primary has not heard of. It and the peers are called until they
 *    have heard. The old primary keeps what it took until then as a divergence.
 * 4. A record that names this node's id at another address is about a copy of it. Only when the copy itself confirms it
 *    there, this node stops taking writes: until it is made the primary anew, or another node is.
 * 5. A record that comes with a request needs a proof (claims.ts).
 * 6. With a lease in a store (elected-lease.ts), 1 to 3 are true of the store: a node becomes the primary only while it
 *    holds the lease. A primary whose lease has run out stays one, which commits nothing, until there is another.
 *
 * All of it is one file because each of these rules concerns the record and the state together.
 */

import { must } from "../../lib/assert.ts"
import { type Clock, sleep } from "../../lib/clock.ts"
import { asError, LitefsError, messageOf } from "../../lib/errors.ts"
import { logger, Once } from "../../lib/log.ts"
import { until } from "../../lib/until.ts"
import type { Pos } from "../../ltx/pos.ts"
import { Claims } from "./claims.ts"
import { NO_CLUSTER } from "./cluster-id.ts"
import { CopyWatch } from "./copy-watch.ts"
import { Fencing } from "./fencing.ts"
import {
  disbelief,
  type HeardLease,
  isNewer,
  type Lease,
  type LeaseNode,
  type LeaseRecord,
  nextEpoch,
} from "./lease.ts"
import { type HandoffTarget, Offer } from "./offer.ts"
import type { PeerCalls } from "./peer-check.ts"
import { COPY_ADVICE } from "./peer-check.ts"
import type { StaticLease } from "./static-lease.ts"

const log = logger("member")

/** Time for clients to end their write transactions. */
const LOCK_MS_MAX = 5000
const RETRY_MS = 1000
const CLOSE_MS_MAX = 5000
/** Time for a node that has handed over to become a replica, which takes long when the disk is full. */
const SETTLE_MS_MAX = 3000

export type MemberState = "replica" | "promoting" | "primary" | "draining" | "demoting"

/** The actions behind a role. Implemented by RoleSwitch. */
export interface RoleActions {
  /** Takes no writes from here on. Taken writes stay. */
  shut(): void
  /** Waits until no client writes, and then takes no writes. Resolves with the positions of all databases. */
  drain(limitMs: number): Promise<ReadonlyMap<string, Pos>>
  /** After drain(), even a failed one: takes writes again. */
  resume(): void
  /** From primary to replica. When this fails, only a restart helps. `signal`: the node is stopping. */
  handOver(signal: AbortSignal): Promise<void>
  /**
   * From replica to primary. Rejects when nothing has changed, also when at the last moment it is not wanted any more.
   * After that, shut() ends it.
   */
  inherit(isWanted: () => boolean): Promise<void>
}

export interface MemberOptions extends PeerCalls {
  readonly lease: StaticLease
  /** Who makes records, when it is not the lease itself. */
  readonly elected?: Lease | undefined
  readonly clock: Clock
  /** Counts while there is no record. */
  readonly isPrimaryByFlag: boolean
  self(): LeaseNode
  /** Nodes that hear of a forced promotion. */
  readonly peers: readonly string[]
  /** Where to look for the primary. */
  primaryUrl(): string
  clusterId(): string | undefined
  /** The record or the state has changed. */
  onChange(): void
  /** The node cannot go on. */
  fail(error: Error): void
  /** Whether the sender has shown that it belongs to the cluster. */
  isProven(heard: HeardLease): boolean
}

/** It takes no writes, and who asked for its role must not think that it does. */
export function withoutLease(): LitefsError {
  const problem = "this node is the primary, but does not hold the lease now and takes no writes"
  const advice = "it goes on by itself when the store of the lease answers, see litefs info"
  return new LitefsError("unavailable", `cannot promote: ${problem}; ${advice}`)
}

const NO_FORCE = `Cannot promote by force: this node ${NO_CLUSTER}; to begin a new cluster, start it with --primary`

export class Member {
  readonly #options: MemberOptions
  #actions: RoleActions | undefined
  readonly #closing = new AbortController()
  readonly #listeners = new Set<() => void>()
  readonly #fencing: Fencing
  #state: MemberState = "replica"
  #hasStarted = false
  #work: Promise<unknown> = Promise.resolve()
  #offer: Offer | undefined
  readonly #copies: CopyWatch
  readonly #claims: Claims
  readonly #disbelieved = new Once() // reasons, and who sent the record

  constructor(options: MemberOptions) {
    this.#options = options
    const { lease, clock, tell, isCopy } = options
    this.#copies = new CopyWatch({ isCopy, found: (record) => this.#foundCopy(record) })
    const { signal } = this.#closing
    this.#fencing = new Fencing({ lease, clock, tell, signal })
    this.#claims = new Claims({
      ...{ ...options, signal, record: () => lease.record },
      confirmed: (heard) => this.#believe(heard),
    })
  }

  get #maker(): Lease {
    return this.#options.elected ?? this.#options.lease
  }

  /** Whether this node takes writes by its lease, if it is the primary. */
  get isHeld(): boolean {
    return this.#maker.isHeld
  }

  /** Takes the role that the record gives this node. Its threads then start with it. Before, it only hears. */
  begin(actions: RoleActions): void {
    this.#actions = actions
    if (this.#isMine && this.isHeld) this.#state = "primary"
  }

  /** Before begin() this node has no role that could change. */
  get #acts(): RoleActions {
    return must(this.#actions, "role yet")
  }

  get state(): MemberState {
    return this.#state
  }

  /** Whether replicas may follow this node. */
  get isPrimary(): boolean {
    return this.#state === "primary" || this.#state === "draining"
  }

  get record(): LeaseRecord | undefined {
    return this.#options.lease.record
  }

  /** From here on the role follows the record. */
  start(): void {
    this.#hasStarted = true
    this.#sayIfLost()
    this.#settleSoon()
    this.#fencing.start()
  }

  /** Ends all changes of role. */
  async close(): Promise<void> {
    this.#closing.abort()
    this.#offer?.end(new LitefsError("unavailable", "the node is stopping"))
    // It does not wait for work that waits for a slow reader.
    await Promise.race([this.#work, sleep(this.#options.clock, CLOSE_MS_MAX)])
  }

  /** Resolves when the node is what the record says, or after the limit. */
  async settled(limitMs: number): Promise<void> {
    const onChange = (listener: () => void) => this.onChange(listener)
    await until(() => this.isSettled, { clock: this.#options.clock, limitMs, onChange })
  }

  /** False as well when a newer record came while the node was starting: the role follows it after start(). */
  get isSettled(): boolean {
    return this.#state === (this.#isMine ? "primary" : "replica")
  }

  /** Calls back when state or record have changed, until the returned function is called. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /**
   * Another node has told what it knows. `isAsked`: this node had asked it by itself; otherwise `from` is the address
   * of the caller.
   */
  hear(heard: HeardLease, isAsked: boolean, from?: string): void {
    const { lease } = this.#options
    const { record } = heard
    if (!isNewer(record, lease.record)) return
    const doubt = disbelief(heard, lease.record, this.#options.clusterId(), isAsked)
    if (doubt !== undefined) return this.#sayDisbelieved(record, doubt, from)
    const { id, url } = record.primary
    if (id === lease.id && url !== this.#options.self().url) return this.#copies.look(record)
    if (isAsked || this.#claims.isProven(heard)) this.#believe(heard)
    else this.#claims.look(heard, from)
  }

  #believe({ record }: HeardLease): void {
    const { lease } = this.#options
    if (!isNewer(record, lease.record)) return
    const { epoch, primary } = record
    if (this.#state !== "replica" && primary.id !== lease.id) {
      this.#acts.shut()
      log.warn("another node has become the primary", { epoch, primary: primary.hostname })
    }
    const problem = lease.learn(record)
    if (problem !== undefined) log.error("cannot keep the lease record", { epoch, error: problem })
    log.info("heard of a newer lease record", {
      epoch,
      primary: primary.hostname,
      url: primary.url,
    })
    if (this.#hasStarted) this.#sayIfLost()
    this.#offer?.end(new LitefsError("no-primary", "another node has become the primary"))
    this.#offer = undefined
    this.#changed()
    this.#settleSoon()
  }

  /** Once for each reason and sender: the record may come with every request. */
  #sayDisbelieved({ epoch, primary }: LeaseRecord, problem: string, from?: string): void {
    if (!this.#disbelieved.take(`${from} ${problem}`)) return
    const { url } = primary
    log.warn("heard of a lease record that is not believed", { from, epoch, url, problem })
  }

  #foundCopy(record: LeaseRecord): void {
    const { lease } = this.#options
    if (!isNewer(record, lease.record)) return
    if (this.#state !== "replica") this.#acts.shut()
    log.error("a copy of this node has become the primary, this node takes no writes", {
      problem: `${record.primary.url} has this node's id, ${lease.id}: ${COPY_ADVICE}`,
    })
    this.#changed()
    this.#settleSoon()
  }

  /**
   * On the primary: gives the role to a replica. Rejects when this node is still the primary. A node that is leaving
   * does not become a replica: it only stops taking writes.
   */
  async handOff(target: HandoffTarget, isLeaving = false): Promise<void> {
    const handedOver = Promise.withResolvers<void>()
    const work = this.#alone(async () => {
      await this.#drainFor(target)
      handedOver.resolve()
      if (!isLeaving) await this.#settle()
    })
    work.catch(handedOver.reject)
    await handedOver.promise
    // The other node is the primary, whatever becomes of this one.
    if (!isLeaving) await Promise.race([work.catch(() => {}), this.settled(SETTLE_MS_MAX)])
  }

  async #drainFor(target: HandoffTarget): Promise<void> {
    this.#checkStarted()
    this.#checkPrimary()
    const { clock } = this.#options
    const actions = this.#acts
    const startMs = clock.monotonicMs()
    this.#become("draining")
    try {
      const positions = await actions.drain(LOCK_MS_MAX)
      this.#checkPrimary() // a newer record may have come
      this.#offer = new Offer(target, nextEpoch(this.record), positions)
      await this.#offer.make(clock)
    } catch (error) {
      this.#offer = undefined
      if (!this.#isMine) throw error // the next steps make it a replica
      if (this.#options.lease.isUnsure) {
        this.#options.fail(asError(error)) // the next start decides; until then nobody writes
        throw error
      }
      actions.resume()
      this.#become("primary")
      throw error
    }
    log.info("handed the role of primary over", {
      primary: target.node.hostname,
      ms: Math.round(clock.monotonicMs() - startMs),
    })
  }

  /** The target of a handoff has applied everything that it was sent. The returned record makes it the primary. */
  async accept(token: string, positions: ReadonlyMap<string, Pos>): Promise<LeaseRecord> {
    const offer = this.#openOffer(token)
    offer.check(positions)
    this.#offer = undefined
    try {
      await this.#maker.give(offer.record)
    } catch (error) {
      offer.end(error)
      throw error
    }
    this.#changed()
    offer.accepted()
    if (offer.hasEnded) this.#settleSoon() // nobody waits for it any more
    return offer.record
  }

  /** This node has got the lease, by a record that it has kept, or holds it again. */
  held(): void {
    this.#changed()
    this.#settleSoon()
  }

  /** Throws when there is no offer with this token. */
  checkOffer(token: string): void {
    this.#openOffer(token)
  }

  #openOffer(token: string): Offer {
    const offer = this.#offer
    if (offer?.token === token) return offer
    throw new LitefsError("unavailable", "Cannot hand over: the offer is no longer open")
  }

  /** Makes this node the primary without asking the present one. */
  async force(): Promise<void> {
    await this.#alone(async () => {
      this.#checkStarted()
      if (this.isPrimary && !this.isHeld) throw withoutLease()
      if (this.isPrimary) return
      const { lease } = this.#options
      if (this.#maker.force !== undefined) {
        await this.#maker.force()
        if (this.#isMine && this.#state === "replica") await this.#inherit()
        return
      }
      // No replica could follow it: they ask for the cluster first.
      if (this.#options.clusterId() === undefined) throw new LitefsError("unavailable", NO_FORCE)
      const old = lease.record
      const copy = this.#copies.record
      const epoch = nextEpoch(copy !== undefined && isNewer(copy, old) ? copy : old)
      const primary = this.#options.self()
      const others = [this.#urlOf(old), copy?.primary.url, ...this.#options.peers]
      const unfenced = others.filter((url) => url !== undefined && url !== primary.url)
      lease.keep({ epoch, primary }, unfenced as string[])
      log.warn("made the primary by force", { epoch, before: old?.primary.hostname })
      this.#changed()
      await this.#inherit()
      this.#fencing.start()
    })
  }

  /** Where a former primary has to hear that it is one no longer; undefined when that is this node. */
  #urlOf(record: LeaseRecord | undefined): string | undefined {
    const { lease, primaryUrl } = this.#options
    if (record === undefined) return primaryUrl()
    const { id, url } = record.primary
    return id === lease.id ? undefined : (lease.reachedAt(id) ?? url)
  }

  /** The primary was here, under an id that is gone with its data directory. */
  #sayIfLost(): void {
    const { lease, self } = this.#options
    const primary = lease.record?.primary
    if (primary === undefined || primary.id === lease.id || primary.url !== self().url) return
    log.error("the primary was here and its data directory is gone, so nobody is the primary", {
      advice: "litefs promote --force --url URL, with the URL of a node that has the data",
    })
  }

  get #isMine(): boolean {
    const { lease, isPrimaryByFlag } = this.#options
    const copy = this.#copies.record
    if (copy !== undefined && isNewer(copy, lease.record)) return false
    return lease.record === undefined ? isPrimaryByFlag : lease.record.primary.id === lease.id
  }

  #checkStarted(): void {
    if (this.#hasStarted && !this.#closing.signal.aborted) return
    throw new LitefsError("unavailable", "the node is starting or stopping")
  }

  #checkPrimary(): void {
    if (this.isPrimary && this.#isMine) return
    throw new LitefsError("no-primary", "node is not currently primary")
  }

  #settleSoon(): void {
    this.#alone(() => this.#settle()).catch((error) => {
      if (this.#closing.signal.aborted) return
      log.error("cannot become what the lease record says, trying again", {
        problem: messageOf(error),
      })
      this.#options.clock.after(RETRY_MS, () => this.#settleSoon())
    })
  }

  /** Makes the role match the record. */
  async #settle(): Promise<void> {
    if (!this.#hasStarted || this.#closing.signal.aborted) return
    if (this.#isMine && this.isHeld && this.#state === "replica") await this.#inherit()
    else if (!this.#isMine && this.isPrimary) await this.#handOver()
  }

  async #inherit(): Promise<void> {
    this.#become("promoting")
    try {
      await this.#acts.inherit(() => this.#isMine && this.isHeld)
    } catch (error) {
      this.#become("replica")
      throw error
    }
    this.#become("primary")
    log.info("this node is the primary", { epoch: this.record?.epoch })
  }

  async #handOver(): Promise<void> {
    this.#become("demoting")
    try {
      await this.#acts.handOver(this.#closing.signal)
    } catch (error) {
      if (!this.#closing.signal.aborted) this.#options.fail(asError(error))
      throw error
    }
    this.#become("replica")
    log.info("this node is a replica", { primary: this.record?.primary.hostname })
  }

  /** One change after the other. */
  #alone<T>(change: () => Promise<T>): Promise<T> {
    const done = this.#work.then(change, change)
    this.#work = done.catch(() => {})
    return done
  }

  #become(state: MemberState): void {
    this.#state = state
    this.#changed()
  }

  #changed(): void {
    this.#options.onChange()
    for (const listener of [...this.#listeners]) listener()
  }
}
