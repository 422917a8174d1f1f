/**
 * Lease records that come with a request, and whether they are believed. Whoever reaches a node can send one, and a
 * believed one ends the writes of a primary, or sends a replica to another.
 *
 *   a request brings a newer record of this cluster
 *     │
 *     ├─ the API has asked for a token or a certificate, or the record is sealed ─────────▶ believed, at once
 *     │
 *     └─ neither ─▶ asking ─┬─ the node that it names says so itself, at that address ────▶ believed
 *                           ├─ a `--peer` says so, or anything newer ─▶ believed, as every node that is asked
 *                           └─ nobody does, or in time ─▶ not believed: a warning, once, and all stays as it is
 *
 * 1. A seal is the word of a node that has followed a primary of the cluster (cluster-key.ts). A new primary is
 *    therefore believed at the moment of its call, even when it cannot be reached itself.
 * 2. While it asks, a primary goes on taking writes: otherwise a stranger could end them, over and over. If there is a
 *    newer primary, the writes taken meanwhile are like those before its call: a divergence, which is kept. That takes
 *    ASK_MS_MAX at most, and the new primary calls until it is believed.
 * 3. A record is checked at the address that it names, and only by `POST /lease`. The number of addresses asked at a
 *    time is limited, and none is asked more often than every PAUSE_MS.
 */
import { type Clock, sleep } from "../../lib/clock.ts"
import { LitefsError, messageOf } from "../../lib/errors.ts"
import { logger, Once } from "../../lib/log.ts"
import { inTime } from "../../lib/until.ts"
import { type HeardLease, isNewer, type LeaseRecord } from "./lease.ts"
import type { PeerCalls } from "./peer-check.ts"

const log = logger("member")

const ASK_MS_MAX = 3000
const PAUSE_MS = 1000
const ASKING_COUNT_MAX = 8

export interface ClaimsOptions extends Pick<PeerCalls, "ask" | "tell"> {
  readonly clock: Clock
  readonly signal: AbortSignal
  /** `--peer` */
  readonly peers: readonly string[]
  /** Whether the sender has shown that it belongs to the cluster. */
  isProven(heard: HeardLease): boolean
  record(): LeaseRecord | undefined
  clusterId(): string | undefined
  /** The node that the record names confirms it. */
  confirmed(heard: HeardLease): void
}

export class Claims {
  readonly #options: ClaimsOptions
  /** Addresses that are asked, or just were. */
  readonly #asking = new Set<string>()
  readonly #said = new Once()

  constructor(options: ClaimsOptions) {
    this.#options = options
  }

  isProven(heard: HeardLease): boolean {
    return this.#options.isProven(heard)
  }

  /** A newer record has come without a proof. `from` is its sender. */
  look(heard: HeardLease, from: string | undefined): void {
    const { url } = heard.record.primary
    const { clock, signal } = this.#options
    if (this.#asking.has(url) || this.#asking.size >= ASKING_COUNT_MAX) return
    this.#asking.add(url)
    void this.#look(heard, from)
      .catch((error) => log.error("cannot check what a request says about the primary", { error }))
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

  /** What keeps the named node from being this node's primary; undefined when nothing does. */
  async #problemOf({ record }: HeardLease): Promise<string | undefined> {
    const { ask, clusterId } = this.#options
    const answer = await ask(record.primary.url)
    if (answer.id !== record.primary.id) return "another node is there"
    if (answer.clusterId !== clusterId()) return "the node there is in another cluster"
    const theirs = answer.lease?.record
    if (theirs?.primary.id === answer.id && !isNewer(record, theirs)) return undefined
    return "the node there does not confirm it"
  }

  #inTime<T>(answer: Promise<T>): Promise<T> {
    const { clock } = this.#options
    const late = () => new LitefsError("unavailable", "the node there does not answer")
    return inTime(answer, { clock, limitMs: ASK_MS_MAX }, late)
  }

  #say({ record }: HeardLease, from: string | undefined, problem: string): void {
    const { epoch, primary } = record
    if (!this.#said.take(`${primary.url} ${problem}`)) return
    log.warn("a request says that another node is the primary, which is not believed", {
      ...{ from, epoch, url: primary.url, problem },
    })
  }
}
