/**
 * How far a replica is behind: what has come from the primary and is not applied yet, and how long an apply takes.
 *
 * It stands between the stream and the peer thread, and passes everything on. What the primary still has to send is
 * known as far as the primary tells (`head`), which it does when that is more than the next transaction.
 */
import type { Clock } from "../../lib/clock.ts"
import { Histogram } from "../../lib/histogram.ts"
import { isSnapshot } from "../../ltx/header.ts"
import type { Txid } from "../../ltx/pos.ts"
import { headerIfAny } from "../../ltx/span.ts"
import type { SharedLag } from "../../store/shared-lag.ts"
import type { LtxSink } from "./incoming-stream.ts"

/** No node has more databases (store/positions.ts). */
const COUNT_MAX = 16_384

/** Counts of a database. */
export interface Received {
  transactions: number
  bytes: number
  snapshots: number
  /** Snapshots that replaced a history: it was another one, or too old. */
  replacements: number
  refusals: number
  /** From the commit of the last transaction to its apply. */
  latencyMs: number
}

interface Progress {
  readonly received: Received
  headTxid: Txid // the last one known to be at the primary
  waitingSize: number // bytes of files that wait to be applied
}

/** A whole database that is coming in. */
export interface ArrivingSnapshot {
  readonly database: string
  readonly size: number // bytes so far
  readonly sizeMax: number // bytes of the database; what comes is compressed
}

interface Incoming {
  readonly progress: Progress
  readonly database: string
  readonly snapshotSizeMax: number | undefined // of a snapshot
  size: number
  arrivedMs: number
  timestampMs: number // of the commit, by the primary's clock
}

export class ReplicaProgress implements LtxSink {
  readonly applyTime = new Histogram()
  readonly #sink: LtxSink
  readonly #clock: Clock
  readonly #hasHistory: (database: string) => boolean
  readonly #isListed: (database: string) => boolean
  readonly #lag: SharedLag
  readonly #databases = new Map<string, Progress>()
  readonly #files = new Map<number, Incoming>()
  #size = 0
  #appliedCount = 0

  /** `hasHistory`: the database is here; `isListed`: the primary has listed it. */
  constructor(
    sink: LtxSink,
    clock: Clock,
    lag: SharedLag,
    { hasHistory, isListed }: Record<"hasHistory" | "isListed", (database: string) => boolean>,
  ) {
    this.#sink = sink
    this.#clock = clock
    this.#lag = lag
    this.#hasHistory = hasHistory
    this.#isListed = isListed
  }

  /** Bytes of LTX files received since the start. */
  get receivedSize(): number {
    return this.#size
  }

  /** LTX files that were applied since the start. */
  get appliedCount(): number {
    return this.#appliedCount
  }

  get snapshots(): ArrivingSnapshot[] {
    return [...this.#files.values()].flatMap(({ database, size, snapshotSizeMax: sizeMax }) =>
      sizeMax === undefined ? [] : [{ database, size, sizeMax }],
    )
  }

  of(database: string): Received | undefined {
    return this.#databases.get(database)?.received
  }

  get received(): Iterable<[database: string, received: Received]> {
    return [...this.#databases].map(([name, { received }]) => [name, received])
  }

  /** A new connection: the primary will tell what it has now. */
  connected(): void {
    for (const progress of this.#databases.values()) progress.headTxid = 0n
  }

  /** Of a database that is neither here, nor listed, nor on its way, nobody wants to know. Throws as `write`. */
  head(database: string, txid: Txid): void {
    if (!this.#databases.has(database) && !this.#isKnown(database)) return
    this.#progress(database).headTxid = txid
  }

  /** What a database at the given transaction is known to lack. */
  missing(database: string, txid: Txid): { readonly transactions: number; readonly bytes: number } {
    const progress = this.#databases.get(database)
    if (progress === undefined) return { transactions: 0, bytes: 0 }
    const { headTxid, waitingSize } = progress
    return { transactions: headTxid > txid ? Number(headTxid - txid) : 0, bytes: waitingSize }
  }

  /** Throws when the primary has files of more databases than possible. */
  write(...part: Parameters<LtxSink["write"]>): void {
    const [file, database, bytes, isLast] = part
    const incoming = this.#files.get(file) ?? this.#begin(file, database, bytes)
    incoming.size += bytes.length
    incoming.progress.waitingSize += bytes.length
    incoming.progress.received.bytes += bytes.length
    this.#size += bytes.length
    if (isLast) incoming.arrivedMs = this.#clock.monotonicMs()
    this.#sink.write(...part)
  }

  applied(file: number): Promise<void> {
    return this.#sink.applied(file).then(
      () => {
        const incoming = this.#end(file)
        if (incoming === undefined) return
        this.applyTime.observe(this.#clock.monotonicMs() - incoming.arrivedMs)
        const { received } = incoming.progress
        received.transactions += 1
        this.#appliedCount += 1
        received.latencyMs = this.#lag.ageMs(incoming.timestampMs, this.#clock.steadyMs())
      },
      (error) => {
        const incoming = this.#end(file)
        if (incoming !== undefined) incoming.progress.received.refusals += 1
        throw error
      },
    )
  }

  judge(...verdict: Parameters<NonNullable<LtxSink["judge"]>>): void {
    this.#sink.judge?.(...verdict)
  }

  abort(file: number): void {
    this.#end(file)
    this.#sink.abort(file)
  }

  #begin(file: number, database: string, bytes: Uint8Array): Incoming {
    const progress = this.#progress(database)
    const header = headerIfAny(bytes) // without one the peer thread refuses the file
    if (header !== undefined) {
      if (header.maxTxid > progress.headTxid) progress.headTxid = header.maxTxid
      if (isSnapshot(header) && (header.maxTxid > 1n || this.#hasHistory(database))) {
        progress.received.snapshots += 1
        if (this.#hasHistory(database)) progress.received.replacements += 1
      }
    }
    const timestampMs = header?.timestampMs ?? this.#clock.wallMs()
    const isWhole = header !== undefined && isSnapshot(header)
    const snapshotSizeMax = isWhole ? header.commit * header.pageSize : undefined
    const incoming = { progress, database, snapshotSizeMax, size: 0, arrivedMs: 0, timestampMs }
    this.#files.set(file, incoming)
    return incoming
  }

  #end(file: number): Incoming | undefined {
    const incoming = this.#files.get(file)
    this.#files.delete(file)
    if (incoming !== undefined) incoming.progress.waitingSize -= incoming.size
    return incoming
  }

  #progress(database: string): Progress {
    const known = this.#databases.get(database)
    if (known !== undefined) return known
    const received = {
      transactions: 0,
      bytes: 0,
      snapshots: 0,
      replacements: 0,
      refusals: 0,
      latencyMs: 0,
    }
    if (this.#databases.size >= COUNT_MAX) this.#forget()
    const progress = { received, headTxid: 0n, waitingSize: 0 }
    this.#databases.set(database, progress)
    return progress
  }

  /** Names come and go: those of the past make room. */
  #forget(): void {
    for (const [name, { waitingSize }] of this.#databases) {
      if (waitingSize === 0 && !this.#isKnown(name)) this.#databases.delete(name)
    }
    if (this.#databases.size < COUNT_MAX) return
    throw new RangeError(`Cannot follow: the primary sends over ${COUNT_MAX} databases`)
  }

  #isKnown(database: string): boolean {
    return this.#hasHistory(database) || this.#isListed(database)
  }
}
