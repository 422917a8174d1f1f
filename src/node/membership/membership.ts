/**
 * The second box of a node: its place among the others. It determines who is the primary, follows that one or is it,
 * and lends and borrows write locks.
 *
 *   new: read who this node is; from here on it hears records
 *   begin(): who is the primary? ─▶ is this node where it says? ─▶ take the role
 *   watch(), start(): the role follows the record (cluster/role/member.ts)
 *
 *   a newer record ──▶ where the primary is looked for
 *   another role   ──▶ the epoch of the databases, the lag, what the API tells, and that the node is ready
 *
 * It stands on the storage, and acts for the outside that begin() gets.
 */
import { Halting } from "../../cluster/locks/halting.ts"
import { AdvertisedUrl } from "../../cluster/role/advertised-url.ts"
import { Confirmation } from "../../cluster/role/confirmation.ts"
import type { ElectedLease } from "../../cluster/role/elected-lease.ts"
import { findPrimary } from "../../cluster/role/find-primary.ts"
import { unreachable } from "../../cluster/role/handoffs.ts"
import { Member } from "../../cluster/role/member.ts"
import { RoleSwitch } from "../../cluster/role/role-switch.ts"
import { SyncReplicas } from "../../cluster/sync-replicas.ts"
import type { TlsFiles } from "../../http/server/tls-files.ts"
import type { ReplicaStream } from "../../http/streams/replica-stream.ts"
import { must } from "../../lib/assert.ts"
import { logger } from "../../lib/log.ts"
import type { LiteFSOptions } from "../../litefs-options.ts"
import { isLoopback } from "../../sys/net/loopback.ts"
import type { Closing } from "../closing.ts"
import { epochOf } from "../storage/databases.ts"
import type { Storage } from "../storage/storage.ts"
import type { ThreadRole, Threads } from "../storage/threads.ts"
import type { Surroundings } from "../surroundings.ts"
import { newElectedLease } from "./elected.ts"
import { FollowedPrimary } from "./followed-primary.ts"
import { OtherNodes } from "./other-nodes.ts"
import type { Outside } from "./outside.ts"
import { leadsElsewhere, leadsTo } from "./own-address.ts"
import { isGuarded, ThisNode } from "./this-node.ts"

const log = logger("member")

/** Becoming a replica waits for clients and for the disk. */
const ROLE_MS_MAX = 60_000

/** A node asks anew every 4 s at the longest. */
const FOREIGN_MS = 30_000

export interface MembershipContext {
  readonly options: LiteFSOptions
  readonly surroundings: Surroundings
  readonly storage: Pick<Storage, "dataDir" | "filter" | "databases" | "lag"> & {
    readonly threads: Pick<Threads, "fs" | "peer">
  }
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
  /** Which replicas have what durably. */
  readonly sync: SyncReplicas
  /** The lease in a store, if there is one. */
  readonly elected: ElectedLease | undefined
  /** Streams to replicas that follow this node. */
  readonly streams = new Set<ReplicaStream>()
  readonly #context: MembershipContext
  readonly #advertised: AdvertisedUrl
  #outside: Outside | undefined
  #wasPrimary = false
  #isWaiting = false // for an address to follow
  #lastRecord: Member["record"]
  #forgetForeign = () => {}

