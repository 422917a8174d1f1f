/**
 * The role of this node: its place among the others (cluster/role/member.ts), and who hears in this process when that
 * changes.
 *
 *   a newer record ──▶ where the primary is looked for
 *   another role   ──▶ the epoch of the databases, the lag, what the API tells, and that the node is ready
 *
 * What the threads do for it is in cluster/role/role-switch.ts.
 */

import { Member, type RoleActions } from "../cluster/role/member.ts"
import type { StatusApi } from "../http/status/status-api.ts"
import { systemClock } from "../lib/clock.ts"
import { randomBytes } from "../lib/random-bytes.ts"
import type { LiteFSOptions } from "../litefs-options.ts"
import type { SharedLag } from "../store/shared-lag.ts"
import { type Databases, epochOf } from "./databases.ts"
import type { OtherNodes } from "./other-nodes.ts"
import { isGuarded, type ThisNode } from "./this-node.ts"

export interface NodeRoleContext {
  readonly options: LiteFSOptions
  readonly node: ThisNode
  readonly others: OtherNodes
  readonly databases: Databases
  readonly lag: SharedLag
  readonly actions: RoleActions
  api(): StatusApi
  /** The node is the primary. */
  ready(): void
  /** It cannot go on. */
  fail(error: Error): void
}

export class NodeRole {
  readonly member: Member
  readonly #context: NodeRoleContext
  #wasPrimary = false
  #lastRecord: Member["record"]

  constructor(context: NodeRoleContext) {
    const { options, node, others, actions, fail } = context
    const { lease } = node
    this.#context = context
    this.#lastRecord = lease.record
    this.member = new Member({
      lease,
      clock: systemClock,
      actions,
      isPrimaryByFlag: options.role.kind === "primary",
      primaryUrl: () => others.urls.current,
      self: () => node.self,
      clusterId: () => node.clusterId.value,
      onChange: () => this.#changed(),
      fail,
      tell: (url) => others.tell(url),
      isCopy: (url) => others.isCopy(url),
      ask: (url) => others.ask(url),
      isProven: (heard) => isGuarded(options) || node.clusterKey.hasSealed(heard),
      peers: options.peers ?? [],
    })
  }

  /** Takes the role that the record gives this node, which the threads then start with: whether it is the primary. */
  begin(): boolean {
    const { member } = this
    const { node, databases, lag } = this.#context
    member.begin()
    this.#wasPrimary = member.isPrimary
    if (member.isPrimary) {
      databases.reachEpoch(epochOf(node.lease.record))
      lag.setRole(true, systemClock.steadyMs(), systemClock.wallMs())
      node.clusterId.make(() => randomBytes(8).readBigUInt64BE())
      node.clusterKey.make(randomBytes)
    }
    return member.isPrimary
  }

  #changed(): void {
    const { member } = this
    const { node, others, databases, lag, ready } = this.#context
    const { lease } = node
    if (lease.record !== this.#lastRecord && lease.record?.primary.id !== lease.id) {
      others.urls.redirect()
    }
    this.#lastRecord = lease.record
    if (member.isPrimary === this.#wasPrimary) return
    const api = this.#context.api()
    this.#wasPrimary = member.isPrimary
    if (this.#wasPrimary) {
      databases.reachEpoch(epochOf(lease.record))
      node.clusterKey.make(randomBytes)
    }
    lag.setRole(this.#wasPrimary, systemClock.steadyMs(), systemClock.wallMs())
    if (this.#wasPrimary) {
      api.setPrimaryName(undefined)
      ready()
    }
    api.roleChanged()
  }
}
