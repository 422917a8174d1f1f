/**
 * How a node learns its cluster when the answer with which its primary began the stream did not tell it, as a primary of
 * an older release does at its very first start. It asks that primary again, with the heartbeats of the stream.
 */
import type { Clock } from "../../lib/clock.ts"
import { messageOf } from "../../lib/errors.ts"
import { logger } from "../../lib/log.ts"
import type { ClusterId } from "./cluster-id.ts"
import type { PeerCalls } from "./peer-answer.ts"

const log = logger("member")

const ASK_AGAIN_MS = 5000

export interface ClusterLessonOptions extends Pick<PeerCalls, "ask"> {
  readonly clusterId: Pick<ClusterId, "value" | "check">
  readonly clock: Clock
}

export class ClusterLesson {
  readonly #options: ClusterLessonOptions
  #primaryId: string | undefined
  #askedMs = Number.NEGATIVE_INFINITY

  constructor(options: ClusterLessonOptions) {
    this.#options = options
  }

  /** A node with this id has answered. If it sends a stream, the heartbeats are of that. */
  answered(id: unknown): void {
    this.#primaryId = typeof id === "string" ? id : undefined
  }

  /** A heartbeat has come from the node at the address. */
  heartbeat(url: string): void {
    const { clusterId, clock } = this.#options
    if (clusterId.value !== undefined || this.#primaryId === undefined) return
    if (clock.monotonicMs() - this.#askedMs < ASK_AGAIN_MS) return
    this.#askedMs = clock.monotonicMs()
    this.#learn(url, this.#primaryId).catch((error) => {
      log.warn("cannot learn the cluster id of the primary", { url, problem: messageOf(error) })
    })
  }

  async #learn(url: string, primaryId: string): Promise<void> {
    const { clusterId, ask } = this.#options
    const answer = await ask(url)
    const isFromPrimary = answer.id === primaryId && this.#primaryId === primaryId
    if (!isFromPrimary || answer.clusterId === undefined) return
    clusterId.check(answer.clusterId)
    log.info("learned the cluster id of the primary", { url, cluster: answer.clusterId })
  }
}
