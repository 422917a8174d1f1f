/**
 * How this node and others ask for, offer, take and leave the role of primary. The whole sequence: cli/node/promote.ts.
 */

import { type Clock, sleep } from "../../lib/clock.ts"
import { LitefsError, messageOf } from "../../lib/errors.ts"
import { logger } from "../../lib/log.ts"
import { formatPos, type Pos } from "../../ltx/pos.ts"
import { encodePositionMap } from "../../wire/position-map.ts"
import type { NodeAnswer } from "../node-client.ts"
import type { ReplicaProgress } from "../replica/replica-progress.ts"
import { checkTarget, reachProblem } from "./handoff-target.ts"
import { LEASE_PATH, type LeaseNode } from "./lease.ts"
import type { Member } from "./member.ts"
import type { HandoffTarget } from "./offer.ts"
import type { PeerAnswer } from "./peer-answer.ts"
import type { StaticLease } from "./static-lease.ts"

const log = logger("member")

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
  readonly member: Pick<Member, "state" | "isPrimary" | "settled" | "handOff">
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

  constructor(context: HandoffsContext) {
    this.#context = context
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

  #check({ node }: HandoffTarget): Promise<void> {
    const { reach, clock, lease, clusterId } = this.#context
    return checkTarget(node, clusterId(), { reach, clock, id: lease.id })
  }

  /** Before a forced promotion: logs and resolves with what keeps others from reaching this node, if anything does. */
  async unreachable(): Promise<string | undefined> {
    const { reach, clock, lease, self, ownProblem } = this.#context
    const problem =
      (await ownProblem()) ?? (await reachProblem(self(), { reach, clock, id: lease.id }))
    if (problem !== undefined) {
      log.warn(
        "other nodes may not be able to reach this node, which is made the primary by force",
        { problem },
      )
    }
    return problem
  }

  /** Asks the primary for its role. Resolves when this node is the primary. */
  async promote(): Promise<void> {
    const { member, lease, call, hear, isConnected, primaryUrl } = this.#context
    if (member.state === "primary") return
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
      const { text } = answer
      const isWhole = text.startsWith("Cannot hand over")
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

  /** The primary offers its role, and everything that it has is applied here. */
  async takeOffer(token: string, url: string): Promise<void> {
    const { call, hear, positions, isLeaving, reconnect, ineligibility } = this.#context
    if (isLeaving()) {
      log.info("the primary offers its role, this node is stopping", { url })
      return reconnect()
    }
    const problem = ineligibility()
    if (problem !== undefined) {
      log.warn("the primary offers its role, this node cannot take it", { url, problem })
      return reconnect()
    }
    try {
      const body = encodePositionMap(new Map(positions()))
      const answer = await call(url, "POST", `/handoff?token=${encodeURIComponent(token)}`, body)
      hear(answer.headers, url)
      if (answer.status === 200) return
      log.warn("the primary has not handed its role over", { url, problem: answer.text })
    } catch (error) {
      // If it has, its next message tells.
      log.warn("the primary has not answered an accepted handoff", {
        ...{ url, problem: messageOf(error) },
      })
    }
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
    const { positions, progress, lease, primaryName } = this.#context
    const primary = lease.record?.primary.hostname ?? primaryName() ?? "the previous primary"
    const lines = [
      `This node is the primary from here on. What ${primary} took after these transactions is not here:`,
    ]
    for (const [name, pos] of positions()) {
      const { transactions } = progress.missing(name, pos.txid)
      const known = transactions > 0 ? `, ${transactions} more are known to be missing` : ""
      lines.push(`  ${name}\t${formatPos(pos)}${known}`)
    }
    lines.push(
      `${this.#link()}. When it comes back it follows this node, and keeps what only it has: litefs diverged list.`,
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
