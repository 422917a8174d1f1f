/**
 * The nodes that this node has nothing to do with. Each problem is logged once, and told to the other side.
 *
 * - Two nodes with one id are a data directory and a copy of it. A lease record that names them would make both the
 *   primary.
 * - Two clusters are two histories. A primary that has lost its data and was started with `--primary` has begun a
 *   cluster of its own, and the nodes that take it for theirs still have the data.
 */
import { LitefsError } from "../../lib/errors.ts"
import { logger } from "../../lib/log.ts"
import { ADVERTISE_URL_HEADER } from "../../wire/protocol.ts"
import type { ClusterId } from "./cluster-id.ts"
import type { ConnectedReplica } from "./handoffs.ts"
import { type HeardLease, LEASE_HEADER, leaseProblem } from "./lease.ts"
import { type Headers, type PeerAnswer, peerAnswer } from "./peer-answer.ts"

const log = logger("member")

export const COPY_ADVICE =
  "one of the data directories is a copy of the other, remove lease.json from the copy"

/** Anybody can make up nodes: this many are remembered and logged. */
const SEEN_COUNT_MAX = 100

export interface PeerCheckOptions {
  readonly id: string
  /** Identifies this process. */
  readonly run: string
  readonly clusterId: ClusterId
  /** `isAsked`: this node had asked the sender; otherwise `from` is the address of the caller. */
  heard(lease: HeardLease, isAsked: boolean, from?: string): void
  /** The setting that a URL comes from, in the user's spelling. */
  spellingOf?(url: string): string | undefined
}

export class PeerCheck {
  readonly #options: PeerCheckOptions
  readonly #seen = new Set<string>()
  readonly #odd = new Set<string>()

  constructor(options: PeerCheckOptions) {
    this.#options = options
  }

  /** An answer has come. Throws when this node must have nothing to do with its sender. */
  hear(headers: Headers, url: string): PeerAnswer {
    return this.#hear(headers, url, true)
  }

  /** As hear(), for a request. */
  hearRequest(headers: Headers, from?: string): PeerAnswer {
    return this.#hear(headers, senderOf(headers), false, from)
  }

  #hear(headers: Headers, where: string, isAsked: boolean, from?: string): PeerAnswer {
    const answer = peerAnswer(headers)
    // Also from a copy: it may have become the primary.
    if (answer.lease !== undefined) this.#options.heard(answer.lease, isAsked, from)
    else this.#sayIfOdd(headers, isAsked ? where : from)
    this.#refuseCopy(answer, where, from)
    return answer
  }

  /** Why the node there is not believed; undefined when it is. */
  copyProblem({ id, run }: PeerAnswer, where: string, from?: string): string | undefined {
    const { id: own, run: ownRun } = this.#options
    if (id !== own || run === undefined || run === ownRun) return undefined
    const problem = `${where} has this node's id, ${id}: ${COPY_ADVICE}`
    this.#say(run, "another node has the id of this one", problem, from)
    return problem
  }

  /** On a primary: throws when the node that asks for its databases must not get them. */
  checkFollower(
    headers: Headers,
    streams: Iterable<Pick<ConnectedReplica, "replica">>,
    from?: string,
  ): void {
    const where = senderOf(headers)
    const url = headers[ADVERTISE_URL_HEADER]
    const { id, run = "", clusterId: theirs } = peerAnswer(headers)
    for (const { replica } of streams) {
      if (id === undefined || replica?.id !== id || replica.url === url) continue
      const problem = `${where} at ${url} has the id of ${replica.name} at ${replica.url}, ${id}: ${COPY_ADVICE}`
      this.#say(run, "two nodes have the same id", problem, from)
      throw new LitefsError("unavailable", problem)
    }
    const own = this.#options.clusterId.value
    if (own === undefined || theirs === undefined || theirs === own) return
    const problem =
      `${where} is in cluster ${theirs}, this node in ${own}: ` +
      `was the data directory here emptied? Then ${where} has the data`
    this.#say(
      `${where} ${theirs}`,
      "a node of another cluster takes this one for its primary",
      problem,
      from,
    )
    throw new LitefsError("unavailable", problem)
  }

  /** On a replica: throws when it must not follow the node that it asked. */
  checkPrimary(headers: Headers, url: string): void {
    const answer = peerAnswer(headers)
    const { clusterId, id, run, spellingOf } = this.#options
    if (answer.id === id && answer.run === run) {
      const setting = spellingOf?.(url) ?? "its URL"
      const text = `this node itself answers there: ${setting} should be the URL of the primary`
      throw new LitefsError("usage", text)
    }
    this.#refuseCopy(answer, url)
    if (answer.clusterId !== undefined && clusterId.value !== undefined) {
      clusterId.check(answer.clusterId)
    }
  }

  #refuseCopy(answer: PeerAnswer, where: string, from?: string): void {
    const problem = this.copyProblem(answer, where, from)
    if (problem !== undefined) throw new LitefsError("unavailable", problem)
  }

  /** A record was sent that is none. */
  #sayIfOdd(headers: Headers, from: string | undefined): void {
    const text = headers[LEASE_HEADER]
    if (typeof text !== "string") return
    const problem = leaseProblem(text)
    const what = `${from} ${problem}`
    if (this.#odd.has(what) || this.#odd.size >= SEEN_COUNT_MAX) return
    this.#odd.add(what)
    const node = senderOf(headers)
    log.warn("heard of a lease record that is not valid, it is not believed", {
      from,
      node,
      problem,
    })
  }

  #say(what: string, message: string, problem: string, from?: string): void {
    if (this.#seen.has(what) || this.#seen.size >= SEEN_COUNT_MAX) return
    this.#seen.add(what)
    log.error(message, { from, problem })
  }
}

function senderOf(headers: Headers): string {
  const name = headers["litefs-hostname"]
  return typeof name === "string" ? name : "a node"
}
