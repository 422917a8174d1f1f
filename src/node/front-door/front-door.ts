/**
 * The third box of a node: everything through which others come to it, and what they hear. The API, a socket for
 * commands of this machine, and the proxy before the application.
 *
 *   new: what there is to tell, and who may ask for what
 *   open(): the proxy ─▶ the API ─▶ the socket
 *
 * It stands on the storage and on the membership.
 */
import packageJson from "../../../package.json" with { type: "json" }
import type {
  DatabaseRemark,
  LeaseStoreStatus,
  NodeIdentity,
  NodeStatus,
} from "../../cluster/node-status.ts"
import type { ElectedLease } from "../../cluster/role/elected-lease.ts"
import { Handoffs } from "../../cluster/role/handoffs.ts"
import { LEASE_PATH } from "../../cluster/role/lease.ts"
import { answerDocument } from "../../http/page/document.ts"
import { StatusPage } from "../../http/page/status-page.ts"
import { haltRoutes } from "../../http/roles/halt.ts"
import { roleRoutes } from "../../http/roles/roles.ts"
import { ApiServer } from "../../http/server/server.ts"
import type { TlsFiles } from "../../http/server/tls-files.ts"
import { StatusApi } from "../../http/status/status-api.ts"
import { StreamTotals } from "../../http/streams/stream-counters.ts"
import { systemClock } from "../../lib/clock.ts"
import { messageOf, withoutPaths } from "../../lib/errors.ts"
import { logger } from "../../lib/log.ts"
import type { LiteFSOptions } from "../../litefs-options.ts"
import { ProxyServer } from "../../proxy/proxy-server.ts"
import { systemProblem, watchFullDisk } from "../../sys/errno.ts"
import { fileSystemStatus } from "../../sys/file-status.ts"
import { isLoopback } from "../../sys/net/loopback.ts"
import { DatabaseFilter } from "../../wire/database-filter.ts"
import { PROXY_HEADER } from "../../wire/protocol.ts"
import type { Closing } from "../closing.ts"
import type { Membership } from "../membership/membership.ts"
import type { Outside } from "../membership/outside.ts"
import { isGuarded } from "../membership/this-node.ts"
import type { Storage } from "../storage/storage.ts"
import { FullDisk } from "./full-disk.ts"
import { proxiedNode } from "./proxied-node.ts"
import { ServedDatabases } from "./served-databases.ts"

const log = logger("litefs")

/** Paths that only nodes use among themselves. On other paths nobody is taken for a node. */
const NODE_PATHS = new Set([
  LEASE_PATH,
  ...["/stream", "/acknowledge", "/handoff", "/halt", "/tx", "/synced"],
])

export interface FrontDoorContext {
  readonly options: LiteFSOptions
  readonly storage: Storage
  readonly membership: Membership
  readonly tls: TlsFiles | undefined
  readonly closing: Closing
  /** A thread of peer/serve/check-thread.ts. */
  newCheckWorker(): Worker
}

export class FrontDoor implements Outside {
  readonly api: StatusApi
  readonly page: StatusPage
  readonly served: ServedDatabases
  readonly handoffs: Handoffs
  readonly #context: FrontDoorContext
  readonly #ready = Promise.withResolvers<void>()
  #proxy: ProxyServer | undefined
  #hasSaidMissing = false
  #port = 0
  #socketPath: string | undefined

  constructor(context: FrontDoorContext) {
    const { options, storage, membership, closing } = context
    const { dataDir, databases, lag, threads } = storage
    const { halting, member, others, streams, node, followed, sync } = membership
    this.#context = context
    const totals = new StreamTotals()
    const served = new ServedDatabases({
      ...{ databases, dataDir, threads, halting, member, others, streams, node, sync },
      clock: systemClock,
      counters: totals,
      snapshotRate: options.snapshotRate,
      primaryName: () => this.api.status.primaryName,
      newCheckWorker: () => context.newCheckWorker(),
    })
    const api = new StatusApi({
      identity: identityOf(context),
      measure: () => threads.measure(),
      captured: threads.captured,
      problem: () => {
        const { elected } = membership
        if (elected !== undefined && member.state === "primary" && !member.isHeld) {
          const why = api.status.problems.of("lease") ?? "another node may have it"
          return `this node takes no writes: it does not hold the lease, ${why}`
        }
        if (!databases.flags.isShort) return undefined
        threads.measure() // for the next request
        return "no more files can be opened, raise the limit (ulimit -n)"
      },
      remarks: () => this.#remarks(),
      durable: (database) => followed.durable(database),
      ...{ dataDir, lag, clock: systemClock, streams, totals, sync },
      positions: databases.positions,
      counters: databases.counters,
      get progress() {
        return followed.hasFollowed ? followed.progress : undefined
      },
    })
    databases.subscribe(() => api.positionsChanged())
    this.page = new StatusPage({
      ...{ status: api.status, positions: databases.positions, clock: systemClock },
      divergedCount: () => api.divergedCount,
      askPrimary: () => others.callPrimary("GET", "/nodes"),
    })
    closing.add("page", () => this.page.close())
    threads.peer.onLtxUsage = (database, count, size) => api.ltx.counted(database, { count, size })
    threads.peer.onWaiting = (database, process) => {
      const problem = process && `waiting for readers of "${database}": process ${process}`
      api.status.problems.tell("readers", problem, database)
      api.status.changed()
    }
    this.#watchDisk(api.status)
    closing.add("snapshots", () => served.close())
    this.handoffs = new Handoffs({
      ...{ member, lease: node.lease, streams, progress: followed.progress, clock: systemClock },
      ineligibility: () => node.ineligibility,
      isCandidate: node.isCandidate,
      positions: () => databases.livePositions(),
      primaryName: () => api.status.primaryName,
      isConnected: (limitMs) => api.status.isConnectedWithin(limitMs),
      lagMs: () => api.status.lag.ms,
      primaryUrl: () => others.urls.current,
      call: (url, method, path, body) => others.call(url, method, path, body),
      reach: (url) => others.reach(url),
      self: () => node.self,
      clusterId: () => node.clusterId.value,
      ownProblem: () => membership.ownProblem(),
      isLeaving: () => node.isLeaving,
      reconnect: () => membership.followed.reconnect(),
      hear: (headers, url) => others.check.hear(headers, url),
    })
    this.api = api
    this.served = served
  }

