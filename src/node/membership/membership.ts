/**
 * The second box of a node: its place among the others. It determines who is the primary, follows that one or is it,
 * and lends and borrows write locks.
 *
 *   new: read who this node is
 *   begin(): who is the primary? ─▶ is this node where it says? ─▶ take the role
 *   watch(), start(): the role follows the record
 *
 * It stands on the storage, and acts for the outside that begin() gets.
 */
import { Halting } from "../../cluster/locks/halting.ts"
import { AdvertisedUrl } from "../../cluster/role/advertised-url.ts"
import { Confirmation } from "../../cluster/role/confirmation.ts"
import { findPrimary } from "../../cluster/role/find-primary.ts"
import { unreachable } from "../../cluster/role/handoff-target.ts"
import type { Member } from "../../cluster/role/member.ts"
import { RoleSwitch } from "../../cluster/role/role-switch.ts"
import type { TlsFiles } from "../../http/server/tls-files.ts"
import type { ReplicaStream } from "../../http/streams/replica-stream.ts"
import { systemClock } from "../../lib/clock.ts"
import { logger } from "../../lib/log.ts"
import type { LiteFSOptions } from "../../litefs-options.ts"
import { isLoopback } from "../../sys/net/loopback.ts"
import type { Closing } from "../closing.ts"
import type { Storage } from "../storage/storage.ts"
import type { ThreadRole } from "../storage/threads.ts"
import { FollowedPrimary } from "./followed-primary.ts"
import { NodeRole } from "./node-role.ts"
import { OtherNodes } from "./other-nodes.ts"
import type { Outside } from "./outside.ts"
import { leadsElsewhere, leadsTo } from "./own-address.ts"
import { PrimaryConnection } from "./primary-connection.ts"
import { ThisNode } from "./this-node.ts"

const log = logger("member")

export interface MembershipContext {
  readonly options: LiteFSOptions
  readonly storage: Storage
  readonly tls: TlsFiles | undefined
  readonly closing: Closing
  /** The node cannot go on. */
  fail(error: Error): void
}

export class Membership {
  readonly node: ThisNode
  readonly others: OtherNodes
  readonly member: Member
  readonly halting: Halting
  readonly followed: FollowedPrimary
  readonly confirmation: Confirmation
  /** Streams to replicas that follow this node. */
  readonly streams = new Set<ReplicaStream>()
  /** The connection to the primary that this node follows. */
  readonly connection = new PrimaryConnection()
  readonly #context: MembershipContext
  readonly #advertised: AdvertisedUrl
  readonly #role: NodeRole

  constructor(context: MembershipContext) {
    const { options, storage, tls, closing, fail } = context
    const { databases, lag, dataDir, filter } = storage
    const { fs, peer } = storage.threads
    const { connection } = this
    this.#context = context
    const node = new ThisNode(options, dataDir, filter)
    const { lease } = node
    const others = new OtherNodes(options, node, tls)
    closing.add("others", () => others.close())
    this.#role = new NodeRole({ options, node, others, databases, lag, fail })
    const { member } = this.#role
    others.onHeard = (...heard) => member.hear(...heard)
    const halting = new Halting({
      ...{ clock: systemClock, fs, peer, hostname: options.hostname },
      member: () => member,
      callPrimary: (method, path, body) => others.callPrimary(method, path, body),
      position: (database) => databases.position(database),
      onPositionChange: (listener) => databases.subscribe(listener),
      reconnect: () => connection.reconnect(),
    })
    this.followed = new FollowedPrimary({
      ...{ node, others, member, databases, lag, peer, connection },
      echoes: halting.echoes,
    })
    this.confirmation = new Confirmation({
      ...{ peers: options.peers ?? [], clock: systemClock, tell: (url) => others.tell(url) },
      record: () => lease.record,
    })
    this.#advertised = new AdvertisedUrl({
      ...{ url: options.advertiseUrl, id: lease.id, clock: systemClock },
      isPrimaryByFlag: () => lease.record === undefined && options.role.kind === "primary",
      ask: (url) => others.ask(url),
    })
    this.node = node
    this.others = others
    this.member = member
    this.halting = halting
  }

  /**
   * Call it when the API answers at the port. Resolves with whether this node is the primary. Throws when it may not
   * start.
   */
  async begin(outside: Outside, port: number): Promise<boolean> {
    const { node, others, member } = this
    const { options, storage, closing } = this.#context
    const { role, httpAddr, peers = [], advertiseUrl } = options
    await findPrimary({
      ...{ member, lease: node.lease, role, url: node.url, peers, check: others.check },
      clusterId: () => node.clusterId.value,
      hasDatabases: () => storage.dataDir.databaseNames().length > 0,
      ask: (url) => others.ask(url),
      leadsHere: (url) => leadsTo(url, { host: httpAddr.host, port }, advertiseUrl),
    })
    await this.#advertised.check()
    closing.add("address", () => this.#advertised.close())
    return this.#role.begin(this.#actions(outside), outside)
  }

  /** What the threads have to know of this node's place. */
  get forThreads(): Omit<ThreadRole, "isPrimary"> {
    const { id: nodeId, isCandidate } = this.node
    return { nodeId, isCandidate, halting: this.halting }
  }

  /** Checks whether others reach this node where it says, until they do. */
  watch(): void {
    this.#advertised.watch((problem) => this.#context.fail(problem))
    if (this.node.isCandidate && !this.member.isPrimary) void this.#sayIfHidden()
  }

  async #sayIfHidden(): Promise<void> {
    const problem = await this.ownProblem()
    if (problem === undefined) return
    log.warn("this candidate cannot become the primary", { problem })
  }

  /** Why others cannot reach this node where it tells them to, with what to do, as far as it knows without asking. */
  async ownProblem(): Promise<string | undefined> {
    const { node, others } = this
    if (!isLoopback(new URL(node.url).hostname)) return undefined
    if (!(await leadsElsewhere(others.urls.current))) return undefined
    return unreachable(node.url, "a loopback address leads every machine to itself")
  }

  start(outside: Outside): void {
    const { member, halting, followed } = this
    const { closing } = this.#context
    closing.add("stream", () => followed.close())
    closing.add("write locks", () => halting.close())
    closing.add("role", () => member.close())
    if (member.isPrimary) outside.ready()
    else followed.follow(outside)
    member.start()
  }

  /** The node is about to stop, and takes no role any more. */
  leaving(): void {
    this.node.isLeaving = true
  }

  #actions(outside: Outside): RoleSwitch {
    const { node, halting, followed, streams } = this
    const { databases, threads } = this.#context.storage
    return new RoleSwitch({
      ...{ fs: threads.fs, peer: threads.peer, halting },
      positions: () => databases.livePositions(),
      settled: (limitMs) => outside.settled(limitMs),
      follow: () => followed.follow(outside),
      unfollow: () => followed.unfollow(),
      endStreams: () => {
        const { news } = node
        for (const stream of streams) stream.end(news)
      },
    })
  }
}
