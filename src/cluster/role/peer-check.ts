/**
 * What other nodes say of themselves, and which of them this node has nothing to do with. Each problem is logged once,
 * and told to the other side.
 *
 * - Two nodes with one id are a data directory and a copy of it. A lease record that names them would make both the
 *   primary.
 * - Two clusters are two histories. A primary that has lost its data and was started with `--primary` has begun a
 *   cluster of its own, and the nodes that take it for theirs still have the data.
 */
import { LitefsError } from "../../lib/errors.ts"
import { logger, Once } from "../../lib/log.ts"
import {
  ADVERTISE_URL_HEADER,
  type Headers,
  headerOf,
  RUN_HEADER,
  WANTS_PRIMARY_HEADER,
} from "../../wire/protocol.ts"
import type { ClusterId } from "./cluster-id.ts"
import type { ConnectedReplica } from "./handoffs.ts"
import { type HeardLease, LEASE_HEADER, type LeaseRecord, leaseOf, leaseProblem } from "./lease.ts"

const log = logger("member")

export const COPY_ADVICE =
  "one of the data directories is a copy of the other, remove lease.json from the copy"

/** What a node says of itself in the headers of every answer, and of every request to another node. */
export interface PeerAnswer {
  readonly lease: HeardLease | undefined
  readonly id: string | undefined
  /** Identifies the process: an id that two processes have is that of a copy. */
  readonly run: string | undefined
  readonly clusterId: string | undefined
  /** No record names a primary, but the flags of the node make it one. */
  readonly isPrimaryByFlag: boolean
}

/** Calls to the node at an address. */
export interface PeerCalls {
  /** What the node says of itself. */
  ask(url: string): Promise<PeerAnswer>
  /** Makes this node and that one hear each other's record. Resolves with the other's. */
  tell(url: string): Promise<LeaseRecord | undefined>
  /** Whether that node is a copy of this one, and goes by a record that names it. */
  isCopy(url: string): Promise<boolean>
}

export interface PeerCheckOptions {
  readonly id: string
  /** Identifies this process. */
  readonly run: string
  readonly clusterId: ClusterId
  /** `isAsked`: this node had asked the sender; otherwise `from` is the address of the caller. */
  heard(lease: HeardLease, isAsked: boolean, from?: string): void
  /** A node of another cluster asks for the databases of this one, and does not get them. */
  foreign?(problem: string): void
  /** The setting that a URL comes from, in the user's spelling. */
  spellingOf?(url: string): string | undefined
}

export class PeerCheck {
  readonly #options: PeerCheckOptions
  readonly #seen = new Once()
  readonly #odd = new Once()

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
    this.#options.foreign?.(problem)
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
    if (!this.#odd.take(`${from} ${problem}`)) return
    const node = senderOf(headers)
    log.warn("heard of a lease record that is not valid, it is not believed", {
      from,
      node,
      problem,
    })
  }

  #say(what: string, message: string, problem: string, from?: string): void {
    if (this.#seen.take(what)) log.error(message, { from, problem })
  }
}

function senderOf(headers: Headers): string {
  return headerOf(headers, "litefs-hostname") ?? "a node"
}

export function peerAnswer(headers: Headers): PeerAnswer {
  return {
    lease: leaseOf(headers),
    id: headerOf(headers, "litefs-id"),
    run: headerOf(headers, RUN_HEADER),
    clusterId: headerOf(headers, "litefs-cluster-id"),
    isPrimaryByFlag: headers[WANTS_PRIMARY_HEADER] === "1",
  }
}
