/**
 * The role of this node: its place among the others (cluster/role/member.ts), and who hears in this process when it
 * changes.
 *
 *   a newer record ──▶ where the primary is looked for
 *   another role   ──▶ the epoch of the databases, the lag, what the API tells, and that the node is ready
 *
 * It can hear records as soon as it exists, and changes its role only after begin(). cluster/role/role-switch.ts has
 * what the threads do for a role.
 */

import { Member, type RoleActions } from "../../cluster/role/member.ts"
import { must } from "../../lib/assert.ts"
import { systemClock } from "../../lib/clock.ts"
import { randomBytes } from "../../lib/random-bytes.ts"
import type { LiteFSOptions } from "../../litefs-options.ts"
import type { SharedLag } from "../../store/shared-lag.ts"
import { type Databases, epochOf } from "../storage/databases.ts"
import type { OtherNodes } from "./other-nodes.ts"
import type { Outside } from "./outside.ts"
import { isGuarded, type ThisNode } from "./this-node.ts"

export interface NodeRoleContext {
  readonly options: LiteFSOptions
  readonly node: ThisNode
  readonly others: OtherNodes
  readonly databases: Databases
  readonly lag: SharedLag
  /** The node cannot go on. */
  fail(error: Error): void
}

export class NodeRole {
  readonly member: Member
  readonly #context: NodeRoleContext
  #outside: Outside | undefined
  #wasPrimary = false
  #lastRecord: Member["record"]

  constructor(context: NodeRoleContext) {
    const { options, node, others, fail } = context
    const { lease } = node
    this.#context = context
    this.#lastRecord = lease.record
    this.member = new Member({
      lease,
      clock: systemClock,
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

  /**
   * Takes the role that the record gives this node. The threads then start with it. Returns whether it is the primary.
   */
  begin(actions: RoleActions, outside: Outside): boolean {
    const { member } = this
    this.#outside = outside
    const { node, databases, lag } = this.#context
    member.begin(actions)
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
    const { node, others, databases, lag } = this.#context
    const { lease } = node
    if (lease.record !== this.#lastRecord && lease.record?.primary.id !== lease.id) {
      others.urls.redirect()
    }
    this.#lastRecord = lease.record
    if (member.isPrimary === this.#wasPrimary) return
    const outside = must(this.#outside, "role yet")
    this.#wasPrimary = member.isPrimary
    if (this.#wasPrimary) {
      databases.reachEpoch(epochOf(lease.record))
      node.clusterKey.make(randomBytes)
    }
    lag.setRole(this.#wasPrimary, systemClock.steadyMs(), systemClock.wallMs())
    if (this.#wasPrimary) {
      outside.api.setPrimaryName(undefined)
      outside.ready()
    }
    outside.api.roleChanged()
  }
}