  /** Port of the API, from open() on. */
  get port(): number {
    return this.#port
  }

  /** Undefined when there is no socket. */
  get socketPath(): string | undefined {
    return this.#socketPath
  }

  /** Resolves when ready() was called. */
  get isReady(): Promise<void> {
    return this.#ready.promise
  }

  /** From here on requests come. */
  async open(): Promise<void> {
    const { options, storage, membership, closing } = this.#context
    const { node } = membership
    const { dataDir } = storage
    closing.add("proxy", () => this.#proxy?.close())
    this.#openProxy()
    const server = this.#server()
    this.#port = await server.listen(options.httpAddr)
    sayWhoMayUse(options, this.#port)
    closing.add("API", () => server.close())
    node.listensAt(this.#port)
    try {
      await server.listenLocally(dataDir.socketPath)
      this.#socketPath = dataDir.socketPath
    } catch (error) {
      const problem = systemProblem(error) ?? messageOf(error)
      log.warn("cannot make a socket for commands of this machine", { problem })
    }
  }

  ready(): void {
    this.api.status.markReady()
    this.#ready.resolve()
    this.#sayMissing()
    this.#sayUnmatched()
  }

  /** Names of --databases with a typing error would bring nothing here. The primary has told all that it has. */
  #sayUnmatched(): void {
    const { options, storage, membership } = this.#context
    const { role } = options
    if (role.kind === "primary" || role.databases === undefined || membership.member.isPrimary)
      return
    const names = [...storage.databases.livePositions().keys(), ...membership.followed.arriving]
    const unmatched = role.databases.filter((pattern) => {
      const filter = DatabaseFilter.of([pattern])
      return !names.some((name) => filter.matches(name))
    })
    if (unmatched.length === 0) return
    log.info("the primary has no database (yet) that --databases means", {
      databases: unmatched.join(", "),
    })
  }

  /** Once: a name with a typing error would track nothing, and nobody would notice. */
  #sayMissing(): void {
    const { options, storage, closing } = this.#context
    const { databases } = storage
    const missing = new Set(this.#hasSaidMissing ? [] : options.proxy?.databases)
    this.#hasSaidMissing = true
    const look = () => {
      const there = [...missing].filter((name) => (databases.position(name)?.txid ?? 0n) > 0n)
      for (const name of there) missing.delete(name)
      return there
    }
    look()
    if (missing.size === 0) return
    log.warn("the proxy tracks databases that do not exist (yet), see --proxy-db", {
      databases: [...missing].join(", "),
    })
    const stop = databases.subscribe(() => {
      for (const db of look()) log.info("a database that the proxy tracks is there now", { db })
      if (missing.size === 0) stop()
    })
    closing.defer(stop)
  }

  async settled(limitMs: number): Promise<number> {
    return (await this.#proxy?.settled(limitMs)) ?? 0
  }

  /** The API: the routes of all parts together, and what every answer says of the node. */
  #server(): ApiServer {
    const { options, storage, membership, tls } = this.#context
    const { node, others, member, halting, sync } = membership
    const { authToken, proxy } = options
    const { mounted } = storage.threads
    const clock = systemClock
    const proxyUrl = proxy?.advertiseUrl ?? (this.#proxy && `:${this.#proxy.port}`)
    return new ApiServer(
      {
        ...this.api.routes,
        ...this.page.routes,
        ...roleRoutes({ member, handoffs: this.handoffs, clock }),
        ...haltRoutes({
          ...{ locks: halting.locks, clock, id: node.id, mounted, sync },
          spoolPath: (number) => storage.dataDir.spoolPath(number),
          diskSize: () => {
            const { blocks, blockSize } = fileSystemStatus("data:statfs", storage.dataDir.root)
            return blocks * blockSize
          },
        }),
        ...this.served.routes,
      },
      {
        headers: {
          ...node.headers,
          ...(proxyUrl === undefined ? {} : { [PROXY_HEADER]: proxyUrl }),
        },
        changingHeaders: () => node.answerHeaders,
        ...{ authToken, tls, clock },
        isOwnName: (name) => node.isOwnName(name),
        answerPage: answerDocument,
        onRequest: (headers, path, from) => {
          if (NODE_PATHS.has(path)) others.check.hearRequest(headers, from)
        },
      },
    )
  }

  /** What is wrong with single databases, or on its way. */
  #remarks(): ReadonlyMap<string, DatabaseRemark> {
    const { storage, membership } = this.#context
    const { followed, member } = membership
    const remarks = new Map<string, DatabaseRemark>()
    const add = (name: string, problem: string | undefined) => {
      if (problem !== undefined)
        remarks.set(name, { isArriving: false, problem: withoutPaths(problem) })
    }
    if (!member.isPrimary) {
      for (const name of followed.foreign) remarks.set(name, { isArriving: false, isForeign: true })
      for (const name of followed.arriving) remarks.set(name, { isArriving: true })
      for (const [name, state] of followed.catalogue.leftOut) {
        add(
          name,
          `the primary ${state === "refused" ? "has refused" : "cannot read"} it, see its log`,
        )
      }
      for (const name of followed.refusals.leftOut) add(name, followed.refusals.problem(name))
    }
    const { leftOut } = this.served
    for (const name of leftOut.names()) add(name, leftOut.problem(name))
    for (const [name, problem] of storage.databases.unmade) add(name, problem)
    for (const [name, problem] of storage.databases.refused) add(name, problem)
    return remarks
  }

  #openProxy(): void {
    const { options, storage, membership } = this.#context
    if (options.proxy === undefined) return
    const { member, confirmation, followed } = membership
    const node = proxiedNode({
      captured: this.#context.storage.threads.captured,
      ...{ hostname: options.hostname, databases: storage.databases, status: this.api.status },
      ...{ member, confirmation, followed },
    })
    const proxy = new ProxyServer(options.proxy, node, systemClock)
    this.#proxy = proxy
    this.api.tellAlso(() => proxy.families())
    log.info("proxy", { address: `${options.proxy.address.host}:${proxy.port}` })
  }

  #watchDisk(status: NodeStatus): void {
    const { storage, closing } = this.#context
    const { flags } = storage.databases
    const disk = new FullDisk({
      ...{ path: storage.dataDir.root, flags, problems: status.problems, clock: systemClock },
      changed: () => status.changed(),
    })
    storage.databases.subscribe(() => disk.look())
    watchFullDisk(() => {
      flags.noteFull()
      queueMicrotask(() => disk.look())
    })
    disk.watch(() => storage.threads.capture?.mode === "behind")
    closing.add("disk", () => disk.close())
  }
}

