/** The peer thread as seen from the main thread. */
import type { FrozenState } from "../capture/frozen-view.ts"
import { ownBytes } from "../lib/bytes.ts"
import { LitefsError } from "../lib/errors.ts"
import { Gate } from "../lib/gate.ts"
import { listen, type Offers, Port, portsOf } from "../lib/port.ts"
import type { Pos } from "../ltx/pos.ts"
import { type FrozenDatabase, freezeDatabase } from "../mount/frozen-database.ts"
import type { PeerHost, PeerThread } from "./contract.ts"
import type { HistoryVerdict } from "./receive/history-verdict.ts"
import type { SnapshotFormat } from "./serve/snapshot-format.ts"

/** Bytes of a snapshot to read ahead of the network. */
const SNAPSHOT_CREDIT = 512 * 1024

export type PeerListener = Pick<
  Offers<PeerHost>,
  "changed" | "refused" | "unmade" | "segmentMissing" | "replace" | "logged"
>

export class PeerWorker extends Port<PeerHost, PeerThread> {
  /** Hears the number and the size of a database's LTX files whenever they were counted. */
  onLtxUsage: (database: string, count: number, size: number) => void = () => {}
  /** Hears of a process, "PID (NAME)", that keeps what has come for the database waiting; undefined: no longer. */
  onWaiting: (database: string, process: string | undefined) => void = () => {}
  /** Hears what is durable (`stored`). */
  onStored: (database: string, pos: Pos) => void = () => {}
  readonly #failed: (error: Error) => void
  #hasFailed = false
  readonly #files = new Map<number, PromiseWithResolvers<void>>()
  readonly #snapshots = new Map<number, IncomingSnapshot>()
  #nextFile = 1 // for apply()

  constructor(worker: Worker, on: PeerListener, failed: (error: Error) => void) {
    super({
      send: (message) => worker.postMessage(message, portsOf(message)),
      offers: {
        ...on,
        failed: (message) => this.#fail(message),
        stored: (...told) => this.onStored(...told),
        applied: (file) => this.#takeFile(file)?.resolve(),
        refusedFile: (file, code, message) => {
          this.#takeFile(file)?.reject(new LitefsError(code, message))
        },
        snapshotPart: (snapshot, bytes) => this.#snapshots.get(snapshot)?.add(bytes),
        waiting: (...told) => this.onWaiting(...told),
        ltxUsage: (...counted) => this.onLtxUsage(...counted),
      },
    })
    this.#failed = failed
    listen(worker, this, "the peer thread", (problem) => this.#fail(problem))
  }

  /** Call it before the first part of the file. */
  judge(file: number, database: string, verdict: HistoryVerdict): void {
    this.tell("judge", file, database, verdict)
  }

  write(
    file: number,
    database: string,
    bytes: Uint8Array,
    isLast: boolean,
    taken: () => void,
  ): void {
    this.ask("ltx", file, database, ownBytes(bytes), isLast, taken)
  }

  applied(file: number): Promise<void> {
    const outcome = Promise.withResolvers<void>()
    this.#files.set(file, outcome)
    return outcome.promise
  }

  /** On the primary: a transaction of a lent database. Rejects when it cannot be applied. */
  async apply(
    database: string,
    parts: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  ): Promise<void> {
    const file = -this.#nextFile++ // files of a stream count up
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
    this.tell("abort", file)
  }

  /** On a replica: the database as it is now, kept until thaw(). */
  freeze(database: string): Promise<FrozenDatabase | undefined> {
    return freezeDatabase(
      (snapshot) => this.call("freeze", snapshot, database),
      (snapshot) => this.tell("thaw", snapshot),
    )
  }

  /** Parts of a frozen database in the given form, read on demand. */
  async *snapshot(
    snapshot: number,
    database: string,
    state: FrozenState,
    format: SnapshotFormat,
  ): AsyncGenerator<Uint8Array> {
    const incoming = new IncomingSnapshot()
    this.#snapshots.set(snapshot, incoming)
    this.ask("snapshot", snapshot, database, state, format, (outcome) => {
      incoming.end(outcome.kind === "failed" ? outcome.message : undefined)
    })
    this.tell("snapshotCredit", snapshot, SNAPSHOT_CREDIT)
    try {
      for (;;) {
        const part = incoming.parts.shift()
        if (part !== undefined) {
          yield part
          this.tell("snapshotCredit", snapshot, part.length)
        } else if (incoming.hasEnded) {
          if (incoming.problem === undefined) return
          throw new LitefsError("unavailable", incoming.problem)
        } else {
          await incoming.news.wait()
        }
      }
    } finally {
      this.#snapshots.delete(snapshot)
      if (!incoming.hasEnded) this.tell("cancelSnapshot", snapshot)
    }
  }

  #takeFile(file: number): PromiseWithResolvers<void> | undefined {
    const outcome = this.#files.get(file)
    this.#files.delete(file)
    return outcome
  }

  #fail(problem: string): void {
    if (this.#hasFailed) return
    this.#hasFailed = true
    const error = new LitefsError("io", `Cannot go on: ${problem}`)
    for (const file of this.#files.values()) file.reject(error)
    this.#files.clear()
    this.close(error)
    this.#failed(error)
  }
}

class IncomingSnapshot {
  readonly parts: Uint8Array[] = []
  readonly news = new Gate()
  hasEnded = false
  problem: string | undefined

  add(part: Uint8Array): void {
    this.parts.push(part)
    this.news.open()
  }

  end(problem: string | undefined): void {
    this.hasEnded = true
    this.problem = problem
    this.news.open()
  }
}
