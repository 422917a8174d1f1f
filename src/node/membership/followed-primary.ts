/**
 * The primary that this node follows while it is a replica: the connection to it, how far its transactions are applied,
 * and what else it tells. The peer thread gets what arrives.
 *
 * The primary of the newest record (membership.ts) is looked for at the addresses where it may be (primary-urls.ts),
 * while both nodes tell each other what they know. A replica that answers says where its primary is, and that address
 * is asked next. A node that is known to be the primary no longer is not followed: it has heard so with the request.
 */
import type { IncomingHttpHeaders } from "node:http"

import type { EchoFilter } from "../../cluster/locks/echo-filter.ts"
import { RefusedDatabases } from "../../cluster/refused-databases.ts"
import { Catalogue, type ListedDatabase } from "../../cluster/replica/catalogue.ts"
import { LagTracker } from "../../cluster/replica/lag-tracker.ts"
import { Replica } from "../../cluster/replica/replica.ts"
import { ReplicaProgress } from "../../cluster/replica/replica-progress.ts"
import { CLUSTER_KEY_HEADER } from "../../cluster/role/cluster-key.ts"
import { ClusterLesson } from "../../cluster/role/cluster-lesson.ts"
import { decodeLease, isNewer, type LeaseRecord, leaseOf } from "../../cluster/role/lease.ts"
import type { Member } from "../../cluster/role/member.ts"
import { systemClock } from "../../lib/clock.ts"
import { LitefsError } from "../../lib/errors.ts"
import { LineLimit, logger, Once } from "../../lib/log.ts"
import type { Pos } from "../../ltx/pos.ts"
import type { PeerWorker } from "../../peer/peer-worker.ts"
import type { SharedLag } from "../../store/shared-lag.ts"
import { shownName } from "../../wire/database-name.ts"
import { PRIMARY_URL_HEADER } from "../../wire/protocol.ts"
import { type Databases, epochOf } from "../storage/databases.ts"
import type { OtherNodes } from "./other-nodes.ts"
import type { Outside } from "./outside.ts"
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
  /** Whether clients of this node write to the database: what they commit is durable at once. */
  isCaptured(database: string): boolean
}

export class FollowedPrimary {
  readonly progress: ReplicaProgress
  /** The databases of the primary. */
  readonly catalogue = new Catalogue()
  /** The databases that cannot be applied here. */
  readonly refusals: RefusedDatabases
  /** What has become durable since the last connection, for a primary that wants to know. */
  readonly #durable = new Map<string, Pos>()
  /** The databases that the primary has and that are missing here completely. */
  readonly #arriving = new Set<string>()
  /** The databases that are here and that the primary does not have. */
  readonly #foreign = new Set<string>()
  readonly #context: FollowedPrimaryContext
  readonly #tracker: LagTracker
  #replica: Replica | undefined // a primary has none
  readonly #badNames = new Once()
  /** A primary may tell so of the same database over and over. */
  readonly #leftOutLimit = new LineLimit(systemClock)
  readonly #told = new Set<string>() // addresses that replicas have sent this node on to
  #outside: Outside | undefined // set while there is something to tell
  #seen = 0 // positions.changeCount
  #cancelAnnounce: (() => void) | undefined
  #hasFollowed = false
  #name: string | undefined
  #proxyUrl: string | undefined

