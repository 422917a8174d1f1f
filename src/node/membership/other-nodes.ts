/**
 * The other nodes as seen from this one: where the primary may be, what they answer, and which of them it has nothing
 * to do with.
 */

import { foreignProblem } from "../../cluster/connect-problem.ts"
import { callNode, NodeAgents, type NodeAnswer, type NodeCall } from "../../cluster/node-client.ts"
import type { TlsMaterial } from "../../cluster/node-request.ts"
import { type HeardLease, LEASE_PATH, type LeaseRecord } from "../../cluster/role/lease.ts"
import { type PeerAnswer, PeerCheck, peerAnswer } from "../../cluster/role/peer-check.ts"
import { PrimaryUrls } from "../../cluster/role/primary-urls.ts"
import type { TlsFiles } from "../../http/server/tls-files.ts"
import { LitefsError } from "../../lib/errors.ts"
import type { LiteFSOptions } from "../../litefs-options.ts"
import type { Surroundings } from "../surroundings.ts"
import type { ThisNode } from "./this-node.ts"

/** Time for another node to answer. A handoff may take a while. */
const CALL_MS_MAX = 15_000

export class OtherNodes {
  readonly urls: PrimaryUrls
  readonly check: PeerCheck
  readonly #node: ThisNode
  readonly #surroundings: Pick<Surroundings, "clock" | "request">
  readonly #tls: TlsFiles | undefined
  readonly #agents = new NodeAgents()
  /**
   * A node has told its record; `isAsked` when this node had asked it, otherwise `from` is the address of the caller.
   */
  onHeard: (record: HeardLease, isAsked: boolean, from?: string) => void = () => {}
  /** A node of another cluster takes this one for its primary. */
  onForeign: (problem: string) => void = () => {}

  constructor(
    { role, peers = [] }: LiteFSOptions,
    node: ThisNode,
    surroundings: Pick<Surroundings, "clock" | "request">,
    tls: TlsFiles | undefined,
  ) {
    const { lease, run, clusterId } = node
    this.#node = node
    this.#surroundings = surroundings
    this.#tls = tls
    this.urls = new PrimaryUrls({
      hint: role.kind === "replica" ? role.primaryUrl : undefined,
      peers,
      own: () => node.url,
      record: () => lease.record,
      reachedAt: (id) => lease.reachedAt(id),
    })
    const spellingOf = (url: string) =>
      role.kind === "replica" && role.primaryUrl === url ? role.urlSpelling : undefined
    const heard = (...record: Parameters<typeof this.onHeard>) => this.onHeard(...record)
    const foreign = (problem: string) => this.onForeign(problem)
    this.check = new PeerCheck({ id: lease.id, run, clusterId, heard, foreign, spellingOf })
  }

  /** The certificate that this node shows, and the authorities that it trusts. */
  get tls(): TlsMaterial {
    return this.#tls?.current() ?? {}
  }

  call(
    url: string,
    method: NodeCall["method"],
    path: string,
    body?: Uint8Array,
    agents?: NodeAgents,
  ): Promise<NodeAnswer> {
    const { clock, request } = this.#surroundings
    return callNode(url, {
      ...{ method, path, headers: this.#node.requestHeaders, limitMs: CALL_MS_MAX },
      ...(body === undefined ? {} : { body }),
      ...{ tls: this.tls, clock, request },
      ...(agents === undefined ? {} : { agents }),
    })
  }

  /** Calls over a connection that is kept. */
  callPrimary(method: NodeCall["method"], path: string, body?: Uint8Array): Promise<NodeAnswer> {
    return this.call(this.urls.current, method, path, body, this.#agents)
  }

  /** What the node there says of itself. It hears of this node's record. */
  async ask(url: string): Promise<PeerAnswer> {
    return peerAnswer((await this.#tellEachOther(url)).headers)
  }

  /** As ask(), but rejects when what answers lets this node not in, or is not LiteFS. */
  async reach(url: string): Promise<PeerAnswer> {
    const { status, headers, text } = await this.#tellEachOther(url)
    const foreign = foreignProblem(headers, status)
    if (foreign !== undefined) throw foreign
    if (status === 200) return peerAnswer(headers)
    throw new LitefsError("unavailable", `it answered ${status}: ${text.slice(0, 1000)}`)
  }

  /** Makes both nodes hear each other's record. */
  async tell(url: string): Promise<LeaseRecord | undefined> {
    return this.check.hear((await this.#tellEachOther(url)).headers, url).lease?.record
  }

  /** Whether a copy of this node is there and goes by a record of its own. */
  async isCopy(url: string): Promise<boolean> {
    const answer = await this.ask(url)
    const isPrimary = answer.lease?.record.primary.id === this.#node.id
    return this.check.copyProblem(answer, url) !== undefined && isPrimary
  }

  async #tellEachOther(url: string): Promise<NodeAnswer> {
    const answer = await this.call(url, "POST", LEASE_PATH)
    if (answer.status !== 404) return answer
    return this.call(url, "GET", "/info") // a release without that route
  }

  close(): void {
    this.#agents.close()
  }
}
