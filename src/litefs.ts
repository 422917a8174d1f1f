/**
 * A whole node: the only place that knows every part and says `new` across layers.
 *
 * Three threads: this one never blocks and never touches the mount; the fs thread answers the mount and captures
 * transactions; the peer thread acts on databases as one more SQLite process, through the mount.
 *
 *   open():  data directory ─▶ API port ─▶ fs thread ─▶ peer thread ─▶ mount ─▶ replication
 *   close(): the reverse
 */
import { randomBytes } from "node:crypto"
import packageJson from "../package.json" with { type: "json" }
import type { NodeFacts } from "./cli/child-environment.ts"
import { ClusterId } from "./cluster/cluster-id.ts"
import { findPrimary } from "./cluster/find-primary.ts"
import { follow } from "./cluster/following.ts"
import { Halting } from "./cluster/halting.ts"
import { LagTracker } from "./cluster/lag-tracker.ts"
import {
  encodeLease,
  LEASE_HEADER,
  type LeaseNode,
  type LeaseRecord,
  leaseOf,
} from "./cluster/lease.ts"
import { Member } from "./cluster/member.ts"
import { callNode, NodeAgents, type NodeCall } from "./cluster/node-client.ts"
import type { NodeStatus } from "./cluster/node-status.ts"
import { PrimaryUrls } from "./cluster/primary-urls.ts"
import type { Replica } from "./cluster/replica.ts"
import { ReplicaProgress } from "./cluster/replica-progress.ts"
import { RetentionMonitor } from "./cluster/retention.ts"
import { RoleSwitch } from "./cluster/role-switch.ts"
import { StaticLease } from "./cluster/static-lease.ts"
import { Verifier } from "./cluster/verifier.ts"
import { authHeaders } from "./http/auth.ts"
import { existingSnapshots, limited, snapshotsOf } from "./http/database-snapshots.ts"
import { handleExport } from "./http/export.ts"
import { haltRoutes } from "./http/halt.ts"
import { Handoffs } from "./http/handoffs.ts"
import { handleImport } from "./http/import.ts"
import { ParkedSnapshots } from "./http/resumable-snapshot.ts"
import { roleRoutes } from "./http/roles.ts"
import { ApiServer } from "./http/server.ts"
import { StatusApi } from "./http/status-api.ts"
import { handleStream, neededTxid, type ReplicaStream, STALL_MS_MAX } from "./http/stream.ts"
import { TlsFiles } from "./http/tls-files.ts"
import { sleep, systemClock } from "./lib/clock.ts"
import { LitefsError } from "./lib/errors.ts"
import { logger } from "./lib/log.ts"
import type { LiteFSOptions } from "./litefs-options.ts"
import type { Pos } from "./ltx/pos.ts"
import { FsWorker } from "./mount/fs-worker.ts"
import { checkImport } from "./peer/check-worker.ts"
import { PeerWorker } from "./peer/peer-worker.ts"
import type { ProxyCluster } from "./proxy/cluster.ts"
import { ProxyServer } from "./proxy/proxy-server.ts"
import { Counters } from "./store/counters.ts"
import { DataDir } from "./store/data-dir.ts"
import { Positions } from "./store/positions.ts"
import { RecentTransactions } from "./store/recent-transactions.ts"
import { SharedFlags } from "./store/shared-flags.ts"
import { SharedLag } from "./store/shared-lag.ts"
import { closeFile } from "./sys/file.ts"
import { abortStaleMounts, cloneDevice, mountFuse, unmount } from "./sys/mount.ts"
import { isDying } from "./sys/process.ts"
import { DatabaseFilter } from "./wire/database-filter.ts"
import { ADVERTISE_URL_HEADER, CANDIDATE_HEADER, PROXY_HEADER } from "./wire/protocol.ts"

const log = logger("litefs")

/** Grows with every change of the primary; 1 as long as the flags say who it is. */
function epochOf(record: LeaseRecord | undefined): bigint {
  return BigInt(record?.epoch ?? 0) + 1n
}

