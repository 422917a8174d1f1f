/**
 * A whole node: the only place that knows every part. Its parts that belong to no layer are in node/; nobody else
 * says `new` across layers.
 *
 * Three threads: this one never blocks and never touches the mount; the fs thread answers the mount and captures
 * transactions; the peer thread acts on databases as one more SQLite process, through the mount.
 *
 *   open():  data directory ─▶ API port ─▶ fs thread ─▶ peer thread ─▶ mount ─▶ replication
 *   close(): the reverse
 */
import packageJson from "../package.json" with { type: "json" }
import type { NodeFacts } from "./cli/command/child-environment.ts"
import { Halting } from "./cluster/locks/halting.ts"
import { AdvertisedUrl } from "./cluster/role/advertised-url.ts"
import { Confirmation } from "./cluster/role/confirmation.ts"
import { findPrimary } from "./cluster/role/find-primary.ts"
import { Handoffs } from "./cluster/role/handoffs.ts"
import type { LeaseNode } from "./cluster/role/lease.ts"
import type { Member } from "./cluster/role/member.ts"
import { RoleSwitch } from "./cluster/role/role-switch.ts"
import { TlsFiles } from "./http/server/tls-files.ts"
import { notSynced } from "./http/status/health.ts"
import { StatusApi } from "./http/status/status-api.ts"
import type { ReplicaStream } from "./http/streams/replica-stream.ts"
import { orAborted } from "./lib/abort.ts"
import { systemClock } from "./lib/clock.ts"
import { LitefsError, messageOf } from "./lib/errors.ts"
import { logger } from "./lib/log.ts"
import type { LiteFSOptions } from "./litefs-options.ts"
import { apiServer, warnIfOpenToAll } from "./node/api.ts"
import { Databases } from "./node/databases.ts"
import { adoptFiles, newFileAccess } from "./node/file-access.ts"
import { FollowedPrimary } from "./node/followed-primary.ts"
import { FullDisk } from "./node/full-disk.ts"
import { LogSegments } from "./node/log-segments.ts"
import { OtherNodes } from "./node/other-nodes.ts"
import { leadsTo } from "./node/own-address.ts"
import { type ProxiedNodeContext, proxiedNode } from "./node/proxied-node.ts"
import { remarks } from "./node/remarks.ts"
import { NodeRole } from "./node/role.ts"
import { ServedDatabases } from "./node/served-databases.ts"
import { recoverMount } from "./node/stale-mount.ts"
import { ThisNode } from "./node/this-node.ts"
import { Threads } from "./node/threads.ts"
import { retain, verify } from "./node/upkeep.ts"
import { ProxyServer } from "./proxy/proxy-server.ts"
import { DataDir } from "./store/data-dir.ts"
import { SharedLag } from "./store/shared-lag.ts"
import { watchFullDisk } from "./sys/errno.ts"
import { closeFile } from "./sys/file.ts"
import { collectWhenWorked } from "./sys/garbage.ts"
import { dropProgramPages } from "./sys/program-pages.ts"
import { DatabaseFilter } from "./wire/database-filter.ts"
import { NodeWorkers, newWorker } from "./workers.ts"

const log = logger("litefs")

/** What only the start needed is not needed any more. */
const STARTED_MS = 2000

/** For each part of the node to end: longer than an honest one takes. */
const PART_MS_MAX = 10_000
/** The same when a thread has failed: it may be what the part waits for. */
const FAILED_PART_MS_MAX = 1000

export class LiteFS {
  readonly #options: LiteFSOptions
  readonly #closing = new AsyncDisposableStack()
  readonly #failed = Promise.withResolvers<Error>()
  readonly #ready = Promise.withResolvers<void>()
  readonly #databases = new Databases()
  #node: ThisNode | undefined
  #threads: Threads | undefined
  #member: Member | undefined
  #followed: FollowedPrimary | undefined
  #handoffs: Handoffs | undefined
  #promoted: Promise<void> | undefined
  #leaving: Promise<void> | undefined
  #hasFailed = false
  #port = 0
  #socketPath: string | undefined
  #api: StatusApi | undefined

  /** `workers` are those of one node, if they were started before. */
  static async open(options: LiteFSOptions, workers = new NodeWorkers()): Promise<LiteFS> {
    const node = new LiteFS(options)
    try {
      await node.#open(workers)
      return node
    } catch (error) {
      await node.close()
      throw error
    }
  }

