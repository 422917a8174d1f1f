/** How the role of primary is asked for, offered, taken and left, between this node and others. */

import { leaseOf } from "../cluster/lease.ts"
import type { HandoffTarget, Member } from "../cluster/member.ts"
import type { NodeAnswer } from "../cluster/node-client.ts"
import type { ReplicaProgress } from "../cluster/replica-progress.ts"
import type { StaticLease } from "../cluster/static-lease.ts"
import { LitefsError, messageOf } from "../lib/errors.ts"
import { logger } from "../lib/log.ts"
import { formatPos, type Pos } from "../ltx/pos.ts"
import { encodePositionMap } from "../wire/position-map.ts"
import type { RolesContext } from "./roles.ts"
import type { ReplicaStream } from "./stream.ts"

const log = logger("member")

/** A primary that has just changed may not be connected yet. */
const CONNECT_MS_MAX = 5000

/** From the primary's word until this node takes writes. */
const PROMOTION_MS_MAX = 10_000

export interface HandoffsContext {
  readonly member: Member
  readonly lease: StaticLease
  readonly streams: ReadonlySet<ReplicaStream>
  readonly progress: ReplicaProgress
  /** Why this node can never be the primary. */
  readonly ineligibility: () => string | undefined
  readonly isCandidate: boolean
  positions(): ReadonlyMap<string, Pos>
  /** Of the primary that this node is connected to. */
  primaryName(): string | undefined
  /** Whether it is connected, now or within the time. */
  isConnected(limitMs: number): Promise<boolean>
  primaryUrl(): string
  call(url: string, method: "POST", path: string, body?: Uint8Array): Promise<NodeAnswer>
}

type RouteContext = Pick<RolesContext, "ineligibility" | "promote" | "possibleLoss" | "target">

export class Handoffs {
  readonly #context: HandoffsContext

  constructor(context: HandoffsContext) {
    this.#context = context
  }

  get routes(): RouteContext {
    const { ineligibility, isCandidate } = this.#context
    return {
      ineligibility: (isForced) => {
        const problem = ineligibility()
        if (problem !== undefined) return `not eligible to become primary: ${problem}`
        if (isForced || isCandidate) return undefined
        return "not eligible to become primary: it was started without --candidate"
      },
      promote: () => this.promote(),
      possibleLoss: () => this.#possibleLoss(),
      target: (id) => this.#targets().find(({ node }) => node.id === id),
    }
  }

  /** Asks the primary for its role. Resolves when this node is the primary. */
  async promote(): Promise<void> {
    const { member, lease, call, isConnected, primaryUrl } = this.#context
    if (member.state === "primary") return
    if (!(await isConnected(CONNECT_MS_MAX))) {
      const problem = "no primary is currently available for handoff, cannot promote"
      throw new LitefsError("unavailable", problem)
    }
    const answer = await call(primaryUrl(), "POST", `/handoff?nodeID=${lease.id}`)
    this.#hear(answer)
    if (answer.status !== 200) {
      throw new LitefsError("unavailable", `handoff failed: ${answer.text}`)
    }
    await member.settled(PROMOTION_MS_MAX)
    if (member.isPrimary) return
    throw new LitefsError("unavailable", "promote: timed out waiting for promotion")
  }

  /** The primary offers its role, and all it has is applied here. */
  async takeOffer(token: string, url: string): Promise<void> {
    const { call, positions } = this.#context
    try {
      const body = encodePositionMap(new Map(positions()))
      const answer = await call(url, "POST", `/handoff?token=${encodeURIComponent(token)}`, body)
      this.#hear(answer)
      if (answer.status === 200) return
      log.warn("the primary has not handed its role over", { url, problem: answer.text })
    } catch (error) {
      // If it has, its next word tells.
      log.warn("the primary has not answered to an accepted handoff", {
        ...{ url, problem: messageOf(error) },
      })
    }
  }

  /**
   * On a primary that stops: gives the role to the candidate that lacks least, and becomes its replica when it is
   * needed until its end. Does not throw.
   */
  async leave(becomesReplica: boolean): Promise<void> {
    const { member } = this.#context
    if (member.state !== "primary") return
    for (const target of this.#targets()) {
      try {
        return await member.handOff(target, !becomesReplica)
      } catch (error) {
        const primary = target.node.hostname
        log.warn("cannot hand the role of primary over", { to: primary, problem: messageOf(error) })
      }
      if (member.state !== "primary") return
    }
  }

  #hear(answer: NodeAnswer): void {
    const heard = leaseOf(answer.headers)
    if (heard !== undefined) this.#context.member.hear(heard)
  }

  /** Connected candidates, those that lack least first. */
  #targets(): HandoffTarget[] {
    const found: { readonly target: HandoffTarget; readonly lack: bigint }[] = []
    for (const stream of this.#context.streams) {
      const { id, name: hostname, url, isCandidate } = stream.replica ?? {}
      if (id === undefined || hostname === undefined || url === undefined) continue
      if (isCandidate !== true || !stream.hasEverything) continue
      const offer = (token: string) => stream.offer(token)
      const lack = [...this.#context.positions()].reduce((sum, [name, pos]) => {
        return sum + pos.txid - (stream.sent.get(name)?.txid ?? 0n)
      }, 0n)
      found.push({ target: { node: { id, hostname, url }, offer }, lack })
    }
    found.sort((a, b) => Number(a.lack - b.lack))
    return found.map(({ target }) => target)
  }

  #possibleLoss(): string {
    const { positions, progress, lease, primaryName } = this.#context
    const primary = lease.record?.primary.hostname ?? primaryName() ?? "the primary before"
    const lines = [
      `This node is the primary from here on. What ${primary} took after these transactions is not here:`,
    ]
    for (const [name, pos] of positions()) {
      const { transactions } = progress.missing(name, pos.txid)
      const known = transactions > 0 ? `, ${transactions} more are known to be missing` : ""
      lines.push(`  ${name}\t${formatPos(pos)}${known}`)
    }
    const link =
      primaryName() !== undefined
        ? "This node was connected to it"
        : "This node was not connected to it"
    lines.push(
      `${link}. When it comes back it follows this node, and keeps what it has more: litefs diverged list.`,
    )
    return `${lines.join("\n")}\n`
  }
}
