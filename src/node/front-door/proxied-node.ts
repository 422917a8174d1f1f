/** What the proxy knows of this node: it is the primary, or another one is. */

import type { NodeStatus } from "../../cluster/node-status.ts"
import type { Confirmation } from "../../cluster/role/confirmation.ts"
import type { Member } from "../../cluster/role/member.ts"
import type { ProxyCluster } from "../../proxy/cluster.ts"
import type { FollowedPrimary } from "../membership/followed-primary.ts"
import type { Databases } from "../storage/databases.ts"

export interface ProxiedNodeContext {
  readonly hostname: string
  readonly databases: Databases
  readonly status: NodeStatus
  readonly member: Member
  readonly confirmation: Confirmation
  readonly followed: FollowedPrimary
  readonly captured: ProxyCluster["captured"]
}

export function proxiedNode(context: ProxiedNodeContext): ProxyCluster {
  const { hostname, databases, status, member, confirmation, followed, captured } = context
  return {
    hostname,
    get isHandingOff() {
      const isLapsed = member.isPrimary && !member.isHeld
      return isLapsed || member.state === "draining" || member.state === "demoting"
    },
    get epoch() {
      return databases.epoch
    },
    get isPrimary() {
      return status.isPrimary
    },
    get isConfirmed() {
      return confirmation.isConfirmed
    },
    get primaryName() {
      return status.primaryName
    },
    get primaryProxyUrl() {
      return followed.proxyUrl
    },
    get lagMs() {
      return status.isReady ? status.lag.ms : undefined
    },
    captured,
    position: (database) => databases.position(database),
    askOthers: () => confirmation.ask(),
    onChange: (listener) => {
      const sources = [status, member, confirmation]
      const ends = sources.map((source) => source.onChange(listener))
      return () => {
        for (const end of ends) end()
      }
    },
  }
}