  /** Deals with what a daemon that was killed has left mounted. */
  static async recoverMount(options: Pick<LiteFSOptions, "fuseDir" | "dataDir">): Promise<void> {
    await recoverMount(options)
  }

  private constructor(options: LiteFSOptions) {
    this.#options = options
  }

  /** Resolves when it cannot go on. */
  get failed(): Promise<Error> {
    return this.#failed.promise
  }

  /**
   * Resolves when the mount is there and, on a replica, holds what the primary had; with `promote`, when this node is
   * the primary. Rejects when that cannot be.
   */
  async ready(signal?: AbortSignal): Promise<void> {
    const ready = this.#promoted ?? this.#ready.promise
    await (signal === undefined ? ready : orAborted(ready, signal))
  }

  /** Why it is not ready. */
  waitsFor(): string | undefined {
    return this.#api === undefined ? undefined : notSynced(this.#api.status)
  }

  /** What commands next to this node are told. */
  facts(): NodeFacts {
    const { role, hostname, advertiseUrl } = this.#options
    const { isPrimary, primary } = this
    const knownUrl = role.kind === "replica" ? role.primaryUrl : undefined
    return {
      isPrimary,
      isCandidate: this.#node?.isCandidate === true,
      port: this.#port,
      socketPath: this.#socketPath,
      primaryHostname: isPrimary ? hostname : (primary?.hostname ?? this.#followed?.name),
      primaryUrl: isPrimary ? advertiseUrl : (primary?.url ?? knownUrl),
    }
  }

  /** With `promote`, also when nobody waits for it. */
  async #promote(handoffs: Handoffs): Promise<void> {
    await this.#ready.promise
    try {
      await handoffs.promote()
    } catch (error) {
      log.error("cannot become the primary", { problem: messageOf(error) })
      throw error
    }
  }

  get isPrimary(): boolean {
    return this.#member?.isPrimary === true
  }

  /** Who is the primary, by the newest record that this node has heard: this node, too. */
  get primary(): LeaseNode | undefined {
    return this.#member?.record?.primary
  }

  /** Calls back when `isPrimary` or `primary` may have changed, until the returned function is called. */
  onRoleChange(listener: () => void): () => void {
    return this.#member?.onChange(listener) ?? (() => {})
  }

