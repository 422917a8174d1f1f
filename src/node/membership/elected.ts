/** Puts the lease in a store together: what it asks of this node, and what becomes of its answers. */
import { makeClusterId } from "../../cluster/role/cluster-id.ts"
import { ElectedLease } from "../../cluster/role/elected-lease.ts"
import type { Member } from "../../cluster/role/member.ts"
import { TlsFiles } from "../../http/server/tls-files.ts"
import type { LiteFSOptions } from "../../litefs-options.ts"
import type { Databases } from "../storage/databases.ts"
import type { Surroundings } from "../surroundings.ts"
import type { ThisNode } from "./this-node.ts"

export interface ElectedContext {
  readonly options: LiteFSOptions
  readonly surroundings: Surroundings
  readonly node: ThisNode
  readonly databases: Databases
  member(): Member
  /** This node holds the lease. */
  held(): void
  problem(text: string | undefined): void
}

/** Undefined on a node whose flags give it its role. */
export function newElectedLease(context: ElectedContext): ElectedLease | undefined {
  const { options, surroundings, node, databases, member, held, problem } = context
  const { clock, bootMs, randomBytes, openStore } = surroundings
  const { role } = options
  if (role.kind !== "elected") return undefined
  const { lease, clusterId, clusterKey } = node
  const tls = role.tls && new TlsFiles(role.tls, "lease-tls")
  databases.subscribe(() => lease.setHistoryEpoch(Number(databases.epoch) - 1))
  return new ElectedLease({
    store: openStore(role.store, clock, () => tls?.current() ?? {}),
    records: lease,
    clock,
    bootMs,
    isCandidate: node.isCandidate,
    self: () => node.self,
    isLeaving: () => node.isLeaving,
    ineligibility: () => node.ineligibility,
    isNew: () =>
      node.filter === undefined &&
      ![clusterId.value, clusterKey.value, lease.record].some((each) => each !== undefined),
    clusterId: () => clusterId.value,
    makeClusterId: () => makeClusterId(() => randomBytes(8).readBigUInt64BE()),
    positions: () => databases.currentPositions(),
    livePositions: () => databases.livePositions(),
    commitUntil: (ms) => {
      databases.flags.commitUntilMs = ms
    },
    heard: (heard) => member().hear(heard, true),
    keep: (record, cluster) => {
      if (cluster !== "") clusterId.check(cluster)
      clusterKey.make(randomBytes)
      lease.keep(record)
    },
    held,
    problem,
  })
}
