/** The peer thread as the main thread sees it. */
import type { FrozenState } from "../capture/frozen-view.ts"
import type { DatabaseHandover } from "../capture/handover.ts"
import type { LastTransaction } from "../capture/wal-tracker.ts"
import { must, unreachable } from "../lib/assert.ts"
import { Caller } from "../lib/calls.ts"
import { LitefsError } from "../lib/errors.ts"
import { Gate } from "../lib/gate.ts"
import type { Pos } from "../ltx/pos.ts"
import type { FrozenDatabase } from "../mount/fs-worker.ts"
import type { CachedRange } from "../mount/messages.ts"
import type { ReplaceOutcome } from "../mount/names/replace.ts"
import type {
  PeerCalls,
  PeerCommand,
  PeerEvent,
  PeerThreadOptions,
  UpkeepRequest,
} from "./messages.ts"
import type { HistoryVerdict } from "./receive/history-verdict.ts"
import type { SnapshotFormat } from "./serve/snapshot-format.ts"

/** So many bytes of a snapshot are read ahead of the network. */
const SNAPSHOT_CREDIT = 512 * 1024

export class PeerWorker {
  /** Told how many LTX files a database has, and their size, whenever they were counted. */
  onLtxUsage: (database: string, count: number, size: number) => void = () => {}
  /** Told of databases that are damaged, and why. */
  onRefused: (database: string, problem: string) => void = () => {}
  /** Told of segments of the commit log that are not there. */
  onSegmentMissing: (segment: number) => void = () => {}
  readonly #worker: Worker
  readonly #ready = Promise.withResolvers<readonly string[]>()
  readonly #calls = new Caller<PeerCalls>((call) => this.#tell(call))
  readonly #settled = Promise.withResolvers<void>()
  readonly #detached = Promise.withResolvers<void>()
  readonly #failed: (error: Error) => void
  #hasFailed = false
  readonly #onChange: () => void
  readonly #files = new Map<number, PromiseWithResolvers<void>>()
  readonly #taken: (() => void)[] = []
  readonly #snapshots = new Map<number, IncomingSnapshot>()
  /** How often a state of a database had to be kept that the primary does not have. */
  divergenceCount = 0
  #nextNumber = 1 // of snapshots, locks and files

