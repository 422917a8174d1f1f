/** The peer thread as the main thread sees it. */
import type { FrozenState } from "../capture/frozen-view.ts"
import type { LastTransaction } from "../capture/wal-tracker.ts"
import { must, unreachable } from "../lib/assert.ts"
import { LitefsError } from "../lib/errors.ts"
import { Gate } from "../lib/gate.ts"
import type { Txid } from "../ltx/pos.ts"
import type { MaintenanceRequest } from "./maintenance.ts"
import type { PeerCommand, PeerEvent, PeerThreadOptions } from "./messages.ts"

/** So many bytes of a snapshot are read ahead of the network. */
const SNAPSHOT_CREDIT = 512 * 1024

export class PeerWorker {
  readonly #worker: Worker
  readonly #ready = Promise.withResolvers<void>()
  readonly #settled = Promise.withResolvers<void>()
  readonly #maintained = new Map<string, PromiseWithResolvers<number>>()
  readonly #publishing: (() => void)[] = [] // answered in order
  readonly #detached = Promise.withResolvers<void>()
  readonly #failed: (error: Error) => void
  readonly #onChange: () => void
  readonly #files = new Map<number, PromiseWithResolvers<void>>()
  readonly #taken: (() => void)[] = []
  readonly #snapshots = new Map<number, IncomingSnapshot>()

  constructor(worker: Worker, onChange: () => void, failed: (error: Error) => void) {
    this.#worker = worker
    this.#onChange = onChange
    this.#failed = failed
    worker.onmessage = ({ data }: MessageEvent<PeerEvent>) => this.#handle(data)
    worker.onerror = (event) => this.#fail(event.message)
  }

  async start(options: PeerThreadOptions): Promise<void> {
    this.#tell({ type: "start", options })
    await this.#ready.promise
  }

  mounted(device: number): void {
    this.#tell({ type: "mounted", device })
  }

  setPrimary(name: string | undefined): void {
    this.#tell({ type: "primary", name })
  }

  /** Syncs a database and removes LTX files nobody needs. Resolves with how many. */
  async maintain(
    request: Omit<MaintenanceRequest, "writtenTxid"> & { readonly writtenTxid: Txid | undefined },
  ): Promise<number> {
    const outcome = Promise.withResolvers<number>()
    this.#maintained.set(request.database, outcome)
    this.#tell({ type: "maintain", request })
    return outcome.promise
  }

  /** Resolves when the transaction is published, or cannot be. */
  async publish(database: string, last: LastTransaction): Promise<void> {
    const outcome = Promise.withResolvers<void>()
    this.#publishing.push(outcome.resolve)
    this.#tell({ type: "publish", database, last })
    await outcome.promise
  }

  releaseSegment(segment: number): void {
    this.#tell({ type: "release-segment", segment })
  }

  rewritten(database: string): void {
    this.#tell({ type: "rewritten", database })
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

  write(
    file: number,
    database: string,
    bytes: Uint8Array,
    isLast: boolean,
    taken: () => void,
  ): void {
    this.#taken.push(taken)
    this.#tell({ type: "ltx", file, database, bytes, isLast })
  }

  applied(file: number): Promise<void> {
    const outcome = Promise.withResolvers<void>()
    this.#files.set(file, outcome)
    return outcome.promise
  }

  abort(file: number): void {
    this.#tell({ type: "ltx-abort", file })
  }

  /** Parts of the LTX file of a frozen database, read as they are asked for. */
  async *snapshot(
    snapshot: number,
    database: string,
    state: FrozenState,
  ): AsyncGenerator<Uint8Array> {
    const incoming = new IncomingSnapshot()
    this.#snapshots.set(snapshot, incoming)
    this.#tell({ type: "snapshot", snapshot, database, state })
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
        return this.#ready.resolve()
      case "failed":
        return this.#fail(event.message)
      case "changed":
        return this.#onChange()
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
      case "maintained":
        this.#maintained.get(event.database)?.resolve(event.removed)
        this.#maintained.delete(event.database)
        return
      case "published":
        return must(this.#publishing.shift(), "transaction to publish")()
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
    const error = new Error(message)
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
