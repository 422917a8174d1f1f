/**
 * Whether the other nodes, too, take this one for the primary. This node asks when a client has seen a primary of a
 * newer epoch than it has heard of. Either that primary exists and this node is cut off from it, or what the client has
 * seen is gone from all nodes, or was made up.
 *
 * 1. All peers are asked. Each makes this node hear a newer record if it has one (member.ts).
 * 2. Only when all of them have answered, and nothing newer was heard, this node is confirmed, for a moment. Without
 *    peers it never is.
 */
import type { Clock } from "../../lib/clock.ts"
import { isNewer, type LeaseRecord } from "./lease.ts"
import type { PeerCalls } from "./peer-answer.ts"

/** Their answers count this long, and they are not asked again meanwhile. */
const CONFIRMED_MS = 1000

export interface ConfirmationOptions extends Pick<PeerCalls, "tell"> {
  readonly peers: readonly string[]
  readonly clock: Clock
  record(): LeaseRecord | undefined
}

export class Confirmation {
  readonly #options: ConfirmationOptions
  readonly #listeners = new Set<() => void>()
  #askedMs = Number.NEGATIVE_INFINITY
  #isAsking = false
  #isConfirmed = false

  constructor(options: ConfirmationOptions) {
    this.#options = options
  }

  get isConfirmed(): boolean {
    return this.#isConfirmed && !this.#isOver
  }

  get #isOver(): boolean {
    return this.#options.clock.monotonicMs() - this.#askedMs > CONFIRMED_MS
  }

  /** Asks the peers, unless they were just asked. */
  ask(): void {
    if (this.#isAsking || !this.#isOver) return
    this.#askedMs = this.#options.clock.monotonicMs()
    this.#isAsking = true
    void this.#askAll().then((isConfirmed) => {
      this.#isAsking = false
      this.#isConfirmed = isConfirmed
      for (const listener of [...this.#listeners]) listener()
    })
  }

  async #askAll(): Promise<boolean> {
    const { peers, record, tell } = this.#options
    const before = record()
    const answers = await Promise.allSettled(peers.map((url) => tell(url)))
    const isHeard = answers.every(({ status }) => status === "fulfilled")
    const theirs = answers.flatMap((answer) =>
      answer.status === "fulfilled" && answer.value !== undefined ? [answer.value] : [],
    )
    return peers.length > 0 && isHeard && !theirs.some((other) => isNewer(other, before))
  }

  /** Calls back when the peers were asked, until the returned function is called. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }
}
