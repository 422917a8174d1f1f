/**
 * A node of the simulation: the product's membership (node/membership/membership.ts) with all that it is made of, its
 * threads as the main thread sees them, its API with the routes between nodes, and what it serves to replicas. It lives
 * on a simulated machine, which has a name, a disk and a clock, and survives it.
 */

import { NodeStatus } from "../../src/cluster/node-status.ts"
import { Handoffs } from "../../src/cluster/role/handoffs.ts"
import { LEASE_PATH } from "../../src/cluster/role/lease.ts"
import type { LeaseStore } from "../../src/cluster/stores/lease-store.ts"
import { haltRoutes } from "../../src/http/roles/halt.ts"
import { roleRoutes } from "../../src/http/roles/roles.ts"
import { ApiServer } from "../../src/http/server/server.ts"
import { ancestryBy } from "../../src/http/streams/ancestry.ts"
import type { PastTransactions } from "../../src/http/streams/past-transactions.ts"
import type { LiteFSOptions, RoleOptions, SyncOptions } from "../../src/litefs-options.ts"
import { decodeLtxHeader, LTX_HEADER_SIZE } from "../../src/ltx/header.ts"
import { Closing } from "../../src/node/closing.ts"
import { ServedDatabases } from "../../src/node/front-door/served-databases.ts"
import { Membership } from "../../src/node/membership/membership.ts"
import type { Outside } from "../../src/node/membership/outside.ts"
import { Databases, type SharedTables } from "../../src/node/storage/databases.ts"
import { Threads } from "../../src/node/storage/threads.ts"
import type { Surroundings } from "../../src/node/surroundings.ts"
import { DataDir } from "../../src/store/data-dir.ts"
import { SharedLag } from "../../src/store/shared-lag.ts"
import type { Random } from "../support/random.ts"
import type { Canary } from "./canaries.ts"
import { Disk } from "./disk.ts"
import { SimulatedFsThread } from "./fs-thread.ts"
import { Connections, requestsOf } from "./http.ts"
import type { Network } from "./network.ts"
import { SimulatedPeerThread } from "./peer-thread.ts"
import { Process, type Scheduler } from "./scheduler.ts"
import { type Account, WriteLocks } from "./shared.ts"

export interface MachineOptions {
  readonly name: string
  readonly role: RoleOptions
  readonly peers: readonly string[]
  readonly sync: SyncOptions | undefined
  readonly isCandidate: boolean
}

/** What all machines of the simulation have in common. */
export interface World {
  readonly scheduler: Scheduler
  readonly network: Network
  readonly random: Random
  readonly account: Account
  readonly canary: Canary | undefined
  newStore(process: Process): LeaseStore
  newTables(): SharedTables
}

export function urlOf(name: string): string {
  return `http://${name}:${portOf(name)}`
}

/** Every machine has another one: none is taken for another without asking a name server. */
function portOf(name: string): number {
  return 20_000 + name.charCodeAt(0)
}

export class Machine {
  readonly name: string
  readonly disk: Disk
  readonly world: World
  readonly options: MachineOptions
  readonly #connections = new Connections()
  /** The machine's clock goes a little too fast, or too slow. */
  readonly #rate: number
  #hasPower = true
  node: Node | undefined
  wallOffsetMs = 0
  startCount = 0

  constructor(world: World, options: MachineOptions) {
    this.world = world
    this.options = options
    this.name = options.name
    this.disk = new Disk(world.scheduler, world.random)
    this.#rate = 1 + (world.random.u32() / 2 ** 32 - 0.5) * 0.002
  }

  get isUp(): boolean {
    return this.node !== undefined
  }

  get hasPower(): boolean {
    return this.#hasPower
  }

