/**
 * Lease records that come with a request: whether they are believed. Whoever reaches a node can send one, and it would
 * end the writes of a primary, or send a replica to another.
 *
 *   a request brings a newer record of this cluster
 *     │
 *     ├─ the API has asked for a token or a certificate, or the record is sealed ─────────▶ believed, at once
 *     │
 *     └─ neither ─▶ asking ─┬─ the node that it names says so itself, at that address ────▶ believed
 *                           ├─ a `--peer` says so, or anything newer ─▶ believed, as every node that is asked
 *                           └─ nobody does, or in time ─▶ not believed: a warning, once, and all stays as it is
 *
 * 1. A seal is the word of a node that has followed a primary of the cluster (cluster-key.ts). So a new primary is
 *    believed in the moment in which it calls, also when it cannot be reached itself.
 * 2. While it asks, a primary goes on to take writes: a stranger could end them otherwise, over and over. If there is a
 *    newer primary, what is taken meanwhile is what was taken before it called: a divergence, which is kept. That
 *    takes ASK_MS_MAX at most, and the new primary calls until it is believed.
 * 3. A record is asked for at the address that it names, and nothing is done there but `POST /lease`. So many addresses
 *    are asked at a time, and none more often than every PAUSE_MS.
 */
import { type Clock, sleep } from "../../lib/clock.ts"
import { LitefsError, messageOf } from "../../lib/errors.ts"
import { logger } from "../../lib/log.ts"
import { type HeardLease, isNewer, type LeaseRecord } from "./lease.ts"
import type { PeerAnswer } from "./peer-answer.ts"

const log = logger("member")

const ASK_MS_MAX = 3000
const PAUSE_MS = 1000
const ASKING_COUNT_MAX = 8
/** Anybody can make up records: so many are told of. */
const SAID_COUNT_MAX = 100

export interface ClaimsOptions {
  readonly clock: Clock
  readonly signal: AbortSignal
  /** `--peer` */
  readonly peers: readonly string[]
  /** Whether who says it has shown that it is of the cluster. */
  isProven(heard: HeardLease): boolean
  record(): LeaseRecord | undefined
  clusterId(): string | undefined
  /** What the node at the address says of itself. */
  ask(url: string): Promise<PeerAnswer>
  /** Has this node hear what the one at the address knows. */
  tell(url: string): Promise<unknown>
  /** The node that the record names goes by it. */
  confirmed(heard: HeardLease): void
}

export class Claims {
  readonly #options: ClaimsOptions
  /** Addresses that are asked, or were just now. */
  readonly #asking = new Set<string>()
  readonly #said = new Set<string>()

  constructor(options: ClaimsOptions) {
    this.#options = options
  }

  isProven(heard: HeardLease): boolean {
    return this.#options.isProven(heard)
  }

  /** A newer record has come without a proof. `from` is who has sent it. */
  look(heard: HeardLease, from: string | undefined): void {
    const { url } = heard.record.primary
    const { clock, signal } = this.#options
    if (this.#asking.has(url) || this.#asking.size >= ASKING_COUNT_MAX) return
    this.#asking.add(url)
    void this.#look(heard, from)
      .catch((error) => log.error("cannot look into what a request says of the primary", { error }))
      .then(() => sleep(clock, PAUSE_MS, signal))
      .catch(() => {}) // the node stops
      .finally(() => this.#asking.delete(url))
  }

  async #look(heard: HeardLease, from: string | undefined): Promise<void> {
    const { signal, confirmed, record, peers, tell } = this.#options
    const told = Promise.allSettled(peers.map((url) => this.#inTime(tell(url))))
    const problem = await this.#inTime(this.#problemOf(heard)).catch(messageOf)
    if (signal.aborted) return
    if (problem === undefined) return confirmed(heard)
    await told
    if (isNewer(heard.record, record())) this.#say(heard, from, problem)
  }

  /** What keeps the node that it names from being its primary; undefined when nothing does. */
  async #problemOf({ record }: HeardLease): Promise<string | undefined> {
    const { ask, clusterId } = this.#options
    const answer = await ask(record.primary.url)
    if (answer.id !== record.primary.id) return "another node is there"
    if (answer.clusterId !== clusterId()) return "the node there is of another cluster"
    const theirs = answer.lease?.record
    if (theirs?.primary.id === answer.id && !isNewer(record, theirs)) return undefined
    return "the node there does not say so"
  }

  async #inTime<T>(answer: Promise<T>): Promise<T> {
    const late = Promise.withResolvers<never>()
    const cancel = this.#options.clock.after(ASK_MS_MAX, () => {
      late.reject(new LitefsError("unavailable", "the node there does not answer"))
    })
    try {
      return await Promise.race([answer, late.promise])
    } finally {
      cancel()
    }
  }

  #say({ record }: HeardLease, from: string | undefined, problem: string): void {
    const { epoch, primary } = record
    const what = `${primary.url} ${problem}`
    if (this.#said.has(what) || this.#said.size >= SAID_COUNT_MAX) return
    this.#said.add(what)
    log.warn("a request says that another node is the primary, which is not believed", {
      ...{ from, epoch, url: primary.url, problem },
    })
  }
}