export class LiteFS {
  readonly #options: LiteFSOptions
  readonly #closing = new AsyncDisposableStack()
  readonly #failed = Promise.withResolvers<Error>()
  readonly #mounted = Promise.withResolvers<void>()
  readonly #recovered = Promise.withResolvers<void>()
  readonly #positions = Positions.create()
  readonly #recent = RecentTransactions.create()
  readonly #flags = SharedFlags.create()
  readonly #counters = Counters.create()
  readonly #listeners = new Set<() => void>()
  readonly #ready = Promise.withResolvers<void>()
  #replica: Replica | undefined
  #hasFailed = false
  #member: Member | undefined
  #handoffs: Handoffs | undefined
  #peer: PeerWorker | undefined
  #isCandidate = false
  /** Of the history that the databases here are on: after a change of the primary, when they are known to be. */
  #epoch = epochOf(undefined)
  #port = 0
  #primaryName: string | undefined
  /** Databases that the primary has never had, or lost. They stay as they are: nothing takes their place. */
  readonly #unknown = new Set<string>()

  static async open(options: LiteFSOptions): Promise<LiteFS> {
    const node = new LiteFS(options)
    try {
      await node.#open()
      return node
    } catch (error) {
      await node.close()
      throw error
    }
  }

  /**
   * Deals with what a daemon that was killed has left mounted. Holding the lock of the data directory tells that
   * the daemon is gone: one that serves another data directory here is asked whether it answers.
   *
   * A daemon that was killed while a thread of its own waited for its mount cannot end, and keeps the lock, until
   * somebody aborts the mount.
   */
  static async recoverMount(options: Pick<LiteFSOptions, "fuseDir" | "dataDir">): Promise<void> {
    const dataDir = new DataDir(options.dataDir)
    const holder = dataDir.exists() ? dataDir.lockHolder() : undefined
    if (holder !== undefined && isDying(holder)) {
      abortStaleMounts(options.fuseDir)
      log.warn("ended a daemon that was killed and could not end", { pid: holder })
      for (let waitedMs = 0; waitedMs < DYING_MS_MAX && isDying(holder); waitedMs += 50) {
        await sleep(systemClock, 50)
      }
    }
    const lock = dataDir.exists() ? dataDir.lock() : undefined
    try {
      if (abortStaleMounts(options.fuseDir)) {
        log.info("found a dead mount", { dir: options.fuseDir })
      }
    } finally {
      if (lock !== undefined) closeFile(lock)
    }
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
    const aborted = Promise.withResolvers<never>()
    const abort = () => aborted.reject(signal?.reason)
    signal?.addEventListener("abort", abort, { once: true })
    if (signal?.aborted) abort()
    try {
      await Promise.race([this.#becomeReady(), aborted.promise])
    } finally {
      signal?.removeEventListener("abort", abort)
    }
  }

  /** What commands next to this node are told. */
  facts(): NodeFacts {
    const { role, hostname, advertiseUrl } = this.#options
    const { isPrimary, primary } = this
    const knownUrl = role.kind === "replica" ? role.primaryUrl : undefined
    return {
      isPrimary,
      isCandidate: this.#isCandidate,
      port: this.#port,
      primaryHostname: isPrimary ? hostname : (primary?.hostname ?? this.#primaryName),
      primaryUrl: isPrimary ? advertiseUrl : (primary?.url ?? knownUrl),
    }
  }

  async #becomeReady(): Promise<void> {
    await this.#ready.promise
    if (this.#options.promote === true) await this.#handoffs?.promote()
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
    return (this.#peer?.divergenceCount ?? 0) + this.#unknown.size
  }

  async close(): Promise<void> {
    if (this.#options.handoffOnExit !== false && !this.#hasFailed) await this.#handoffs?.leave()
    await this.#closing.disposeAsync()
  }

  async #open(): Promise<void> {
    const { fuseDir, role, httpAddr, log: logOptions, fuseDebug, hostname } = this.#options
    const { authToken, forwardWrites = false } = this.#options
    const tls = this.#options.tls === undefined ? undefined : new TlsFiles(this.#options.tls)

    const databases = role.kind === "replica" ? role.databases : undefined
    const filter = databases && DatabaseFilter.of(databases)
    const dataDir = new DataDir(this.#options.dataDir, filter)
    dataDir.create()
    this.#closing.adopt(dataDir.lock(), closeFile)
    dataDir.createImports()
    const clusterId = new ClusterId(dataDir.clusterIdPath)
    const lease = new StaticLease(dataDir.leasePath, () => randomBytes(8).readBigUInt64BE())

    const { proxy: proxyOptions } = this.#options
    const proxyUrls = { ofPrimary: undefined as string | undefined }
    let proxy: ProxyServer | undefined
    const onChange = () => this.#announceChange()
    const fail = (error: Error) => {
      this.#hasFailed = true
      this.#failed.resolve(error)
    }
    const peer = new PeerWorker(newWorker("./peer/thread.ts"), onChange, fail)
    this.#peer = peer
    const fs = new FsWorker(newWorker("./mount/thread.ts"), {
      changed: onChange,
      rewritten: (database) => peer.rewritten(database),
      publish: (database, last) => peer.publish(database, last),
      replaced: (request, outcome) => peer.replaced(request, outcome),
      segmentFull: (segment) => peer.releaseSegment(segment),
      propose: (database, bytes) => halting.propose(database, bytes),
      borrowForFlock: (database, waits) => halting.borrowForFlock(database, waits),
      borrowForWriter: (...asked) => halting.borrowForWriter(...asked),
      inUse: (database) => halting.inUse(database),
      giveBack: (...given) => halting.giveBack(...given),
      behind: (database) => halting.behind(database),
      failed: fail,
    })

    const lag = SharedLag.create(false)
    const halting: Halting = new Halting({
      ...{ clock: systemClock, fs, peer, hostname },
      member: () => member,
      callPrimary: (method, path, body) => call(urls.current, method, path, body, agents),
      position: (database) => this.#position(database),
      onPositionChange: (listener) => this.#subscribe(listener),
      reconnect: () => void this.#replica?.reconnect(),
    })
    const progress = new ReplicaProgress(halting.echoes, systemClock, lag, (name) =>
      this.#hasHistory(name),
    )
    const streams = new Set<ReplicaStream>()
    let ownUrl = this.#options.advertiseUrl ?? ""
    const isCandidate =
      filter === undefined &&
      (role.kind === "primary" || this.#options.isCandidate || this.#options.promote) === true
    this.#isCandidate = isCandidate
    const urls = new PrimaryUrls({
      hint: role.kind === "replica" ? role.primaryUrl : undefined,
      peers: this.#options.peers ?? [],
      own: () => ownUrl,
      record: () => lease.record,
      reachedAt: (id) => lease.reachedAt(id),
    })

    const nodeHeaders = { "Litefs-Id": lease.id, "Litefs-Hostname": hostname }
    const changingHeaders = (): Record<string, string> => ({
      ...(clusterId.value === undefined ? {} : { "Litefs-Cluster-Id": clusterId.value }),
      ...(lease.record && { [LEASE_HEADER]: encodeLease(lease.record, clusterId.value) }),
    })
    const requestHeaders = (): Record<string, string> => ({
      ...nodeHeaders,
      ...changingHeaders(),
      ...authHeaders(authToken),
      [ADVERTISE_URL_HEADER]: ownUrl,
      ...(isCandidate ? { [CANDIDATE_HEADER]: "1" } : {}),
    })
    const agents = new NodeAgents()
    this.#closing.defer(() => agents.close())
    const call = (
      url: string,
      method: NodeCall["method"],
      path: string,
      body?: Uint8Array,
      kept?: NodeAgents,
    ) =>
      callNode(url, {
        ...{ method, path, headers: requestHeaders(), limitMs: CALL_MS_MAX },
        ...(body === undefined ? {} : { body }),
        ...{ tls: tls?.current() ?? {}, clock: systemClock },
        ...(kept === undefined ? {} : { agents: kept }),
      })

    let wasPrimary = false
    let lastRecord = lease.record
    const member: Member = new Member({
      lease,
      clock: systemClock,
      actions: new RoleSwitch({
        fs,
        peer,
        halting,
        positions: () => this.#livePositions(),
        follow: () => startFollowing(),
        unfollow: async () => {
          await this.#replica?.close()
          this.#replica = undefined
        },
        endStreams: () => {
          const news = lease.record && encodeLease(lease.record, clusterId.value)
          for (const stream of streams) stream.end(news)
        },
      }),
      isPrimaryByFlag: role.kind === "primary",
      primaryUrl: () => urls.current,
      self: () => ({ id: lease.id, hostname, url: ownUrl }),
      clusterId: () => clusterId.value,
      onChange: () => {
        if (lease.record !== lastRecord && lease.record?.primary.id !== lease.id) urls.redirect()
        lastRecord = lease.record
        if (member.isPrimary === wasPrimary) return
        wasPrimary = member.isPrimary
        if (wasPrimary) this.#reachEpoch(epochOf(lease.record))
        lag.setRole(wasPrimary, systemClock.wallMs())
        if (wasPrimary) {
          api.setPrimaryName(undefined)
          api.status.markReady()
          this.#ready.resolve()
        }
        api.roleChanged()
      },
      fail,
      tell: async (url) => leaseOf((await call(url, "GET", "/info")).headers)?.record,
    })
    this.#member = member

    let hasFollowed = false
    const api = new StatusApi({
      identity: {
        id: lease.id,
        hostname,
        version: packageJson.version,
        dataDir: dataDir.root,
        fuseDir,
        get advertiseUrl() {
          return ownUrl
        },
        get primaryUrl() {
          return member.isPrimary ? undefined : urls.current
        },
        isCandidate,
        lease: () => lease.record,
        clusterId: () => clusterId.value,
        proxyUrl: () => (isPrimary ? proxyOptions?.advertiseUrl : proxyUrls.ofPrimary),
      },
      metrics: () => proxy?.families() ?? [],
      dataDir,
      positions: this.#positions,
      lag,
      counters: this.#counters,
      clock: systemClock,
      streams,
      get progress() {
        return hasFollowed ? progress : undefined
      },
    })
    this.#subscribe(() => api.positionsChanged())
    peer.onLtxUsage = (database, count, size) => api.ltx.counted(database, { count, size })
    const stream = {
      positions: this.#positions,
      recent: this.#recent,
      dataDir,
      clock: systemClock,
      stallMs: STALL_MS_MAX,
      parked: new ParkedSnapshots(systemClock),
      snapshots: limited(snapshotsOf(halting, peer, "ltx"), this.#options.snapshotRate),
      counters: api.totals,
      streams,
      onChange: (listener: () => void) => this.#subscribe(listener),
    }
    this.#closing.defer(() => stream.parked.close())
    const raw = snapshotsOf(halting, peer, "raw")
    const exports = {
      files: existingSnapshots(raw, dataDir, this.#positions, this.#mounted.promise),
    }
    const imports = {
      dataDir,
      checkWritable: () => {
        if (member.isPrimary) return
        const advice = `import on the primary at ${urls.current}`
        throw new LitefsError("no-primary", `lease expired: this node is a replica, ${advice}`)
      },
      prepare: (database: string, file: number, isThorough: boolean) => {
        const request = { dataDir: dataDir.root, database, file, isThorough }
        return checkImport(newWorker("./peer/check-thread.ts"), request)
      },
      replace: async (name: string, file: number) => {
        await this.#mounted.promise
        imports.checkWritable()
        return halting.whileNotLent(name, () => peer.import(name, file))
      },
    }
    if (proxyOptions !== undefined) {
      proxy = new ProxyServer(
        proxyOptions,
        this.#proxyCluster(api.status, member, proxyUrls),
        systemClock,
      )
      log.info("proxy", { address: `${proxyOptions.address.host}:${proxy.port}` })
    }
    this.#closing.defer(() => proxy?.close())
    const proxyUrl = proxyOptions?.advertiseUrl ?? (proxy && `:${proxy.port}`)
    const roles = new Handoffs({
      member,
      lease,
      streams,
      progress,
      ineligibility: () => {
        if (filter !== undefined) return "it has some of the databases only"
        return clusterId.value === undefined ? "it has never followed a primary" : undefined
      },
      isCandidate,
      positions: () => this.#livePositions(),
      primaryName: () => api.status.primaryName,
      isConnected: (limitMs) => api.status.isConnectedWithin(limitMs),
      primaryUrl: () => urls.current,
      call,
    })
    this.#handoffs = roles
    const server = new ApiServer(
      {
        ...api.routes,
        ...roleRoutes({
          ...roles.routes,
          member,
          clock: systemClock,
          clusterId: () => clusterId.value,
        }),
        "/stream": {
          POST: async (request, response) => {
            // Before, there seem to be no databases, and the replica would get all of them anew.
            await this.#recovered.promise
            if (!member.isPrimary) await member.settled(SETTLE_MS_MAX)
            if (!member.isPrimary) throw new LitefsError("no-primary", "lease expired")
            return handleStream(stream, request, response)
          },
        },
        ...haltRoutes({
          ...{ locks: halting.locks, clock: systemClock, id: lease.id },
          mounted: this.#mounted.promise,
        }),
        "/export": {
          GET: (_, response, url) => handleExport(exports, response, url),
        },
        "/import": {
          POST: (request, response, url) => handleImport(imports, request, response, url),
        },
      },
      {
        headers: {
          ...nodeHeaders,
          ...(proxyUrl === undefined ? {} : { [PROXY_HEADER]: proxyUrl }),
        },
        ...{ changingHeaders, authToken, tls, clock: systemClock },
        onRequest: (headers) => {
          const heard = leaseOf(headers)
          if (heard !== undefined) member.hear(heard)
        },
      },
    )
    const port = await server.listen(httpAddr)
    this.#port = port
    if (isOpenToAll(this.#options)) {
      log.warn("whoever reaches the API can read and replace databases, set --auth-token-file", {
        http: `${httpAddr.host}:${port}`,
      })
    }
    this.#closing.defer(() => server.close())
    ownUrl ||= derivedUrl(this.#options, port)

    await findPrimary({
      ...{ member, lease, role, url: ownUrl },
      peers: this.#options.peers ?? [],
      ask: async (url) => leaseOf((await call(url, "GET", "/info")).headers),
    })
    member.begin()
    const isPrimary = member.isPrimary
    wasPrimary = isPrimary
    if (isPrimary) {
      lag.setRole(true, systemClock.wallMs())
      clusterId.make(() => randomBytes(8).readBigUInt64BE())
    }

    const shared = {
      dataDir: dataDir.root,
      positions: this.#positions.memory,
      flags: this.#flags.memory,
      lag: lag.memory,
      counters: this.#counters.memory,
      isPrimary,
      nodeId: BigInt(`0x${lease.id}`),
      log: logOptions,
    }
    const believed = [
      ...(await fs.start({ ...shared, recent: this.#recent.memory, fuseDebug, forwardWrites })),
      ...(await peer.start({ ...shared, databases, fuseDir, mailboxFd: fs.mailboxFd })),
    ]

    this.#recovered.resolve()
    const device = mountFuse(fuseDir)
    this.#closing.defer(async () => {
      await peer.detach()
      unmount(fuseDir)
      const isFree = await Promise.race([
        fs.unmounted.then(() => true),
        sleep(systemClock, UNMOUNT_MS_MAX).then(() => false),
      ])
      if (isFree) await Promise.all([fs.stopped, peer.settle()])
      else log.warn("files of the mount are still open, the next start takes longer")
    })
    const notifier = cloneDevice(device)
    await fs.serve(device, [notifier])
    peer.mounted(notifier)
    this.#mounted.resolve()
    log.info("mounted", {
      ...{ dir: fuseDir, role: isPrimary ? "primary" : "replica" },
      http: `${httpAddr.host}:${port}`,
    })

    const verifier = new Verifier(believed, {
      clock: systemClock,
      rate: VERIFY_RATE,
      read: async (database) => (await raw.snapshot(database))?.parts,
    })
    this.#closing.defer(() => verifier.close())

    const retention = new RetentionMonitor(this.#options.retention, {
      clock: systemClock,
      databases: () => [...this.#currentPositions().keys()],
      neededTxid: (database) => neededTxid(stream.streams, database),
      maintain: async (database, needed) => {
        const count = await peer.maintain({
          database,
          writtenTxid: halting.isCaptured(database) ? await fs.writtenTxid(database) : undefined,
          neededTxid: needed,
          retention: this.#options.retention,
        })
        api.countReaped(database, count)
        return count
      },
    })
    this.#closing.defer(() => retention.close())

    const tracker = new LagTracker(lag, systemClock, () => api.status.changed())
    const startFollowing = () => {
      hasFollowed = true
      const replica = follow({
        ...{ member, lease, urls, headers: requestHeaders },
        onOffer: (token, url) => void roles.takeOffer(token, url),
        replica: {
          tls: () => tls?.current() ?? {},
          ...(filter === undefined ? {} : { databases: filter }),
          clock: systemClock,
          sink: progress,
          positions: () => this.#currentPositions(),
          onProxy: (url) => {
            proxyUrls.ofPrimary = url
          },
          onPrimary: (name) => {
            if (name === undefined) proxyUrls.ofPrimary = undefined
            if (member.isPrimary) return
            peer.setPrimary(name)
            api.setPrimaryName(name)
            this.#primaryName = name ?? this.#primaryName
            if (name === undefined) return
            halting.echoes.connected()
            tracker.connected()
            progress.connected()
          },
          onUnknown: (database) => this.#noteUnknown(database),
          onHeartbeat: (timestampMs, applied) => {
            tracker.heartbeat(timestampMs, applied)
            const epoch = epochOf(lease.record)
            const reached = () => this.#reachEpoch(epoch)
            applied.then(reached, () => {}) // the connection ends with it
          },
          onHead: (database, txid) => progress.head(database, txid),
          onClusterId: (id) => clusterId.check(id),
        },
      })
      this.#replica = replica
      void replica.ready.then(() => {
        api.status.markReady()
        this.#ready.resolve()
      })
    }
    this.#closing.defer(() => this.#replica?.close())
    this.#closing.defer(() => halting.close())
    this.#closing.defer(() => member.close())
    if (isPrimary) {
      api.status.markReady()
      this.#ready.resolve()
    } else {
      startFollowing()
    }
    member.start()
  }

  /** Of databases that there are. */
  #livePositions(): Map<string, Pos> {
    const positions = new Map<string, Pos>()
    for (let slot = 0; slot < this.#positions.count; slot++) {
      const { pos, commit } = this.#positions.read(slot)
      if (commit > 0) positions.set(this.#positions.name(slot), pos)
    }
    return positions
  }

  #currentPositions(): Map<string, Pos> {
    const positions = new Map<string, Pos>()
    for (let slot = 0; slot < this.#positions.count; slot++) {
      positions.set(this.#positions.name(slot), this.#positions.read(slot).pos)
    }
    return positions
  }

  /** What the proxy knows of this node: it is the primary, or it never is. */
  #reachEpoch(epoch: bigint): void {
    if (epoch > this.#epoch) this.#epoch = epoch
  }

  #proxyCluster(
    status: NodeStatus,
    member: Member,
    proxyUrls: { readonly ofPrimary: string | undefined },
  ): ProxyCluster {
    const { hostname } = this.#options
    const epoch = () => this.#epoch
    return {
      hostname,
      get isHandingOff() {
        return member.state === "draining" || member.state === "demoting"
      },
      get epoch() {
        return epoch()
      },
      get isPrimary() {
        return status.isPrimary
      },
      get primaryName() {
        return status.primaryName
      },
      get primaryProxyUrl() {
        return proxyUrls.ofPrimary
      },
      get lagMs() {
        return status.isReady ? status.lag.ms : undefined
      },
      position: (database) => this.#position(database),
      onChange: (listener) => {
        const ends = [status.onChange(listener), member.onChange(listener)]
        return () => {
          for (const end of ends) end()
        }
      },
    }
  }

  #position(database: string): Pos | undefined {
    const slot = this.#positions.find(database)
    return slot === undefined ? undefined : this.#positions.read(slot).pos
  }

  #hasHistory(database: string): boolean {
    return (this.#position(database)?.txid ?? 0n) > 0n
  }

  #noteUnknown(database: string): void {
    if (this.#unknown.has(database)) return
    this.#unknown.add(database)
    log.warn("the primary does not have a database that is here, it stays as it is", {
      db: database,
    })
  }

  #announceChange(): void {
    this.#flags.lowerChanged()
    for (const listener of this.#listeners) listener()
  }

  #subscribe(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }
}

/** A process whose mount is aborted ends at once. */
const DYING_MS_MAX = 5000

/** For another node to answer a question. A handoff may take its time. */
const CALL_MS_MAX = 15_000

/** How long a replica that asks for a stream waits for this node to become the primary. */
const SETTLE_MS_MAX = 3000

/** Bytes per second for looking at databases after a clean start. */
const VERIFY_RATE = 32 * 1024 * 1024

/** Files that clients still have open keep the fs thread busy; then it ends with the process. */
const UNMOUNT_MS_MAX = 1000

/** Whether other machines reach the API and need to show nothing. */
function isOpenToAll({ httpAddr, authToken, tls }: LiteFSOptions): boolean {
  if (authToken !== undefined) return false
  const asksForCertificates = tls?.certPath !== undefined && tls.caPath !== undefined
  return !asksForCertificates && !/^(127\.|::1$|localhost$)/i.test(httpAddr.host)
}

/** Where other nodes reach this one, as far as it can tell by itself. */
function derivedUrl({ httpAddr, hostname, tls }: LiteFSOptions, port: number): string {
  const { host } = httpAddr
  const name = host === "" || host === "0.0.0.0" || host === "::" ? hostname : host
  const scheme = tls?.certPath === undefined ? "http" : "https"
  const url = `${scheme}://${name.includes(":") ? `[${name}]` : name}:${port}`
  return URL.canParse(url) ? new URL(url).origin : `${scheme}://127.0.0.1:${port}`
}

function newWorker(path: string): Worker {
  return new Worker(new URL(path, import.meta.url).href)
}
