/**
 * A primary offers its role to one replica. The offer is open until it is accepted, or too late.
 *
 *   primary ── the token, behind everything that the replica lacks ──▶ replica applies all that was before it
 *           ◀── POST /handoff?token=TOKEN, with its positions ────────
 *           ── the lease record that makes it the primary ──────────▶
 */
import type { Clock } from "../../lib/clock.ts"
import { LitefsError } from "../../lib/errors.ts"
import { randomBytes } from "../../lib/random-bytes.ts"
import { formatPos, type Pos, posEquals } from "../../ltx/pos.ts"
import type { LeaseNode, LeaseRecord } from "./lease.ts"

/** Time for the target to apply what it was sent, and to say so. */
const ACCEPT_MS_MAX = 5000
/** Messages that a disconnected node has sent before may still come for this long. */
const GONE_MS = 500

/** A connected replica. */
export interface HandoffTarget {
  readonly node: LeaseNode
  /** Sends it what it lacks, and then the token with which it accepts. */
  offer(token: string): void
  /** Resolves when the replica is no longer connected. */
  readonly gone: Promise<void>
}

export class Offer {
  readonly token = randomBytes(16).toString("hex")
  /** The record that is true once the offer is accepted. */
  readonly record: LeaseRecord
  readonly #target: HandoffTarget
  readonly #positions: ReadonlyMap<string, Pos>
  readonly #outcome = Promise.withResolvers<void>()
  #hasEnded = false

  /** `positions` are those of all databases here. Nobody writes to them any more. */
  constructor(target: HandoffTarget, epoch: number, positions: ReadonlyMap<string, Pos>) {
    this.record = { epoch, primary: target.node }
    this.#target = target
    this.#positions = positions
  }

  /** Resolves when the offer is accepted. */
  async make(clock: Clock): Promise<void> {
    const { node, gone } = this.#target
    const cancel = clock.after(ACCEPT_MS_MAX, () => {
      this.#fail(`"${node.hostname}" has not accepted in ${ACCEPT_MS_MAX / 1000} s`)
    })
    void gone.then(() => {
      clock.after(GONE_MS, () => this.#fail(`"${node.hostname}" is no longer connected`))
    })
    try {
      this.#target.offer(this.token)
      await this.#outcome.promise
    } finally {
      cancel()
    }
  }

  /** Throws when the target lacks something. */
  check(theirs: ReadonlyMap<string, Pos>): void {
    const problem = difference(this.#positions, theirs)
    if (problem === undefined) return
    throw new LitefsError("position-mismatch", `Cannot hand over: ${problem}`)
  }

  accepted(): void {
    this.#outcome.resolve()
  }

  get hasEnded(): boolean {
    return this.#hasEnded
  }

  /** The offer is no longer open. */
  end(why: unknown): void {
    this.#hasEnded = true
    this.#outcome.reject(why)
  }

  #fail(problem: string): void {
    this.end(new LitefsError("unavailable", problem))
  }
}

/** How `theirs` differs from `ours`; undefined when it does not. */
function difference(
  ours: ReadonlyMap<string, Pos>,
  theirs: ReadonlyMap<string, Pos>,
): string | undefined {
  for (const [name, pos] of ours) {
    const found = theirs.get(name)
    if (found !== undefined && posEquals(found, pos)) continue
    return `"${name}" is at ${found === undefined ? "nothing" : formatPos(found)} there, at ${formatPos(pos)} here`
  }
  return undefined
}