function identityOf({ options, storage, membership }: FrontDoorContext): NodeIdentity {
  const { node, others, member, followed } = membership
  const { lease, clusterId } = node
  return {
    id: lease.id,
    hostname: options.hostname,
    version: packageJson.version,
    dataDir: storage.dataDir.root,
    fuseDir: options.fuseDir,
    get advertiseUrl() {
      return node.url
    },
    get isPrimary() {
      return member.isPrimary
    },
    get primaryUrl() {
      if (member.isPrimary) return undefined
      return node.primaryUrl === undefined ? others.urls.known : others.urls.current
    },
    isCandidate: node.isCandidate,
    lease: () => lease.record,
    leaseStore: () => leaseStoreOf(membership.elected),
    clusterId: () => clusterId.value,
    capture: () => storage.threads.capture,
    proxyUrl: () => (member.isPrimary ? options.proxy?.advertiseUrl : followed.proxyUrl),
  }
}

function leaseStoreOf(elected: ElectedLease | undefined): LeaseStoreStatus | undefined {
  if (elected === undefined) return undefined
  const { kind, where, isHeld, leftMs, holder } = elected
  return { type: kind, store: where, isHeld, leftMs, holder }
}

/** Whoever reaches the API and needs to show nothing: other machines, or every user of this one. */
function sayWhoMayUse(options: LiteFSOptions, port: number): void {
  if (isGuarded(options)) return
  const http = `${options.httpAddr.host}:${port}`
  if (isLoopback(options.httpAddr.host)) {
    log.info(
      "every user of this machine can export, import and promote, --auth-token-file ends that",
      {
        http,
      },
    )
    return
  }
  log.warn("anybody who reaches the API can read and replace databases, set --auth-token-file", {
    http,
  })
}