  constructor(context: MembershipContext) {
    const { options, surroundings, storage, tls, closing, fail } = context
    const { clock } = surroundings
    const { databases, lag, dataDir, filter } = storage
    const { fs, peer } = storage.threads
    const { peers = [] } = options
    this.#context = context
    const node = new ThisNode(options, surroundings, dataDir, filter)
    const { lease } = node
    const others = new OtherNodes(options, node, surroundings, tls)
    closing.add("others", () => {
      this.#forgetForeign()
      others.close()
    })
    this.#lastRecord = lease.record
    const elected = newElectedLease({
      ...{ options, surroundings, node, databases },
      member: () => this.member,
      held: () => {
        this.member.held()
        this.sync.held()
      },
      problem: (text) => this.#leaseProblem(text),
    })
    // It is given up when nothing commits any more: after the mount, which is begun later, and ends before.
    if (elected !== undefined) closing.add("lease", () => elected.close())
    this.elected = elected
    const member = new Member({
      ...{ lease, elected, peers, clock, fail },
      isPrimaryByFlag: options.role.kind === "primary",
      primaryUrl: () => others.urls.current,
      self: () => node.self,
      clusterId: () => node.clusterId.value,
      onChange: () => this.#changed(),
      tell: (url) => others.tell(url),
      isCopy: (url) => others.isCopy(url),
      ask: (url) => others.ask(url),
      isProven: (heard) => isGuarded(options) || node.clusterKey.hasSealed(heard),
    })
    others.onHeard = (...heard) => member.hear(...heard)
    others.onForeign = (problem) => this.#foreignProblem(problem)
    const sync = new SyncReplicas({
      ...{ options: options.sync, clock },
      position: (database) => databases.position(database),
      isHeld: () => this.member.isHeld,
      changed: () => databases.flags.nextSyncGeneration(),
      onStatus: () => this.#syncChanged(),
    })
    this.sync = sync
    const halting = new Halting({
      ...{ clock, fs, peer, hostname: options.hostname, sync },
      member: () => member,
      callPrimary: (method, path, body) => others.callPrimary(method, path, body),
      position: (database) => databases.position(database),
      onPositionChange: (listener) => databases.subscribe(listener),
      reconnect: () => this.followed.reconnect(),
    })
    this.followed = new FollowedPrimary({
      ...{ node, others, member, databases, lag, peer, surroundings },
      echoes: halting.echoes,
      isCaptured: (database) => halting.ownerOf(database) === "fs",
    })
    this.confirmation = new Confirmation({
      ...{ peers, clock, tell: (url) => others.tell(url) },
      record: () => lease.record,
    })
    this.#advertised = new AdvertisedUrl({
      ...{ url: options.advertiseUrl, id: lease.id, clock },
      isPrimaryByFlag: () => lease.record === undefined && options.role.kind === "primary",
      ask: (url) => others.ask(url),
    })
    this.node = node
    this.others = others
    this.member = member
    this.halting = halting
  }

  /**
   * Call it when the API answers at the port. Resolves with whether this node is the primary: its threads then start
   * with that role. Throws when it may not start.
   */
  async begin(outside: Outside, port: number): Promise<boolean> {
    const { node, others, member } = this
    const { options, closing } = this.#context
    const { role, httpAddr, peers = [], advertiseUrl } = options
    await findPrimary({
      ...{ member, lease: node.lease, role, url: node.url, peers, check: others.check },
      clusterId: () => node.clusterId.value,
      recallCluster: (id) => node.clusterId.recall(id),
      hasDatabases: node.hasDatabases,
      ask: (url) => others.ask(url),
      leadsHere: (url) => leadsTo(url, { host: httpAddr.host, port }, advertiseUrl),
    })
    await this.#advertised.check()
    closing.add("address", () => this.#advertised.close())
    this.#outside = outside
    member.begin(this.#actions(outside))
    this.#wasPrimary = member.isPrimary
    if (member.isPrimary) {
      node.ensureCluster()
      this.#takeRole()
    }
    return member.isPrimary
  }

  #changed(): void {
    const { node, others, member, elected, followed } = this
    const { lease } = node
    const isNews = lease.record !== this.#lastRecord
    this.#lastRecord = lease.record
    if (isNews && lease.record?.primary.id !== lease.id) {
      others.urls.redirect()
      if (elected !== undefined) followed.reconnect() // the former primary may be there, and silent
    }
    if (isNews) elected?.look() // it may have been given to this node
    const { databases } = this.#context.storage
    if (isNews && member.isPrimary) databases.reachEpoch(epochOf(lease.record)) // of the same primary
    if (this.#isWaiting) this.#follow()
    if (member.isPrimary === this.#wasPrimary) return
    const outside = must(this.#outside, "role yet")
    this.#wasPrimary = member.isPrimary
    this.#takeRole()
    if (this.#wasPrimary) {
      outside.api.setPrimaryName(undefined)
      outside.ready()
    }
    outside.api.roleChanged()
  }

  #takeRole(): void {
    const { node, member, sync } = this
    if (member.isPrimary) sync.begin()
    else sync.end()
    const { storage, surroundings } = this.#context
    const { databases, lag } = storage
    const { clock, randomBytes } = surroundings
    if (member.isPrimary) {
      databases.reachEpoch(epochOf(node.lease.record))
      node.clusterKey.make(randomBytes)
    }
    lag.setRole(member.isPrimary, clock.steadyMs(), clock.wallMs())
  }

  #syncChanged(): void {
    const { sync } = this
    const status = this.#outside?.api.status
    const { state, reason } = sync.status
    status?.problems.tell("replicas", state === "synchronous" ? undefined : reason)
    status?.changed()
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
    if (!member.isPrimary) this.#follow()
    else if (member.isSettled) outside.ready()
    else void this.#readyIfPrimary(outside)
    member.start()
    this.elected?.start()
  }

  /** Another node has become the primary since begin(): this one is about to be its replica, and ready as such. */
  async #readyIfPrimary(outside: Outside): Promise<void> {
    const { member } = this
    await member.settled(ROLE_MS_MAX)
    if (member.isPrimary) outside.ready()
  }

  /** Follows the primary, once there is an address where it may be: a store says it only when it is reached. */
  #follow(): void {
    const outside = must(this.#outside, "role yet")
    this.#isWaiting = !this.others.urls.leadsSomewhere
    if (!this.#isWaiting) this.followed.follow(outside)
  }

  #leaseProblem(text: string | undefined): void {
    const status = this.#outside?.api.status
    status?.problems.tell("lease", text)
    status?.changed()
  }

  /** It lasts while that node goes on asking. */
  #foreignProblem(text: string | undefined): void {
    const { clock } = this.#context.surroundings
    this.#forgetForeign()
    if (text !== undefined) {
      this.#forgetForeign = clock.after(FOREIGN_MS, () => this.#foreignProblem(undefined))
    }
    const status = this.#outside?.api.status
    status?.problems.tell("cluster", text)
    status?.changed()
  }

  /** The node is about to stop, and takes no role any more. */
  leaving(): void {
    this.node.isLeaving = true
  }

  #actions(outside: Outside): RoleSwitch {
    const { node, halting, followed, streams } = this
    const { storage, surroundings } = this.#context
    const { databases, threads } = storage
    return new RoleSwitch({
      ...{ fs: threads.fs, peer: threads.peer, halting, clock: surroundings.clock },
      positions: () => databases.livePositions(),
      settled: (limitMs) => outside.settled(limitMs),
      lost: () => this.sync.end(),
      follow: () => this.#follow(),
      unfollow: () => {
        this.#isWaiting = false
        return followed.unfollow()
      },
      endStreams: () => {
        const { news } = node
        for (const stream of streams) stream.end(news)
      },
    })
  }
}
