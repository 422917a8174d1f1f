/**
 * How this node and others ask for, offer, take and leave the role of primary. The whole sequence: cli/node/promote.ts.
 *
 * Before a handoff the target is asked at the address that the record would have for it, since everybody will look for
 * it there:
 *
 *   who answers there                           handoff
 *   the target, of the same cluster             goes on
 *   the target, which knows of no cluster       refused: nobody would believe its records
 *   this node, another, something else, nobody  refused: the cluster would fall apart
 */

import { isIP } from "node:net"
import { type Clock, sleep } from "../../lib/clock.ts"
import { LitefsError, messageOf } from "../../lib/errors.ts"
import { LineLimit, type LogFields, logger } from "../../lib/log.ts"
import { inTime } from "../../lib/until.ts"
import { formatPos, type Pos } from "../../ltx/pos.ts"
import { encodePositionMap } from "../../wire/position-map.ts"
import { connectProblem } from "../connect-problem.ts"
import type { NodeAnswer } from "../node-client.ts"
import type { ReplicaProgress } from "../replica/replica-progress.ts"
import { NO_CLUSTER } from "./cluster-id.ts"
import { LEASE_PATH, type LeaseNode } from "./lease.ts"
import { type Member, withoutLease } from "./member.ts"
import type { HandoffTarget } from "./offer.ts"
import type { PeerAnswer } from "./peer-check.ts"
import type { StaticLease } from "./static-lease.ts"

const log = logger("member")

/** For the target of a handoff. A stop waits for it, too. */
const ANSWER_MS_MAX = 3000

const REACH_ADVICE = "give it --http-addr and --advertise-url that other nodes reach"

/** A new primary may not be connected yet. */
const CONNECT_MS_MAX = 5000

/** A stop asks no further candidate after this time: the process may be killed soon. */
const LEAVE_MS_MAX = 10_000

/** From the primary's answer until this node takes writes. */
const PROMOTION_MS_MAX = 10_000

/** By then a handoff whose answer is lost has ended at the primary. */
const UNSURE_MS_MAX = 15_000
const ASK_AGAIN_MS = 500

/** A replica that listens to a stream of this node (http/streams/replica-stream.ts). */
export interface ConnectedReplica {
  /** What it has said of itself. */
  readonly replica:
    | {
        readonly id: string | undefined
        readonly name: string
        readonly url?: string | undefined
        readonly isCandidate?: boolean
      }
    | undefined
  /** Whether it wants every database. */
  readonly hasEverything: boolean
  readonly sent: ReadonlyMap<string, Pos>
  offer(token: string): void
  readonly ended: Promise<void>
}

export interface HandoffsContext {
  readonly member: Pick<Member, "state" | "isPrimary" | "isHeld" | "settled" | "handOff">
  readonly lease: Pick<StaticLease, "id" | "record">
  readonly streams: Iterable<ConnectedReplica>
  readonly progress: Pick<ReplicaProgress, "missing">
  /** Why this node can never be the primary. */
  readonly ineligibility: () => string | undefined
  readonly isCandidate: boolean
  readonly clock: Clock
  positions(): ReadonlyMap<string, Pos>
  /** Name of the primary that this node is connected to. */
  primaryName(): string | undefined
  /** Whether it is connected, now or within the time. */
  isConnected(limitMs: number): Promise<boolean>
  /** For how long this node may have lacked something; undefined when it was not in sync since its start. */
  lagMs(): number | undefined
  primaryUrl(): string
  call(url: string, method: "POST", path: string, body?: Uint8Array): Promise<NodeAnswer>
  /** This node is about to stop, and takes no role any more. */
  isLeaving(): boolean
  /** The primary must hear that this node is no longer a candidate. */
  reconnect(): void
  /** What the node at the address says of itself. Rejects when it lets this node not in, or is not LiteFS. */
  reach(url: string): Promise<PeerAnswer>
  self(): LeaseNode
  clusterId(): string | undefined
  /** Why others cannot reach this node where it tells them to, as far as it knows without asking. */
  ownProblem(): Promise<string | undefined>
  /** Takes in what the node at the address says of the primary. */
  hear(headers: NodeAnswer["headers"], url: string): void
}