  /** How often this node has had to do with a state of a database that its primary does not have. */
  get divergenceCount(): number {
    return (this.#threads?.peer.divergenceCount ?? 0) + this.#databases.unknownCount
  }

  /**
   * On a primary with a proxy, which is to stop: another node becomes the primary, while the application still answers
   * what it was asked and the proxy sends the rest there. Without a proxy the application may have to write until it
   * ends, and close() does it. A replica takes no role from here on.
   */
  leave(): Promise<void> | undefined {
    if (this.#node !== undefined) this.#node.isLeaving = true
    if (this.#options.proxy === undefined || !this.isPrimary) return undefined
    return this.#handOff()
  }

  async close(): Promise<void> {
    if (this.#node !== undefined) this.#node.isLeaving = true
    await this.#handOff()
    await this.#closing.disposeAsync()
  }

  #handOff(): Promise<void> | undefined {
    const { handoffOnExit, proxy } = this.#options
    if (handoffOnExit === false || this.#hasFailed) return undefined
    const handOff = () => this.#handoffs?.leave(proxy !== undefined)
    this.#leaving = this.#leaving?.then(handOff) ?? handOff()
    return this.#leaving
  }

  async #open(workers: NodeWorkers): Promise<void> {
    const options = this.#options
    const { fuseDir, role, httpAddr, hostname, authToken, peers = [] } = options
    const databases = this.#databases
    const tls = options.tls === undefined ? undefined : new TlsFiles(options.tls)

    const patterns = role.kind === "replica" ? role.databases : undefined
    const filter = patterns && DatabaseFilter.of(patterns)
    const access = newFileAccess(options)
    const dataDir = new DataDir(options.dataDir, filter, access)
    dataDir.create()
    this.#closing.adopt(dataDir.lock(), closeFile)
    adoptFiles(dataDir, access)
    dataDir.createImports()
    const node = new ThisNode(options, dataDir, filter)
    this.#node = node
    const { lease, clusterId } = node

    const fail = (error: Error) => {
      this.#hasFailed = true
      this.#failed.resolve(error)
    }
    const ready = () => {
      api.status.markReady()
      this.#ready.resolve()
    }
    const lag = SharedLag.create(false)
    const segments = new LogSegments({
      ...{ root: dataDir.root, clock: systemClock },
      ready: (segment) => databases.flags.setSegmentFree(segment, true),
    })
    this.#atClose("commit log", () => segments.close())
    const threads = new Threads(workers, {
      options,
      dataDir,
      access,
      databases,
      lag,
      segments,
      isCandidate: node.isCandidate,
      halting: () => halting,
      fail,
    })
    this.#threads = threads
    if (workers.problem !== undefined) {
      throw new LitefsError("io", `Cannot open the node: ${workers.problem}`)
    }
    const { fs, peer } = threads
    const halting: Halting = new Halting({
      ...{ clock: systemClock, fs, peer, hostname },
      member: () => member,
      callPrimary: (method, path, body) => others.callPrimary(method, path, body),
      position: (database) => databases.position(database),
      onPositionChange: (listener) => databases.subscribe(listener),
      reconnect: () => followed.reconnect(),
    })
    const others = new OtherNodes(options, node, tls, (...heard) => member.hear(...heard))
    this.#atClose("others", () => others.close())
    const { urls, check } = others

    const streams = new Set<ReplicaStream>()
    const nodeRole = new NodeRole({
      ...{ options, node, others, databases, lag, ready, fail },
      api: () => api,
      actions: new RoleSwitch({
        fs,
        peer,
        halting,
        positions: () => databases.livePositions(),
        settled: async (limitMs) => (await proxy?.settled(limitMs)) ?? 0,
        follow: () => followed.follow(),
        unfollow: () => followed.unfollow(),
        endStreams: () => {
          const { news } = node
          for (const stream of streams) stream.end(news)
        },
      }),
    })
    const { member } = nodeRole
    this.#member = member
    const followed = new FollowedPrimary({
      ...{ node, others, member, databases, lag, peer, echoes: halting.echoes, ready },
      api: () => api,
      takeOffer: (token, url) => void handoffs.takeOffer(token, url),
    })
    this.#followed = followed

    const api = new StatusApi({
      identity: {
        id: lease.id,
        hostname,
        version: packageJson.version,
        dataDir: dataDir.root,
        fuseDir,
        get advertiseUrl() {
          return node.url
        },
        get primaryUrl() {
          return member.isPrimary ? undefined : urls.current
        },
        isCandidate: node.isCandidate,
        lease: () => lease.record,
        clusterId: () => clusterId.value,
        proxyUrl: () => (member.isPrimary ? options.proxy?.advertiseUrl : followed.proxyUrl),
      },
      metrics: () => proxy?.families() ?? [],
      measure: () => threads.measure(),
      problem: () => {
        if (!databases.flags.isShort) return undefined
        threads.measure() // for the next who asks
        return "no more files can be opened, raise the limit (ulimit -n)"
      },
      remarks: () => remarks({ databases, served, followed, isPrimary: member.isPrimary }),
      dataDir,
      positions: databases.positions,
      lag,
      counters: databases.counters,
      clock: systemClock,
      streams,
      get progress() {
        return followed.hasFollowed ? followed.progress : undefined
      },
    })
    databases.subscribe(() => api.positionsChanged())
    this.#api = api
    const { problems } = api.status
    const fullDisk = new FullDisk({
      ...{ path: dataDir.root, flags: databases.flags, problems, clock: systemClock },
      changed: () => api.status.changed(),
    })
    databases.subscribe(() => fullDisk.look())
    watchFullDisk(() => {
      databases.flags.noteFull()
      queueMicrotask(() => fullDisk.look())
    })
    this.#atClose("disk", () => fullDisk.close())
    peer.onLtxUsage = (database, count, size) => api.ltx.counted(database, { count, size })
    const served = new ServedDatabases({
      ...{ databases, dataDir, threads, halting, member, others, streams, counters: api.totals },
      node,
      snapshotRate: options.snapshotRate,
      newCheckWorker: () => newWorker("./peer/serve/check-thread.ts"),
    })
    this.#atClose("snapshots", () => served.close())
    const confirmation = new Confirmation({
      ...{ peers, clock: systemClock, tell: (url) => others.tell(url) },
      record: () => lease.record,
    })
    const proxy = this.#openProxy({
      ...{ hostname, databases, status: api.status, member, confirmation, followed },
    })
    this.#atClose("proxy", () => proxy?.close())
    const handoffs = new Handoffs({
      member,
      lease,
      streams,
      progress: followed.progress,
      ineligibility: () => node.ineligibility,
      isCandidate: node.isCandidate,
      positions: () => databases.livePositions(),
      primaryName: () => api.status.primaryName,
      clock: systemClock,
      isConnected: (limitMs) => api.status.isConnectedWithin(limitMs),
      lagMs: () => api.status.lag.ms,
      primaryUrl: () => urls.current,
      call: (url, method, path, body) => others.call(url, method, path, body),
      isLeaving: () => node.isLeaving,
      reconnect: () => followed.reconnect(),
      hear: (headers, url) => check.hear(headers, url),
    })
    this.#handoffs = handoffs
    const server = apiServer({
      ...{ node, others, member, api, handoffs, served, locks: halting.locks, authToken, tls },
      mounted: threads.mounted,
      spoolPath: (number) => dataDir.spoolPath(number),
      proxyUrl: options.proxy?.advertiseUrl ?? (proxy && `:${proxy.port}`),
    })
    const port = await server.listen(httpAddr)
    this.#port = port
    warnIfOpenToAll(options, port)
    this.#atClose("API", () => server.close())
    node.listensAt(port)
    try {
      await server.listenLocally(dataDir.socketPath)
      this.#socketPath = dataDir.socketPath
    } catch (error) {
      log.warn("cannot make a socket for commands of this machine", { problem: messageOf(error) })
    }

    await findPrimary({
      ...{ member, lease, role, url: node.url, peers, check },
      clusterId: () => clusterId.value,
      hasDatabases: () => dataDir.databaseNames().length > 0,
      ask: (url) => others.ask(url),
      leadsHere: (url) => leadsTo(url, { host: httpAddr.host, port }, options.advertiseUrl),
    })
    const advertised = new AdvertisedUrl({
      ...{ url: options.advertiseUrl, id: lease.id, clock: systemClock },
      isPrimaryByFlag: () => lease.record === undefined && role.kind === "primary",
      ask: (url) => others.ask(url),
    })
    await advertised.check()
    this.#atClose("address", () => advertised.close())
    const isPrimary = nodeRole.begin()
    const believed = await threads.start(isPrimary, lease.id)

    threads.mount()
    this.#atClose("mount", () => threads.unmount())
    await threads.serve()
    log.info("mounted", {
      ...{ dir: fuseDir, role: isPrimary ? "primary" : "replica" },
      http: `${httpAddr.host}:${port}`,
    })

    advertised.watch(fail)
    this.#closing.defer(systemClock.after(STARTED_MS, dropProgramPages))
    this.#closing.defer(collectWhenWorked(systemClock))
    const verifier = verify(believed, served)
    this.#atClose("verifier", () => verifier.close())
    const retention = retain(options.retention, { databases, served, threads, halting, api })
    this.#atClose("retention", () => retention.close())

    this.#atClose("stream", () => followed.close())
    this.#atClose("write locks", () => halting.close())
    this.#atClose("role", () => member.close())
    if (isPrimary) ready()
    else followed.follow()
    member.start()
    if (options.promote === true) {
      this.#promoted = this.#promote(handoffs)
      this.#promoted.catch(() => {}) // said, and for whoever waits
    }
  }

  /** A part that does not end must not keep the others. */
  #atClose(part: string, end: () => void | Promise<void> | undefined): void {
    this.#closing.defer(async () => {
      const late = Promise.withResolvers<boolean>()
      const limitMs = this.#hasFailed ? FAILED_PART_MS_MAX : PART_MS_MAX
      const cancel = systemClock.after(limitMs, () => late.resolve(true))
      const ended = Promise.resolve(end()).then(() => false)
      const isLate = await Promise.race([ended, late.promise])
      cancel()
      if (isLate) log.warn("a part of the node does not end, stopping without it", { part })
    })
  }

  #openProxy(node: ProxiedNodeContext): ProxyServer | undefined {
    const { proxy: options } = this.#options
    if (options === undefined) return undefined
    const proxy = new ProxyServer(options, proxiedNode(node), systemClock)
    log.info("proxy", { address: `${options.address.host}:${proxy.port}` })
    return proxy
  }
}
