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
import { LagTracker } from "./cluster/lag-tracker.ts"
import type { NodeStatus } from "./cluster/node-status.ts"
import { Replica } from "./cluster/replica.ts"
import { ReplicaProgress } from "./cluster/replica-progress.ts"
import { RetentionMonitor } from "./cluster/retention.ts"
import { Verifier } from "./cluster/verifier.ts"
import { authHeaders } from "./http/auth.ts"
import { existingSnapshots, limited, snapshotsOf } from "./http/database-snapshots.ts"
import { handleExport } from "./http/export.ts"
import { handleImport } from "./http/import.ts"
import { ParkedSnapshots } from "./http/resumable-snapshot.ts"
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
import { PROXY_HEADER } from "./wire/protocol.ts"

const log = logger("litefs")

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
  readonly #lag: SharedLag
  readonly #listeners = new Set<() => void>()
  #replica: Replica | undefined
  #peer: PeerWorker | undefined
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
    this.#lag = SharedLag.create(options.role.kind === "primary")
  }

  /** Resolves when it cannot go on. */
  get failed(): Promise<Error> {
    return this.#failed.promise
  }

  /** Resolves when the mount is there and, on a replica, holds what the primary had. */
  async ready(signal?: AbortSignal): Promise<void> {
    if (this.#replica === undefined) return
    const aborted = Promise.withResolvers<never>()
    const abort = () => aborted.reject(signal?.reason)
    signal?.addEventListener("abort", abort, { once: true })
    if (signal?.aborted) abort()
    try {
      await Promise.race([this.#replica.ready, aborted.promise])
    } finally {
      signal?.removeEventListener("abort", abort)
    }
  }

  /** What commands next to this node are told. */
  facts(): NodeFacts {
    const { role, hostname, advertiseUrl } = this.#options
    const isPrimary = role.kind === "primary"
    return {
      isPrimary,
      isCandidate: isPrimary,
      port: this.#port,
      primaryHostname: isPrimary ? hostname : this.#primaryName,
      primaryUrl: isPrimary ? advertiseUrl : role.primaryUrl,
    }
  }

  /** How often this node has had to do with a state of a database that its primary does not have. */
  get divergenceCount(): number {
    return (this.#peer?.divergenceCount ?? 0) + this.#unknown.size
  }

  async close(): Promise<void> {
    await this.#closing.disposeAsync()
  }

  async #open(): Promise<void> {
    const { fuseDir, role, httpAddr, log: logOptions, fuseDebug, hostname } = this.#options
    const { authToken } = this.#options
    const tls = this.#options.tls === undefined ? undefined : new TlsFiles(this.#options.tls)
    const isPrimary = role.kind === "primary"
    const nodeId = randomBytes(8).readBigUInt64BE()

    const databases = role.kind === "replica" ? role.databases : undefined
    const filter = databases && DatabaseFilter.of(databases)
    const dataDir = new DataDir(this.#options.dataDir, filter)
    dataDir.create()
    this.#closing.adopt(dataDir.lock(), closeFile)
    dataDir.createImports()
    const clusterId = new ClusterId(dataDir.clusterIdPath)
    if (isPrimary) clusterId.make(() => randomBytes(8).readBigUInt64BE())

    const { proxy: proxyOptions } = this.#options
    const proxyUrls = { ofPrimary: undefined as string | undefined }
    let proxy: ProxyServer | undefined
    const headers = {
      "Litefs-Id": nodeId.toString(16).toUpperCase().padStart(16, "0"),
      "Litefs-Hostname": hostname,
      ...(clusterId.value === undefined ? {} : { "Litefs-Cluster-Id": clusterId.value }),
    }
    const onChange = () => this.#announceChange()
    const fail = (error: Error) => this.#failed.resolve(error)
    const peer = new PeerWorker(newWorker("./peer/thread.ts"), onChange, fail)
    this.#peer = peer
    const fs = new FsWorker(newWorker("./mount/thread.ts"), {
      changed: onChange,
      rewritten: (database) => peer.rewritten(database),
      publish: (database, last) => peer.publish(database, last),
      replaced: (request, outcome) => peer.replaced(request, outcome),
      segmentFull: (segment) => peer.releaseSegment(segment),
      failed: fail,
    })

    const progress = isPrimary
      ? undefined
      : new ReplicaProgress(peer, systemClock, this.#lag, (database) => this.#hasHistory(database))
    const streams = new Set<ReplicaStream>()
    const api = new StatusApi({
      identity: {
        id: headers["Litefs-Id"],
        hostname,
        version: packageJson.version,
        dataDir: dataDir.root,
        fuseDir,
        advertiseUrl: this.#options.advertiseUrl,
        primaryUrl: role.kind === "primary" ? undefined : role.primaryUrl,
        clusterId: () => clusterId.value,
        proxyUrl: () => (isPrimary ? proxyOptions?.advertiseUrl : proxyUrls.ofPrimary),
      },
      metrics: () => proxy?.families() ?? [],
      dataDir,
      positions: this.#positions,
      lag: this.#lag,
      counters: this.#counters,
      clock: systemClock,
      streams,
      progress,
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
      snapshots: limited(snapshotsOf(fs, peer, "ltx"), this.#options.snapshotRate),
      counters: api.totals,
      streams,
      onChange: (listener: () => void) => this.#subscribe(listener),
    }
    this.#closing.defer(() => stream.parked.close())
    const raw = snapshotsOf(isPrimary ? fs : peer, peer, "raw")
    const exports = {
      files: existingSnapshots(raw, dataDir, this.#positions, this.#mounted.promise),
    }
    const imports = {
      dataDir,
      checkWritable: () => {
        if (role.kind === "primary") return
        const advice = `import on the primary at ${role.primaryUrl}`
        throw new LitefsError("no-primary", `lease expired: this node is a replica, ${advice}`)
      },
      prepare: (database: string, file: number, isThorough: boolean) => {
        const request = { dataDir: dataDir.root, database, file, isThorough }
        return checkImport(newWorker("./peer/check-thread.ts"), request)
      },
      replace: async (name: string, file: number) => {
        await this.#mounted.promise
        return peer.import(name, file)
      },
    }
    if (proxyOptions !== undefined) {
      proxy = new ProxyServer(proxyOptions, this.#proxyCluster(api.status, proxyUrls), systemClock)
      log.info("proxy", { address: `${proxyOptions.address.host}:${proxy.port}` })
    }
    this.#closing.defer(() => proxy?.close())
    const proxyUrl = proxyOptions?.advertiseUrl ?? (proxy && `:${proxy.port}`)
    const server = new ApiServer(
      {
        ...api.routes,
        "/stream": {
          POST: async (request, response) => {
            if (!isPrimary) throw new LitefsError("no-primary", "lease expired")
            // Before, there seem to be no databases, and the replica would get all of them anew.
            await this.#recovered.promise
            return handleStream(stream, request, response)
          },
        },
        "/export": {
          GET: (_, response, url) => handleExport(exports, response, url),
        },
        "/import": {
          POST: (request, response, url) => handleImport(imports, request, response, url),
        },
      },
      {
        headers: {
          ...headers,
          ...(proxyUrl === undefined ? {} : { [PROXY_HEADER]: proxyUrl }),
        },
        authToken,
        tls,
        clock: systemClock,
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

    const shared = {
      dataDir: dataDir.root,
      positions: this.#positions.memory,
      flags: this.#flags.memory,
      lag: this.#lag.memory,
      counters: this.#counters.memory,
      isPrimary,
      nodeId,
      log: logOptions,
    }
    const believed = [
      ...(await fs.start({ ...shared, recent: this.#recent.memory, fuseDebug })),
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
    log.info("mounted", { dir: fuseDir, role: role.kind, http: `${httpAddr.host}:${port}` })

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
          writtenTxid: isPrimary ? await fs.writtenTxid(database) : undefined,
          neededTxid: needed,
          retention: this.#options.retention,
        })
        api.countReaped(database, count)
        return count
      },
    })
    this.#closing.defer(() => retention.close())

    if (role.kind === "primary" || progress === undefined) return api.status.markReady()
    const lag = new LagTracker(this.#lag, systemClock, () => api.status.changed())
    this.#replica = new Replica({
      primaryUrl: role.primaryUrl,
      headers: { ...headers, ...authHeaders(authToken) },
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
        peer.setPrimary(name)
        api.setPrimaryName(name)
        this.#primaryName = name ?? this.#primaryName
        if (name === undefined) return
        lag.connected()
        progress.connected()
      },
      onUnknown: (database) => this.#noteUnknown(database),
      onHeartbeat: (timestampMs, applied) => lag.heartbeat(timestampMs, applied),
      onHead: (database, txid) => progress.head(database, txid),
      onClusterId: (id) => clusterId.check(id),
    })
    void this.#replica.ready.then(() => api.status.markReady())
    this.#closing.defer(() => this.#replica?.close())
  }

  #currentPositions(): Map<string, Pos> {
    const positions = new Map<string, Pos>()
    for (let slot = 0; slot < this.#positions.count; slot++) {
      positions.set(this.#positions.name(slot), this.#positions.read(slot).pos)
    }
    return positions
  }

  /** What the proxy knows of this node: it is the primary, or it never is. */
  #proxyCluster(
    status: NodeStatus,
    proxyUrls: { readonly ofPrimary: string | undefined },
  ): ProxyCluster {
    const positions = this.#positions
    const { hostname } = this.#options
    return {
      hostname,
      isHandingOff: false,
      epoch: 1n,
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
      position: (database) => {
        const slot = positions.find(database)
        return slot === undefined ? undefined : positions.read(slot).pos
      },
      onChange: (listener) => status.onChange(listener),
    }
  }

  #hasHistory(database: string): boolean {
    const slot = this.#positions.find(database)
    return slot !== undefined && this.#positions.read(slot).pos.txid > 0n
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

function newWorker(path: string): Worker {
  return new Worker(new URL(path, import.meta.url).href)
}