export class Handoffs {
  readonly #context: HandoffsContext
  /** The last offer that has come and is not looked at yet. */
  #offered: { readonly token: string; readonly url: string } | undefined
  #isTaking = false
  /** Who says that it is the primary can make offers without end. */
  readonly #limit: LineLimit

  constructor(context: HandoffsContext) {
    this.#context = context
    this.#limit = new LineLimit(context.clock)
  }

  /** Why this node must not become the primary; undefined when it may. */
  ineligibility(isForced: boolean): string | undefined {
    const { ineligibility, isCandidate } = this.#context
    const problem = ineligibility()
    if (problem !== undefined) return `not eligible to become primary: ${problem}`
    if (isForced || isCandidate) return undefined
    const advice = "start it with --candidate, or force it when the primary is gone (--force)"
    return `not eligible to become primary: it was started without --candidate, ${advice}`
  }

  /** The connected replica with this id, if it may become the primary. */
  target(id: string): HandoffTarget | undefined {
    return this.#targets().find(({ node }) => node.id === id)
  }

  /** On the primary: gives the role to a connected replica, if the others will reach it. */
  async handOff(target: HandoffTarget): Promise<void> {
    await this.#check(target)
    await this.#context.member.handOff(target)
  }

  /** Throws when the target must not become the primary. */
  async #check({ node }: HandoffTarget): Promise<void> {
    const refuse = (problem: string) => {
      throw new LitefsError("unavailable", `Cannot hand over to ${node.hostname}: ${problem}`)
    }
    const ownCluster = this.#context.clusterId()
    if (ownCluster === undefined) refuse(`the primary ${NO_CLUSTER}`)
    const answer = await this.#answerAt(node)
    if (typeof answer === "string") return refuse(answer)
    const { clusterId } = answer
    if (clusterId === undefined) refuse(`it ${NO_CLUSTER}`)
    if (clusterId !== ownCluster)
      refuse(`it is in cluster ${clusterId}, the primary in ${ownCluster}`)
  }

  /** What the node itself answers at its address; or why others cannot reach it there, with what to do. */
  async #answerAt(node: LeaseNode): Promise<PeerAnswer | string> {
    const { reach, clock, lease } = this.#context
    const { hostname } = new URL(node.url)
    const late = () => {
      // A name server that is away takes longer to be given up.
      const guess = isAddress(hostname) ? "" : `, perhaps the primary cannot resolve "${hostname}"`
      return new LitefsError("unavailable", `no answer in ${ANSWER_MS_MAX / 1000} s${guess}`)
    }
    try {
      const answer = await inTime(reach(node.url), { clock, limitMs: ANSWER_MS_MAX }, late)
      if (answer.id === node.id) return answer
      const who = answer.id === lease.id ? "the primary itself" : "another node"
      return unreachable(node.url, `${who} answers there`)
    } catch (error) {
      return unreachable(node.url, connectProblem(node.url, error).message)
    }
  }

  /** Before a forced promotion: logs and resolves with what keeps others from reaching this node, if anything does. */
  async unreachable(): Promise<string | undefined> {
    const { self, ownProblem } = this.#context
    const problem = (await ownProblem()) ?? (await this.#answerAt(self()))
    if (typeof problem !== "string") return undefined
    log.warn("other nodes may not be able to reach this node, which is made the primary by force", {
      problem,
    })
    return problem
  }

  /** Asks the primary for its role. Resolves when this node is the primary. */
  async promote(): Promise<void> {
    const { member, lease, call, hear, isConnected, primaryUrl } = this.#context
    if (member.state === "primary" && member.isHeld) return
    if (member.state === "primary") throw withoutLease()
    if (member.isPrimary) {
      const problem = "this node is the primary and is handing its role over"
      throw new LitefsError(
        "unavailable",
        `cannot promote: ${problem}, ask again when that is over`,
      )
    }
    if (!(await isConnected(CONNECT_MS_MAX))) {
      const problem = "no primary is currently available for handoff, cannot promote"
      throw new LitefsError("unavailable", `${problem}; if it is gone, use --force`)
    }
    const url = primaryUrl()
    let answer: NodeAnswer
    try {
      answer = await call(url, "POST", `/handoff?nodeID=${lease.id}`)
    } catch (error) {
      return this.#findOut(url, messageOf(error))
    }
    hear(answer.headers, url)
    if (answer.status !== 200) {
      const text = answer.text.replace(/^cannot handoff: /, "") // it says the same
      const isWhole = text.startsWith("Cannot ")
      throw new LitefsError("unavailable", isWhole ? text : `handoff failed: ${text}`)
    }
    await member.settled(PROMOTION_MS_MAX)
    if (member.isPrimary) return
    if (lease.record?.primary.id !== lease.id) {
      const problem = `${url} has handed over its role, but this node has not taken the lease record`
      throw new LitefsError("unavailable", `promote: ${problem}, see its log`)
    }
    throw new LitefsError("unavailable", "promote: timed out waiting for promotion")
  }

  /** The primary may have handed its role over, or be about to, though its answer is lost: its record tells. */
  async #findOut(url: string, problem: string): Promise<void> {
    const { member, lease, call, hear, clock } = this.#context
    const endMs = clock.monotonicMs() + UNSURE_MS_MAX
    let isSaid = false
    while (clock.monotonicMs() < endMs) {
      if (lease.record?.primary.id === lease.id) {
        await member.settled(PROMOTION_MS_MAX)
        if (member.isPrimary) return
      }
      await sleep(clock, ASK_AGAIN_MS)
      try {
        const answer = await call(url, "POST", LEASE_PATH)
        hear(answer.headers, url)
        isSaid = answer.status === 200
      } catch {
        isSaid = false
      }
    }
    const outcome = isSaid
      ? `it did not happen, ${url} is the primary as before`
      : `it is not known whether it happened, ${url} does not answer: see litefs info when it does`
    throw new LitefsError(
      "unavailable",
      `handoff failed: the answer is lost (${problem}); ${outcome}`,
    )
  }

  /**
   * The primary offers its role, and everything that it has is applied here. One offer is answered at a time, and then
   * the last of those that came meanwhile: with a new offer, the one before is over.
   */
  async takeOffer(token: string, url: string): Promise<void> {
    this.#offered = { token, url }
    if (this.#isTaking) return
    this.#isTaking = true
    try {
      while (this.#offered !== undefined) {
        const { token, url } = this.#offered
        this.#offered = undefined
        await this.#take(token, url)
      }
    } finally {
      this.#isTaking = false
    }
  }

  async #take(token: string, url: string): Promise<void> {
    const { call, hear, positions, isLeaving, reconnect, ineligibility } = this.#context
    if (isLeaving()) {
      this.#say("info", "the primary offers its role, this node is stopping", { url })
      return reconnect()
    }
    const problem = ineligibility()
    if (problem !== undefined) {
      this.#say("warn", "the primary offers its role, this node cannot take it", { url, problem })
      return reconnect()
    }
    try {
      const body = encodePositionMap(new Map(positions()))
      const answer = await call(url, "POST", `/handoff?token=${encodeURIComponent(token)}`, body)
      hear(answer.headers, url)
      if (answer.status === 200) return
      this.#say("warn", "the primary has not handed its role over", { url, problem: answer.text })
    } catch (error) {
      // If it has, its next message tells.
      this.#say("warn", "the primary has not answered an accepted handoff", {
        ...{ url, problem: messageOf(error) },
      })
    }
  }

  #say(level: "info" | "warn", what: string, fields: LogFields): void {
    const said = this.#limit.take(what)
    if (said !== undefined) log[level](what, { ...fields, ...said })
  }

  /**
   * On a primary that stops: gives the role to the candidate that lacks least, and becomes its replica if this node is
   * needed until its end. Does not throw.
   */
  async leave(becomesReplica: boolean): Promise<void> {
    const { member, clock } = this.#context
    if (member.state !== "primary") return
    const endMs = clock.monotonicMs() + LEAVE_MS_MAX
    const checked = this.#targets().map((target) => ({ target, check: this.#check(target) }))
    for (const { check } of checked) check.catch(() => {}) // its turn may not come
    for (const { target, check } of checked) {
      if (clock.monotonicMs() >= endMs) return
      try {
        await check
        return await member.handOff(target, !becomesReplica)
      } catch (error) {
        const primary = target.node.hostname
        log.warn("cannot hand the role of primary over", { to: primary, problem: messageOf(error) })
      }
      if (member.state !== "primary") return
    }
  }

  /** Connected candidates, those that lack least first. */
  #targets(): HandoffTarget[] {
    const found = new Map<string, { readonly target: HandoffTarget; readonly lack: bigint }>()
    for (const stream of this.#context.streams) {
      const { id, name: hostname, url, isCandidate } = stream.replica ?? {}
      if (id === undefined || hostname === undefined || url === undefined) continue
      if (isCandidate !== true || !stream.hasEverything) continue
      const offer = (token: string) => stream.offer(token)
      const lack = [...this.#context.positions()].reduce((sum, [name, pos]) => {
        return sum + pos.txid - (stream.sent.get(name)?.txid ?? 0n)
      }, 0n)
      // An older stream of a restarted node may not have ended yet: the last one counts.
      const target = { node: { id, hostname, url }, offer, gone: stream.ended }
      found.set(id, { target, lack })
    }
    const sorted = [...found.values()].sort((a, b) => Number(a.lack - b.lack))
    return sorted.map(({ target }) => target)
  }

  /** The transactions after which the primary may have had more than is here, as lines of text. */
  possibleLoss(): string {
    const { positions, progress, lease, primaryName, self } = this.#context
    const primary = lease.record?.primary.hostname ?? primaryName() ?? "the previous primary"
    const lines = [
      `This node is the primary from here on. What ${primary} took after these transactions is not here:`,
    ]
    for (const [name, pos] of positions()) {
      const { transactions } = progress.missing(name, pos.txid)
      const known = transactions > 0 ? `, ${transactions} more are known to be missing` : ""
      lines.push(`  ${name}  ${formatPos(pos)}${known}`)
    }
    lines.push(
      `${this.#link()}. When it comes back it follows this node, and keeps what only it has: litefs diverged list.`,
      `Start it with --primary-url ${self().url}: as --primary without a --peer it takes writes until it has heard of this node.`,
      "If its data directory was lost it may have begun a cluster of its own and does not follow: stop it, remove that",
      `directory, and start it with --primary-url ${self().url}.`,
    )
    return `${lines.join("\n")}\n`
  }

  #link(): string {
    const lagMs = this.#context.lagMs()
    if (lagMs === undefined) {
      return "This node has not been in sync with it since it was started: other databases may be missing, too"
    }
    const known = `this node had everything ${(lagMs / 1000).toFixed(1)} s ago`
    return this.#context.primaryName() === undefined
      ? `It is not connected: ${known}`
      : `It was connected: ${known}`
  }
}

function isAddress(host: string): boolean {
  return isIP(host.replace(/^\[|\]$/g, "")) !== 0
}

export function unreachable(url: string, why: string): string {
  return `it cannot be reached at ${url} (${why}), ${REACH_ADVICE}`
}
