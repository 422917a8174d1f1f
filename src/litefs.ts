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
import { makeClusterId, readClusterId, writeClusterId } from "./cluster/cluster-id.ts"
import { Replica } from "./cluster/replica.ts"
import { RetentionMonitor } from "./cluster/retention.ts"
import { Verifier } from "./cluster/verifier.ts"
import { handleExport } from "./http/export.ts"
import { handleImport } from "./http/import.ts"
import { ApiServer } from "./http/server.ts"
import {
  handleStream,
  neededTxid,
  type ReplicaStream,
  type Snapshot,
  type SnapshotSource,
} from "./http/stream.ts"
import { sleep, systemClock } from "./lib/clock.ts"
import { LitefsError } from "./lib/errors.ts"
import { logger } from "./lib/log.ts"
import type { LiteFSOptions } from "./litefs-options.ts"
import type { Pos } from "./ltx/pos.ts"
import { FsWorker } from "./mount/fs-worker.ts"
import { checkImport } from "./peer/check-worker.ts"
import { PeerWorker } from "./peer/peer-worker.ts"
import type { SnapshotFormat } from "./peer/snapshot-format.ts"
import { DataDir } from "./store/data-dir.ts"
import { Positions } from "./store/positions.ts"
import { SharedFlags } from "./store/shared-flags.ts"
import { closeFile } from "./sys/file.ts"
import { abortStaleMounts, mountFuse, unmount } from "./sys/mount.ts"
import { isDying } from "./sys/process.ts"

const log = logger("litefs")

export class LiteFS {
  readonly #options: LiteFSOptions
  readonly #closing = new AsyncDisposableStack()
  readonly #failed = Promise.withResolvers<Error>()
  readonly #mounted = Promise.withResolvers<void>()
  readonly #positions = Positions.create()
  readonly #flags = SharedFlags.create()
  readonly #listeners = new Set<() => void>()
  #clusterId: string | undefined
  #replica: Replica | undefined

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

  async close(): Promise<void> {
    await this.#closing.disposeAsync()
  }

  async #open(): Promise<void> {
    const { fuseDir, role, httpAddr, log: logOptions, fuseDebug, hostname } = this.#options
    const isPrimary = role.kind === "primary"
    const nodeId = randomBytes(8).readBigUInt64BE()

    const dataDir = new DataDir(this.#options.dataDir)
    dataDir.create()
    this.#closing.adopt(dataDir.lock(), closeFile)
    dataDir.createImports()
    this.#clusterId = readClusterId(dataDir.clusterIdPath)
    if (this.#clusterId === undefined && isPrimary) {
      this.#keepClusterId(
        dataDir,
        makeClusterId(() => randomBytes(8).readBigUInt64BE()),
      )
    }

    const headers = {
      "Litefs-Id": nodeId.toString(16).toUpperCase().padStart(16, "0"),
      "Litefs-Hostname": hostname,
      ...(this.#clusterId === undefined ? {} : { "Litefs-Cluster-Id": this.#clusterId }),
    }
    const onChange = () => this.#announceChange()
    const fail = (error: Error) => this.#failed.resolve(error)
    const peer = new PeerWorker(newWorker("./peer/thread.ts"), onChange, fail)
    const fs = new FsWorker(newWorker("./mount/thread.ts"), {
      changed: onChange,
      rewritten: (database) => peer.rewritten(database),
      publish: (database, last) => peer.publish(database, last),
      replaced: (request, outcome) => peer.replaced(request, outcome),
      segmentFull: (segment) => peer.releaseSegment(segment),
      failed: fail,
    })

    const stream = {
      positions: this.#positions,
      dataDir,
      clock: systemClock,
      snapshots: snapshotsOf(fs, peer, "ltx"),
      streams: new Set<ReplicaStream>(),
      onChange: (listener: () => void) => this.#subscribe(listener),
    }
    const raw = snapshotsOf(isPrimary ? fs : peer, peer, "raw")
    const exports = { files: this.#existing(dataDir, raw) }
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
    const server = new ApiServer(
      {
        "/stream": {
          POST: (request, response) => {
            if (!isPrimary) throw new LitefsError("no-primary", "lease expired")
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
      headers,
    )
    const port = await server.listen(httpAddr)
    this.#closing.defer(() => server.close())

    const shared = {
      dataDir: dataDir.root,
      positions: this.#positions.memory,
      flags: this.#flags.memory,
      isPrimary,
      nodeId,
      log: logOptions,
    }
    const believed = [
      ...(await fs.start({ ...shared, fuseDebug })),
      ...(await peer.start({ ...shared, fuseDir, mailboxFd: fs.mailboxFd })),
    ]

    const device = mountFuse(fuseDir)
    fs.serve(device)
    peer.mounted(device)
    this.#mounted.resolve()
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
      maintain: async (database, needed) =>
        peer.maintain({
          database,
          writtenTxid: isPrimary ? await fs.writtenTxid(database) : undefined,
          neededTxid: needed,
          retention: this.#options.retention,
        }),
    })
    this.#closing.defer(() => retention.close())

    if (role.kind === "primary") return
    this.#replica = new Replica({
      primaryUrl: role.primaryUrl,
      headers,
      clock: systemClock,
      sink: peer,
      positions: () => this.#currentPositions(),
      onPrimary: (name) => peer.setPrimary(name),
      onClusterId: (id) => this.#checkClusterId(dataDir, id),
    })
    this.#closing.defer(() => this.#replica?.close())
  }

  /** Of databases that there are, the only ones that the other threads are to be asked for. */
  #existing(dataDir: DataDir, source: SnapshotSource): SnapshotSource {
    return {
      snapshot: async (name) => {
        await this.#mounted.promise
        const slot = this.#positions.find(name)
        if (slot !== undefined) {
          return this.#positions.read(slot).commit === 0 ? undefined : source.snapshot(name)
        }
        if (!dataDir.databaseNames().includes(name)) return undefined
        throw new LitefsError(
          "damaged",
          `Cannot export "${name}": it is damaged, see the log and litefs doctor`,
        )
      },
    }
  }

  #currentPositions(): Map<string, Pos> {
    const positions = new Map<string, Pos>()
    for (let slot = 0; slot < this.#positions.count; slot++) {
      positions.set(this.#positions.name(slot), this.#positions.read(slot).pos)
    }
    return positions
  }

  #checkClusterId(dataDir: DataDir, id: string): void {
    if (this.#clusterId === undefined) this.#keepClusterId(dataDir, id)
    if (this.#clusterId === id) return
    throw new LitefsError(
      "unavailable",
      `it belongs to cluster ${id}, this node to ${this.#clusterId}, see ${dataDir.clusterIdPath}`,
    )
  }

  #keepClusterId(dataDir: DataDir, id: string): void {
    writeClusterId(dataDir.clusterIdPath, id)
    this.#clusterId = id
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

function newWorker(path: string): Worker {
  return new Worker(new URL(path, import.meta.url).href)
}

/** What keeps a database as it is: the thread that changes its file. */
type Freezer = Pick<FsWorker, "freeze">

function snapshotsOf(freezer: Freezer, peer: PeerWorker, format: SnapshotFormat): SnapshotSource {
  return {
    async snapshot(database): Promise<Snapshot | undefined> {
      const frozen = await freezer.freeze(database)
      if (frozen === undefined) return undefined
      const { snapshot, state, thaw } = frozen
      async function* parts(): AsyncGenerator<Uint8Array> {
        try {
          yield* peer.snapshot(snapshot, database, state, format)
        } finally {
          thaw()
        }
      }
      return { pos: state.pos, size: state.commit * state.pageSize, parts: parts() }
    },
  }
}
