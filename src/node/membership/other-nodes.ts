/**
 * The other nodes as seen from this one: where the primary may be, what they answer, and which of them it has nothing
 * to do with.
 */

import { callNode, NodeAgents, type NodeAnswer, type NodeCall } from "../../cluster/node-client.ts"
import type { TlsMaterial } from "../../cluster/replica/replica.ts"
import { type HeardLease, LEASE_PATH, type LeaseRecord } from "../../cluster/role/lease.ts"
import { type PeerAnswer, peerAnswer } from "../../cluster/role/peer-answer.ts"
import { PeerCheck } from "../../cluster/role/peer-check.ts"
import { PrimaryUrls } from "../../cluster/role/primary-urls.ts"
import type { TlsFiles } from "../../http/server/tls-files.ts"
import { systemClock } from "../../lib/clock.ts"
import type { LiteFSOptions } from "../../litefs-options.ts"
import type { ThisNode } from "./this-node.ts"

/** Time for another node to answer. A handoff may take a while. */
const CALL_MS_MAX = 15_000

export class OtherNodes {
  readonly urls: PrimaryUrls
  readonly check: PeerCheck
  readonly #node: ThisNode
  readonly #tls: TlsFiles | undefined
  readonly #agents = new NodeAgents()
  /**
   * A node has told its record; `isAsked` when this node had asked it, otherwise `from` is the address of the caller.
   */
  onHeard: (record: HeardLease, isAsked: boolean, from?: string) => void = () => {}

  constructor({ role, peers = [] }: LiteFSOptions, node: ThisNode, tls: TlsFiles | undefined) {
    const { lease, run, clusterId } = node
    this.#node = node
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
    this.check = new PeerCheck({ id: lease.id, run, clusterId, heard, spellingOf })
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
    return callNode(url, {
      ...{ method, path, headers: this.#node.requestHeaders, limitMs: CALL_MS_MAX },
      ...(body === undefined ? {} : { body }),
      ...{ tls: this.tls, clock: systemClock },
      ...(agents === undefined ? {} : { agents }),
    })
  }

  /** Calls over a connection that is kept. */
  callPrimary(method: NodeCall["method"], path: string, body?: Uint8Array): Promise<NodeAnswer> {
    return this.call(this.urls.current, method, path, body, this.#agents)
  }

  /** What the node there says of itself. It hears of this node's record. */
  async ask(url: string): Promise<PeerAnswer> {
    return peerAnswer(await this.#tellEachOther(url))
  }

  /** Makes both nodes hear each other's record. */
  async tell(url: string): Promise<LeaseRecord | undefined> {
    return this.check.hear(await this.#tellEachOther(url), url).lease?.record
  }

  /** Whether a copy of this node is there and goes by a record of its own. */
  async isCopy(url: string): Promise<boolean> {
    const answer = await this.ask(url)
    const isPrimary = answer.lease?.record.primary.id === this.#node.id
    return this.check.copyProblem(answer, url) !== undefined && isPrimary
  }

  async #tellEachOther(url: string): Promise<NodeAnswer["headers"]> {
    const { status, headers } = await this.call(url, "POST", LEASE_PATH)
    if (status !== 404) return headers
    return (await this.call(url, "GET", "/info")).headers // a release without that route
  }

  close(): void {
    this.#agents.close()
  }
}
