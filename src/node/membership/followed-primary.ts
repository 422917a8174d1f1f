/**
 * The primary that this node follows while it is a replica: the connection to it (cluster/role/following.ts), how far
 * its transactions are applied, and what else it tells.
 *
 * Others know who and where the primary is (node-role.ts, other-nodes.ts). The peer thread gets what arrives.
 */

import type { EchoFilter } from "../../cluster/locks/echo-filter.ts"
import { RefusedDatabases } from "../../cluster/refused-databases.ts"
import { Catalogue, type ListedDatabase } from "../../cluster/replica/catalogue.ts"
import { LagTracker } from "../../cluster/replica/lag-tracker.ts"
import { ReplicaProgress } from "../../cluster/replica/replica-progress.ts"
import { ClusterLesson } from "../../cluster/role/cluster-lesson.ts"
import { follow } from "../../cluster/role/following.ts"
import type { Member } from "../../cluster/role/member.ts"
import { systemClock } from "../../lib/clock.ts"
import { logger } from "../../lib/log.ts"
import type { PeerWorker } from "../../peer/peer-worker.ts"
import type { SharedLag } from "../../store/shared-lag.ts"
import { type Databases, epochOf } from "../storage/databases.ts"
import type { OtherNodes } from "./other-nodes.ts"
import type { Outside } from "./outside.ts"
import type { PrimaryConnection } from "./primary-connection.ts"
import type { ThisNode } from "./this-node.ts"

const log = logger("replica")

export interface FollowedPrimaryContext {
  readonly node: ThisNode
  readonly others: OtherNodes
  readonly member: Member
  readonly databases: Databases
  readonly lag: SharedLag
  readonly peer: PeerWorker
  /** Stands before the peer thread. */
  readonly echoes: EchoFilter
  readonly connection: PrimaryConnection
}

export class FollowedPrimary {
  readonly progress: ReplicaProgress
  /** The databases of the primary. */
  readonly catalogue = new Catalogue()
  /** The databases that cannot be applied here. */
  readonly refusals: RefusedDatabases
  /** The databases that the primary has and that are missing here completely. */
  readonly #arriving = new Set<string>()
  readonly #context: FollowedPrimaryContext
  readonly #tracker: LagTracker
  #outside: Outside | undefined // set while there is something to tell
  #hasFollowed = false
  #name: string | undefined
  #proxyUrl: string | undefined

  constructor(context: FollowedPrimaryContext) {
    const { echoes, lag, databases, connection } = context
    this.#context = context
    this.progress = new ReplicaProgress(echoes, systemClock, lag, {
      hasHistory: (name) => databases.hasHistory(name),
      isListed: (name) => this.catalogue.of(name) !== undefined,
    })
    this.refusals = new RefusedDatabases({
      clock: systemClock,
      damaged: databases.refused,
      onChange: () => connection.reconnect(),
    })
    databases.subscribe(() => this.#arrived())
    this.#tracker = new LagTracker(lag, systemClock, () => this.#outside?.api.status.changed())
  }

  /** Names of databases that the primary has and that are missing here completely. */
  get arriving(): Iterable<string> {
    return this.#arriving
  }

  /** Whether this node follows a primary, or has followed one since the start. */
  get hasFollowed(): boolean {
    return this.#hasFollowed
  }

  /** The last known name. */
  get name(): string | undefined {
    return this.#name
  }

  /** URL of its proxy, while this node is connected. */
  get proxyUrl(): string | undefined {
    return this.#proxyUrl
  }

  follow(outside: Outside): void {
    const { node, others, member, databases, peer, echoes, connection } = this.#context
    const { lease, clusterId, filter } = node
    const { urls, check } = others
    const tracker = this.#tracker
    const { progress, catalogue, refusals } = this
    this.#hasFollowed = true
    this.#outside = outside
    const lesson = new ClusterLesson({
      ...{ clusterId, clock: systemClock },
      ask: (url) => others.ask(url),
    })
    const replica = follow({
      ...{ member, lease, urls, headers: () => node.requestHeaders },
      onOffer: (token, url) => void outside.handoffs.takeOffer(token, url),
      learnKey: (text) => node.clusterKey.learn(text),
      check: (headers, url) => {
        check.checkPrimary(headers, url)
        lesson.answered(headers["litefs-id"])
      },
      replica: {
        tls: () => others.tls,
        ...(filter === undefined ? {} : { databases: filter }),
        clock: systemClock,
        sink: progress,
        positions: () => {
          const positions = [...databases.currentPositions()]
          return new Map(positions.map(([name, pos]) => [name, refusals.told(name, pos)]))
        },
        leftOut: () => refusals.leftOut,
        isLeftOut: (database) => refusals.isLeftOut(database),
        onOutcome: (database, error) => {
          if (error === undefined) {
            databases.flags.noteRoom()
            refusals.applied(database)
          } else refusals.refused(database, error)
        },
        onListed: (database, listed) => this.#list(database, listed),
        onUrl: (url) => {
          node.primaryUrl = url
        },
        onProxy: (url) => {
          this.#proxyUrl = url
        },
        onPrimary: (name) => {
          if (name === undefined) this.#proxyUrl = undefined
          if (name === undefined || member.isPrimary) node.primaryUrl = undefined
          if (member.isPrimary) return
          peer.tell("primary", name)
          outside.api.setPrimaryName(name)
          this.#name = name ?? this.#name
          if (name === undefined) return
          echoes.connected()
          tracker.connected()
          progress.connected()
          catalogue.clear()
          this.#arriving.clear()
          this.#arrived()
        },
        onProblem: (problem) => {
          outside.api.status.problems.tell("primary", problem)
          outside.api.status.changed()
        },
        onUnknown: (database) => {
          catalogue.remove(database)
          databases.noteUnknown(database)
        },
        onHeartbeat: (timestampMs, applied) => {
          tracker.heartbeat(timestampMs, applied)
          lesson.heartbeat(urls.current)
          const epoch = epochOf(lease.record)
          const reached = () => databases.reachEpoch(epoch)
          applied.then(reached, () => {}) // the connection ends with it
        },
        onHead: (database, txid) => progress.head(database, txid),
        onClusterId: (id) => clusterId.check(id),
      },
    })
    connection.replica = replica
    void replica.ready.then(() => outside.ready())
  }

  /** Resolves when nothing arrives any more. */
  async unfollow(): Promise<void> {
    await this.close()
    this.#context.connection.replica = undefined
    this.#outside?.api.status.problems.forget("primary")
  }

  #list(database: string, listed: ListedDatabase): void {
    const { databases } = this.#context
    const before = this.catalogue.of(database)
    this.catalogue.list(database, listed)
    const { pos, state } = listed
    if (state === "present" && !databases.hasHistory(database)) this.#arriving.add(database)
    else this.#arriving.delete(database)
    if (state === "present") this.progress.head(database, pos.txid)
    this.#arrived()
    this.#outside?.api.status.changed()
    if (state === before?.state || (state !== "refused" && state !== "unreadable")) return
    log.error("the primary cannot send a database, it is left out", {
      db: database,
      reason: state === "refused" ? "refused at its start" : "it cannot be read",
    })
  }

  /** Something may have arrived. */
  #arrived(): void {
    const { databases, lag } = this.#context
    for (const name of this.#arriving) {
      if (databases.hasHistory(name)) this.#arriving.delete(name)
    }
    lag.setArriving(this.#arriving.size > 0)
  }

  async close(): Promise<void> {
    this.refusals.close()
    await this.#context.connection.replica?.close()
  }
}