  constructor(worker: Worker, onChange: () => void, failed: (error: Error) => void) {
    this.#worker = worker
    this.#onChange = onChange
    this.#failed = failed
    worker.onmessage = ({ data }: MessageEvent<PeerEvent>) => this.#handle(data)
    worker.onerror = (event) => this.#fail(event.message)
    worker.addEventListener("close", () => this.#fail("the peer thread has ended"))
  }

  async start(options: PeerThreadOptions): Promise<readonly string[]> {
    this.#tell({ type: "start", options })
    return this.#ready.promise
  }

  mounted(device: number): void {
    this.#tell({ type: "mounted", device })
  }

  setPrimary(name: string | undefined): void {
    this.#tell({ type: "primary", name })
  }

  /** Syncs a database and removes LTX files nobody needs. Resolves with how many. */
  maintain(request: UpkeepRequest): Promise<number> {
    return this.#calls.call("maintain", { request })
  }

  /** Resolves when the transaction is published, or cannot be. */
  publish(database: string, last: LastTransaction): Promise<void> {
    return this.#calls.call("publish", { database, last })
  }

  releaseSegment(segment: number): void {
    this.#tell({ type: "release-segment", segment })
  }

  measure(): void {
    this.#tell({ type: "measure" })
  }

  makeSpares(): void {
    this.#tell({ type: "make-spares" })
  }

  rewritten(database: string): void {
    this.#tell({ type: "rewritten", database })
  }

  retire(database: string): void {
    this.#tell({ type: "retire", database })
  }

  vanished(name: string): void {
    this.#tell({ type: "vanished", name })
  }

  /** Tells the kernel to forget what was not written. */
  writeRefused({ nodeId, offset, size }: CachedRange): void {
    this.#tell({ type: "write-refused", nodeId, offset, size })
  }

  /** On the primary: makes a database without content. Nothing happens when it is there. */
  makeDatabase(database: string): Promise<void> {
    return this.#calls.call("make-database", { database })
  }

  /** Locks `<db>-lock` before any client can: see halt-bytes.ts. */
  holdLockFile(database: string): Promise<void> {
    return this.#calls.call("hold-lock-file", { database })
  }

  lockFileGranted(database: string, isGranted: boolean): void {
    this.#tell({ type: "lock-file-granted", database, isGranted })
  }

  letLockFileGo(database: string): void {
    this.#tell({ type: "let-lock-file-go", database })
  }

  /**
   * Keeps clients from writing to the databases, until unlockWrites() with the number that is returned; rejects when
   * that takes too long. `isApplying`: the peer thread itself applies transactions meanwhile.
   */
  async lockWrites(
    databases: readonly string[],
    limitMs: number,
    isApplying = false,
  ): Promise<number> {
    const lock = this.#nextNumber++
    await this.#calls.call("lock-writes", { lock, databases, limitMs, isApplying })
    return lock
  }

  unlockWrites(lock: number): void {
    this.#tell({ type: "unlock-writes", lock })
  }

  /** Gives one database up, for the fs thread, when what has come is applied; then letGoOf(). */
  give(database: string): Promise<DatabaseHandover> {
    return this.#calls.call("give", { database })
  }

  /** The fs thread has taken the database: clients may write it. */
  letGoOf(database: string): Promise<void> {
    return this.#calls.call("let-go-of", { database })
  }

  /** Takes one database. `lock` keeps clients from writing to it, and stays. */
  take(handover: DatabaseHandover, lock?: number): Promise<void> {
    return this.#calls.call("take", { handover, lock })
  }

  /** Ends applying, when what has come is applied. What it resolves with is for the fs thread. */
  handOver(): Promise<readonly DatabaseHandover[]> {
    return this.#calls.call("hand-over")
  }

  /** The fs thread has taken over: clients may write. */
  letGo(): Promise<void> {
    return this.#calls.call("let-go")
  }

  /** Begins to apply, on what the fs thread has handed over. */
  takeOver(handovers: readonly DatabaseHandover[]): Promise<void> {
    return this.#calls.call("take-over", { handovers })
  }

  /** After the mount has gone. */
  async settle(): Promise<void> {
    this.#tell({ type: "settle" })
    await this.#settled.promise
  }

  /** Closes everything that is open in the mount. */
  async detach(): Promise<void> {
    this.#tell({ type: "detach" })
    await this.#detached.promise
  }

  /** To be called before the first part of the file. */
  judge(file: number, database: string, verdict: HistoryVerdict): void {
    this.#tell({ type: "verdict", file, database, verdict })
  }

  write(
    file: number,
    database: string,
    bytes: Uint8Array,
    isLast: boolean,
    taken: () => void,
  ): void {
    this.#taken.push(taken)
    // A message copies all of the memory that bytes lie in, twice. Of a copy of its own only the owner changes.
    const own = new Uint8Array(bytes)
    const command: PeerCommand = { type: "ltx", file, database, bytes: own, isLast }
    this.#worker.postMessage(command, [own.buffer])
  }

  applied(file: number): Promise<void> {
    const outcome = Promise.withResolvers<void>()
    this.#files.set(file, outcome)
    return outcome.promise
  }

  /** On the primary: a transaction of a database that is lent. Rejects when it cannot be applied. */
  async apply(
    database: string,
    parts: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  ): Promise<void> {
    const file = -this.#nextNumber++ // files of a stream count up
    const applied = this.applied(file)
    let isRefused = false
    applied.catch(() => {
      isRefused = true
    })
    const put = async (bytes: Uint8Array, isLast: boolean) => {
      const taken = Promise.withResolvers<void>()
      this.write(file, database, bytes, isLast, taken.resolve)
      if (!isLast) await taken.promise
    }
    try {
      let last: Uint8Array = new Uint8Array(0)
      for await (const part of parts) {
        if (last.length > 0) await put(last, false)
        if (isRefused) break
        last = part
      }
      if (!isRefused) await put(last, true)
    } catch (error) {
      this.abort(file)
      throw error
    }
    await applied
  }

  abort(file: number): void {
    this.#files.delete(file)
    this.#tell({ type: "ltx-abort", file })
  }

  /** On a replica: the database as it is now, kept until thaw(). */
  async freeze(database: string): Promise<FrozenDatabase | undefined> {
    const snapshot = this.#nextNumber++
    const state = await this.#calls.call("freeze", { snapshot, database })
    if (state === undefined) return undefined
    return { snapshot, state, thaw: () => this.#tell({ type: "thaw", snapshot }) }
  }

  /**
   * On the primary: puts the content of DataDir.importPath(file) in the place of the database. Resolves with
   * undefined when it has to be prepared again.
   */
  import(database: string, file: number): Promise<Pos | undefined> {
    return this.#calls.call("import", { database, file })
  }

  /** The fs thread has answered. */
  replaced(request: number, outcome: ReplaceOutcome): void {
    this.#tell({ type: "replaced", request, outcome })
  }

  /** Parts of a frozen database in the given form, read as they are asked for. */
  async *snapshot(
    snapshot: number,
    database: string,
    state: FrozenState,
    format: SnapshotFormat,
  ): AsyncGenerator<Uint8Array> {
    const incoming = new IncomingSnapshot()
    this.#snapshots.set(snapshot, incoming)
    this.#tell({ type: "snapshot", snapshot, database, state, format })
    this.#tell({ type: "snapshot-credit", snapshot, size: SNAPSHOT_CREDIT })
    try {
      for (;;) {
        const part = incoming.parts.shift()
        if (part !== undefined) {
          yield part
          this.#tell({ type: "snapshot-credit", snapshot, size: part.length })
        } else if (incoming.hasEnded) {
          if (incoming.problem === undefined) return
          throw new LitefsError("unavailable", incoming.problem)
        } else {
          await incoming.news.wait()
        }
      }
    } finally {
      this.#snapshots.delete(snapshot)
      if (!incoming.hasEnded) this.#tell({ type: "snapshot-cancel", snapshot })
    }
  }

  #tell(command: PeerCommand): void {
    this.#worker.postMessage(command)
  }

  #handle(event: PeerEvent): void {
    switch (event.type) {
      case "ready":
        return this.#ready.resolve(event.believed)
      case "refused-database":
        return this.onRefused(event.database, event.problem)
      case "segment-missing":
        return this.onSegmentMissing(event.segment)
      case "failed":
        return this.#fail(event.message)
      case "changed":
        return this.#onChange()
      case "diverged":
        this.divergenceCount += 1
        return
      case "taken":
        return must(this.#taken.shift(), "part of an LTX file")()
      case "applied":
        return this.#takeFile(event.file)?.resolve()
      case "refused":
        return this.#takeFile(event.file)?.reject(new LitefsError(event.code, event.message))
      case "snapshot-data": {
        const incoming = this.#snapshots.get(event.snapshot)
        incoming?.parts.push(event.bytes)
        incoming?.news.open()
        return
      }
      case "snapshot-end":
        this.#snapshots.get(event.snapshot)?.end(event.problem)
        return
      case "answered":
        return this.#calls.answered(event)
      case "ltx-usage":
        return this.onLtxUsage(event.database, event.count, event.size)
      case "settled":
        return this.#settled.resolve()
      case "detached":
        return this.#detached.resolve()
      default:
        unreachable(event)
    }
  }

  #takeFile(file: number): PromiseWithResolvers<void> | undefined {
    const outcome = this.#files.get(file)
    this.#files.delete(file)
    return outcome
  }

  #fail(message: string): void {
    if (this.#hasFailed) return
    this.#hasFailed = true
    const error = new LitefsError("io", `Cannot go on: ${message}`)
    this.#calls.fail(error)
    for (const file of this.#files.values()) file.reject(error)
    this.#files.clear()
    for (const snapshot of this.#snapshots.values()) snapshot.end(error.message)
    for (const taken of this.#taken.splice(0)) taken()
    this.#ready.reject(error)
    this.#detached.resolve()
    this.#settled.resolve()
    this.#failed(error)
  }
}

class IncomingSnapshot {
  readonly parts: Uint8Array[] = []
  readonly news = new Gate()
  hasEnded = false
  problem: string | undefined

  end(problem: string | undefined): void {
    this.hasEnded = true
    this.problem = problem
    this.news.open()
  }
}