  start(): void {
    if (this.node !== undefined) return
    const { scheduler, random, network } = this.world
    if (!this.#hasPower) network.setUp(this.name, true)
    this.#hasPower = true
    this.startCount += 1
    const process = new Process(this.name, scheduler, random, this.#rate)
    process.wallOffsetMs = this.wallOffsetMs
    const node = new Node(this, process, this.#connections)
    this.node = node
    process.run(() => node.start())
  }

  /** SIGKILL. */
  kill(): void {
    const { node } = this
    if (node === undefined) return
    this.node = undefined
    node.process.end()
    this.#connections.processEnded(node.process)
  }

  cutPower(): void {
    this.#hasPower = false
    this.world.network.setUp(this.name, false)
    this.kill()
    this.disk.cutPower()
  }

  /** SIGTERM. Resolves when the process has ended. */
  async stop(): Promise<void> {
    const { node } = this
    if (node === undefined) return
    await node.stop()
    if (this.node === node) this.kill()
  }
}

export class Node {
  readonly process: Process
  readonly membership: Membership
  readonly handoffs: Handoffs
  readonly databases: Databases
  readonly fs: SimulatedFsThread
  /** Why it cannot go on, or could not start. */
  failure: Error | undefined
  readonly #closing: Closing
  readonly #threads: Threads
  readonly #served: ServedDatabases
  readonly #server: ApiServer
  readonly #outside: Outside
  readonly #status: NodeStatus
  readonly #name: string
  readonly #network: Network
  #isLeaving = false

  constructor(machine: Machine, process: Process, connections: Connections) {
    const { world, options, disk, name } = machine
    const { network, account, canary } = world
    const { clock } = process
    this.#name = name
    this.#network = network
    this.process = process
    const closing = new Closing(clock)
    this.#closing = closing
    const surroundings: Surroundings = {
      clock,
      bootMs: () => process.machineMs,
      randomBytes: (size) => Buffer.from(process.random.bytes(size)),
      files: disk.files,
      request: requestsOf(network, connections, process),
      openStore: () => world.newStore(process),
    }
    const litefsOptions = optionsOf(options)
    const fail = (error: Error) => {
      this.failure ??= error
    }
    const databases = new Databases(world.newTables())
    this.databases = databases
    const lag = SharedLag.create(false)
    const dataDir = new SimulatedDataDir(disk, name)
    const shared = {
      ...{ process, databases, disk, account, canary, frozen: new Map() },
      locks: new WriteLocks(process),
      nodeId: () => BigInt(`0x${this.membership.node.id}`),
    }
    this.fs = new SimulatedFsThread(shared, options.sync?.mode)
    const peer = new SimulatedPeerThread(shared, this.fs)
    const threads = new Threads(
      {
        fs: this.fs.worker as unknown as Worker,
        peer: peer.worker as unknown as Worker,
        mailbox: {
          send: (message) => this.fs.worker.postMessage(message),
          ...{ readFd: -1, writeFd: -1, beside: undefined as never },
        },
      },
      {
        ...{ options: litefsOptions, dataDir, access: undefined, databases, lag, fail },
        segments: { missing: () => {} },
      },
    )
    this.#threads = threads
    const storage = { dataDir, filter: undefined, databases, lag, threads }
    const membership = new Membership({
      ...{ options: litefsOptions, surroundings, storage, tls: undefined, closing, fail },
    })
    this.membership = membership
    const { halting, member, others, streams, node, followed, sync } = membership
    this.#served = new ServedDatabases({
      ...{ databases, dataDir, clock, threads, halting, member, others, streams, node, sync },
      past: pastOn(disk),
      counters: { frame() {}, bytes() {} },
      snapshotRate: undefined,
      primaryName: () => this.#status.primaryName,
      newCheckWorker: () => {
        throw new Error("nobody imports here")
      },
    })
    this.#status = new NodeStatus(
      {
        ...{ id: node.id, hostname: name, version: "0", dataDir: dataDir.root, fuseDir: "/mnt" },
        ...{ isCandidate: node.isCandidate, lease: () => node.lease.record },
        get isPrimary() {
          return member.isPrimary
        },
      } as never,
      {
        ...{ positions: databases.positions, lag, clock, sync, replicas: () => streams as never },
        missing: (...asked) => followed.progress.missing(...asked),
      },
    )
    const status = this.#status
    this.handoffs = new Handoffs({
      ...{ member, lease: node.lease, streams, progress: followed.progress, clock },
      ineligibility: () => node.ineligibility,
      isCandidate: node.isCandidate,
      positions: () => databases.livePositions(),
      primaryName: () => status.primaryName,
      isConnected: (limitMs) => status.isConnectedWithin(limitMs),
      lagMs: () => status.lag.ms,
      primaryUrl: () => others.urls.current,
      call: (...call) => others.call(...call),
      reach: (url) => others.reach(url),
      self: () => node.self,
      clusterId: () => node.clusterId.value,
      ownProblem: () => membership.ownProblem(),
      isLeaving: () => node.isLeaving,
      reconnect: () => followed.reconnect(),
      hear: (headers, url) => others.check.hear(headers, url),
    })
    this.#outside = {
      api: {
        status,
        setPrimaryName: (primary) => status.setPrimaryName(primary),
        roleChanged: () => status.changed(),
      },
      ready: () => status.markReady(),
      handoffs: this.handoffs,
      settled: async () => 0,
    }
    this.#server = new ApiServer(
      {
        ...roleRoutes({ member, handoffs: this.handoffs, clock }),
        ...haltRoutes({
          ...{ locks: halting.locks, clock, id: node.id, mounted: Promise.resolve(), sync },
          spoolPath: (number) => dataDir.spoolPath(number),
          diskSize: () => 0,
        }),
        ...this.#served.routes,
      },
      {
        ...{ headers: node.headers, authToken: undefined, tls: undefined, clock },
        changingHeaders: () => node.answerHeaders,
        onRequest: (headers, path, from) => {
          if (NODE_PATHS.has(path)) others.check.hearRequest(headers, from)
        },
      },
    )
  }

  /** As litefs.ts does it. */
  start(): void {
    this.#network.listen(urlOf(this.#name), { process: this.process, answer: this.#server.answer })
    this.#start().catch((error) => {
      this.failure ??= error
    })
  }

  async #start(): Promise<void> {
    const { membership } = this
    const outside = this.#outside
    this.#closing.add("snapshots", () => this.#served.close())
    const isPrimary = await membership.begin(outside, portOf(this.#name))
    await this.#threads.start({ isPrimary, ...membership.forThreads })
    membership.watch()
    membership.start(outside)
  }

  async stop(): Promise<void> {
    if (this.#isLeaving) return
    this.#isLeaving = true
    this.membership.leaving()
    await this.handoffs.leave(false)
    await this.#closing.close()
  }

  /** Whether it may commit now, as its fs thread sees it. */
  get mayCommit(): boolean {
    const { member } = this.membership
    const isOver = this.process.machineMs >= this.databases.flags.commitUntilMs
    return member.state === "primary" && !isOver
  }
}

class SimulatedDataDir extends DataDir {
  readonly #disk: Disk

  constructor(disk: Disk, name: string) {
    super(`/simulated/${name}`)
    this.#disk = disk
  }

  override databaseNames(): string[] {
    return this.#disk.names
  }
}

/** As node/front-door/front-door.ts has them. */
const NODE_PATHS = new Set([
  LEASE_PATH,
  ...["/stream", "/acknowledge", "/handoff", "/halt", "/tx", "/synced"],
])

function optionsOf({ name, role, peers, sync, isCandidate }: MachineOptions): LiteFSOptions {
  return {
    ...{ fuseDir: "/mnt", dataDir: `/simulated/${name}`, role, hostname: name, peers, isCandidate },
    advertiseUrl: urlOf(name),
    httpAddr: { host: name, port: portOf(name) },
    retention: { ageMs: 0, intervalMs: 0, sizeMax: 0 },
    ...(sync && { sync }),
    capture: { wanted: "strict" },
    fuseDebug: false,
    log: { level: "info", format: "plain" },
  }
}

/** The LTX files of the simulated disk. */
function pastOn(disk: Disk): PastTransactions {
  return {
    names: () => disk.names,
    dropped: () => undefined,
    following: async (database, known) => {
      const found = disk.following(database, known)
      if (found === undefined) return undefined
      const header = decodeLtxHeader(found.bytes.subarray(0, LTX_HEADER_SIZE))
      return { path: "", header, pos: found.after.pos, bytes: found.bytes }
    },
    compacted: async () => undefined,
    ancestry: (database, known, pos) =>
      ancestryBy((txid) => disk.checksumAt(database, txid), known, pos),
  }
}