  constructor(context: FollowedPrimaryContext) {
    const { echoes, lag, databases } = context
    this.#context = context
    this.progress = new ReplicaProgress(echoes, systemClock, lag, {
      hasHistory: (name) => databases.hasHistory(name),
      isListed: (name) => this.catalogue.of(name) !== undefined,
    })
    this.refusals = new RefusedDatabases({
      clock: systemClock,
      damaged: databases.refused,
      hasHistory: (name) => databases.hasHistory(name),
      onChange: () => this.reconnect(),
    })
    databases.subscribe(() => this.#arrived())
    this.#tracker = new LagTracker(lag, systemClock, () => this.#outside?.api.status.changed())
  }

  /** Names of databases that are here and that the primary does not have. */
  get foreign(): Iterable<string> {
    return this.#foreign
  }

  /** Names of databases that the primary has and that are missing here completely. */
  get arriving(): Iterable<string> {
    return this.#arriving
  }

  /** Whether this node follows a primary, or has followed one since the start. */
  get hasFollowed(): boolean {
    return this.#hasFollowed
  }

  /** Up to where the database is durable, if the primary has asked for it; applied or not. */
  durable(database: string): Pos | undefined {
    return this.#durable.get(database)
  }

  /** The last known name. */
  get name(): string | undefined {
    return this.#name
  }

  /** URL of its proxy, while this node is connected. */
  get proxyUrl(): string | undefined {
    return this.#proxyUrl
  }

  /** Connects anew. The primary then sends what is missing. Does nothing on a primary. */
  reconnect(): void {
    this.#replica?.reconnect()
  }

  follow(outside: Outside): void {
    const { node, others, member, databases, peer, echoes } = this.#context
    const { clusterId, filter } = node
    const { urls } = others
    const tracker = this.#tracker
    const { progress, catalogue, refusals } = this
    this.#hasFollowed = true
    this.#outside = outside
    this.#told.clear()
    const lesson = new ClusterLesson({
      ...{ clusterId, clock: systemClock },
      ask: (url) => others.ask(url),
    })
    const replica = new Replica({
      get primaryUrl() {
        return urls.current
      },
      get headers() {
        return node.requestHeaders
      },
      onHandoff: (text) => {
        const heard = decodeLease(text)
        if (heard === undefined) void outside.handoffs.takeOffer(text, urls.current)
        else member.hear(heard, true)
      },
      onAnswer: (answer, isStream) => {
        const url = urls.current
        others.check.checkPrimary(answer, url)
        lesson.answered(answer["litefs-id"])
        this.#hear(answer, url, isStream)
        if (!isStream) this.#sendOn(answer, url)
      },
      moveOn: () => urls.moveOn(),
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
      onBadName: (database, problem) => {
        const shown = shownName(database)
        if (!this.#badNames.take(shown)) return
        log.error("the primary sends a database that cannot have its name, it is left out", {
          db: shown,
          problem,
        })
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
        this.#foreign.clear()
        this.#arrived()
      },
      onProblem: (problem, url) => {
        const { problems } = outside.api.status
        // A peer that is only asked is not the reason.
        const isOfPeer = problem !== undefined && url !== urls.known
        if (isOfPeer && problems.of("primary") !== undefined) return
        problems.tell("primary", problem)
        outside.api.status.changed()
      },
      onUnknown: (database) => {
        catalogue.remove(database)
        databases.noteUnknown(database)
        if (databases.livePositions().has(database)) this.#foreign.add(database)
      },
      onHeartbeat: (timestampMs, applied) => {
        tracker.heartbeat(timestampMs, applied)
        lesson.heartbeat(urls.current)
        const epoch = epochOf(node.lease.record)
        const reached = () => databases.reachEpoch(epoch)
        applied.then(reached, () => {}) // the connection ends with it
      },
      durable: {
        positions: () => databases.durablePositions(this.#context.isCaptured),
        listen: (listener) => this.#listenToDurable(listener),
      },
      onHead: (database, txid) => progress.head(database, txid),
      onClusterId: (id) => clusterId.check(id),
    })
    this.#replica = replica
    void replica.ready.then(() => outside.ready())
  }

  /** Of databases that the peer thread has, it tells as soon as they are durable. */
  #listenToDurable(listener: (database: string, pos: Pos) => void): () => void {
    const { databases, peer, isCaptured } = this.#context
    const { positions, flags } = databases
    let seen = positions.changeCount
    const unsubscribe = databases.subscribe(() => {
      const changed = positions.changedSince(seen) ?? [...databases.currentPositions().keys()]
      seen = positions.changeCount
      for (const name of changed) {
        const pos = isCaptured(name) ? databases.position(name) : undefined
        if (pos !== undefined) listener(name, pos)
      }
    })
    this.#durable.clear()
    peer.onStored = (database, pos) => {
      this.#durable.set(database, pos)
      listener(database, pos)
    }
    const hear = peer.onStored
    flags.acknowledges = true
    return () => {
      unsubscribe()
      if (peer.onStored !== hear) return
      flags.acknowledges = false
      peer.onStored = () => {}
    }
  }

  /** What an answer says of the record. Throws when its sender is not to be followed. */
  #hear(answer: IncomingHttpHeaders, url: string, isStream: boolean): void {
    const { node, others, member } = this.#context
    const { lease } = node
    const heard = leaseOf(answer)
    if (isStream && heard !== undefined && isNoMore(heard.record, answer, lease.record)) {
      member.hear(heard, true)
      throw new LitefsError("unavailable", "it is no longer the primary")
    }
    if (isStream) {
      others.urls.arrived()
      node.clusterKey.learn(answer[CLUSTER_KEY_HEADER])
      if (heard !== undefined) lease.setReached(heard.record.primary.id, url)
    }
    if (heard !== undefined) member.hear(heard, true)
  }

  /** A replica has answered. The address that it tells of its primary is next, unless it has already led here. */
  #sendOn(answer: IncomingHttpHeaders, url: string): void {
    const { urls } = this.#context.others
    const primary = answer[PRIMARY_URL_HEADER]
    if (urls.current !== url || typeof primary !== "string" || !urls.sendOn(primary)) return
    const text = `${url} is a replica, its primary is ${primary}`
    if (!this.#told.has(text)) log.info(text)
    this.#told.clear()
    this.#told.add(text) // an address that cannot be reached is told over and over
  }

  /** Resolves when nothing arrives any more. */
  async unfollow(): Promise<void> {
    await this.close()
    this.#replica = undefined
    this.#outside?.api.status.problems.forget("primary")
  }

  #list(database: string, listed: ListedDatabase): void {
    const { databases } = this.#context
    const before = this.catalogue.of(database)
    this.catalogue.list(database, listed)
    const { pos, state } = listed
    this.#foreign.delete(database)
    if (state === "present" && !databases.hasHistory(database)) this.#arriving.add(database)
    else this.#arriving.delete(database)
    if (state === "present") this.progress.head(database, pos.txid)
    this.#context.lag.setArriving(this.#arriving.size > 0)
    this.#announce()
    if (state === before?.state || (state !== "refused" && state !== "unreadable")) return
    const said = this.#leftOutLimit.take(`${database} ${state}`)
    if (said === undefined) return
    log.error("the primary cannot send a database, it is left out", {
      ...{ db: database, ...said },
      reason: state === "refused" ? "refused at its start" : "it cannot be read",
    })
  }

  /** A list of thousands is news once, for each turn. */
  #announce(): void {
    this.#cancelAnnounce ??= systemClock.after(0, () => {
      this.#cancelAnnounce = undefined
      this.#outside?.api.status.changed()
    })
  }

  /** Something may have arrived. */
  #arrived(): void {
    const { databases, lag } = this.#context
    const { positions } = databases
    const seen = this.#seen
    this.#seen = positions.changeCount
    for (const name of positions.changedSince(seen) ?? [...this.#arriving]) {
      if (this.#arriving.has(name) && databases.hasHistory(name)) this.#arriving.delete(name)
    }
    lag.setArriving(this.#arriving.size > 0)
  }

  async close(): Promise<void> {
    this.refusals.close()
    this.#cancelAnnounce?.()
    this.#cancelAnnounce = undefined
    await this.#replica?.close()
  }
}

/** Also of a node whose role has moved on while it began the stream. */
function isNoMore(
  theirs: LeaseRecord,
  answer: IncomingHttpHeaders,
  ours: LeaseRecord | undefined,
): boolean {
  if (ours !== undefined && isNewer(ours, theirs)) return true
  const id = answer["litefs-id"]
  return id !== undefined && id !== theirs.primary.id
}
