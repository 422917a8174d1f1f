/**
 * Filters what the primary sends for a database whose write lock is, or just was, borrowed.
 *
 *   stream ─▶ a transaction of this node, which it has: dropped
 *          ─▶ one of somebody else: the lock is lost; kept until the database has changed hands ─▶ applied
 *          ─▶ of any other database: applied
 *
 * A transaction is recognized by where it begins, and by its node and time. Between two of our transactions only ours
 * can be, because this node had the lock. If this node lacks one after all, it asks for it anew (BorrowedLocks.lost()).
 */
import { decodeLtxHeader, LTX_HEADER_SIZE, type LtxHeader } from "../../ltx/header.ts"
import type { Txid } from "../../ltx/pos.ts"
import { headerIfAny } from "../../ltx/span.ts"
import type { LtxSink } from "../replica/incoming-stream.ts"

export interface EchoFilterContext {
  readonly sink: LtxSink
  isBorrowed(database: string): boolean
  /** Somebody else has written to a borrowed database. Resolves when it is no longer borrowed. */
  lost(database: string): Promise<void>
}

type Way = "drop" | "pass" | "keep"

interface Kept {
  readonly file: number
  readonly act: () => void
}

export class EchoFilter implements LtxSink {
  readonly #context: EchoFilterContext
  /** Transactions that were sent to the primary. */
  readonly #sent = new Map<string, Map<Txid, LtxHeader>>()
  readonly #ways = new Map<number, Way>()
  readonly #applied = new Map<number, PromiseWithResolvers<void>>()
  /** Work on a database that waits until the database has changed hands. */
  readonly #kept = new Map<string, Kept[]>()

  constructor(context: EchoFilterContext) {
    this.#context = context
  }

  /** A transaction of this node is on its way to the primary. Call the result if the primary does not take it. */
  sent(database: string, ltx: Uint8Array): () => void {
    const header = decodeLtxHeader(ltx.subarray(0, LTX_HEADER_SIZE))
    const known = this.#sent.get(database) ?? new Map<Txid, LtxHeader>()
    this.#sent.set(database, known)
    known.set(header.minTxid, header)
    return () => {
      if (known.get(header.minTxid) === header) known.delete(header.minTxid)
    }
  }

  /** The primary hears anew where this node is, and sends nothing that this node has. */
  connected(): void {
    for (const database of [...this.#sent.keys()]) {
      if (!this.#context.isBorrowed(database)) this.#sent.delete(database)
    }
  }

  applied(file: number): Promise<void> {
    const outcome = Promise.withResolvers<void>()
    this.#applied.set(file, outcome)
    return outcome.promise
  }

  judge(...verdict: Parameters<NonNullable<LtxSink["judge"]>>): void {
    const [file, database] = verdict
    const way = this.#context.isBorrowed(database) || this.#kept.has(database) ? "keep" : "pass"
    this.#begin(file, database, way)
    this.#do(way, file, database, () => this.#context.sink.judge?.(...verdict))
  }

  write(...part: Parameters<LtxSink["write"]>): void {
    const [file, database, bytes, isLast, taken] = part
    let way = this.#ways.get(file)
    if (way === undefined) {
      way = this.#wayOf(database, bytes)
      this.#begin(file, database, way)
    }
    if (isLast) this.#ways.delete(file)
    if (way !== "drop") {
      return this.#do(way, file, database, () => this.#context.sink.write(...part))
    }
    taken()
    if (!isLast) return
    this.#applied.get(file)?.resolve()
    this.#applied.delete(file)
  }

  abort(file: number): void {
    this.#ways.delete(file)
    this.#applied.delete(file)
    for (const [database, kept] of this.#kept) {
      this.#kept.set(
        database,
        kept.filter((each) => each.file !== file),
      )
    }
    this.#context.sink.abort(file)
  }

  #begin(file: number, database: string, way: Way): void {
    this.#ways.set(file, way)
    if (way === "drop") return
    this.#do(way, file, database, () => {
      const outcome = this.#applied.get(file)
      this.#applied.delete(file)
      const applied = this.#context.sink.applied(file)
      if (outcome !== undefined) applied.then(outcome.resolve, outcome.reject)
    })
  }

  #wayOf(database: string, bytes: Uint8Array): Way {
    // The peer thread refuses what is not an LTX file.
    if (this.#isOurs(database, headerIfAny(bytes))) return "drop"
    return this.#context.isBorrowed(database) || this.#kept.has(database) ? "keep" : "pass"
  }

  #isOurs(database: string, header: LtxHeader | undefined): boolean {
    const sent = this.#sent.get(database)
    if (sent === undefined || header === undefined) return false
    const { minTxid, maxTxid } = header
    const first = sent.get(minTxid)
    if (first?.preApplyChecksum !== header.preApplyChecksum || !sent.has(maxTxid)) return false
    if (minTxid === maxTxid && !isSame(first, header)) return false
    for (const txid of sent.keys()) if (txid <= maxTxid) sent.delete(txid)
    return true
  }

  #do(way: Way, file: number, database: string, act: () => void): void {
    if (way === "pass") return act()
    const kept = this.#kept.get(database)
    if (kept !== undefined) return void kept.push({ file, act })
    this.#kept.set(database, [{ file, act }])
    void this.#context.lost(database).then(() => {
      const all = this.#kept.get(database) ?? []
      this.#kept.delete(database)
      for (const { act } of all) act()
    })
  }
}

/** The same transaction has the same pages, too: a node makes one transaction at a time. */
function isSame(one: LtxHeader, other: LtxHeader): boolean {
  return one.nodeId === other.nodeId && one.timestampMs === other.timestampMs
}
