/**
 * What the primary sends of a database whose write lock is borrowed, or was a moment ago.
 *
 *   stream ─▶ a transaction of this node, which it has: dropped
 *          ─▶ one of somebody else: the lock is lost; kept until the database has changed hands ─▶ applied
 *          ─▶ of any other database: applied
 *
 * An LTX file is known by where it begins; between two of ours only ours can be, since this node had the lock.
 */
import { decodeLtxHeader, LTX_HEADER_SIZE, type LtxHeader } from "../ltx/header.ts"
import type { Checksum, Txid } from "../ltx/pos.ts"
import type { LtxSink } from "./incoming-stream.ts"

export interface EchoFilterContext {
  readonly sink: LtxSink
  isBorrowed(database: string): boolean
  /** Somebody else has written to a database that is borrowed. Resolves when it is not any more. */
  lost(database: string): Promise<void>
}

type Way = "drop" | "pass" | "keep"

export class EchoFilter implements LtxSink {
  readonly #context: EchoFilterContext
  /** Of transactions that were sent to the primary: the checksum before each. */
  readonly #sent = new Map<string, Map<Txid, Checksum>>()
  readonly #ways = new Map<number, Way>()
  readonly #applied = new Map<number, PromiseWithResolvers<void>>()
  /** What is to be done with a database when it has changed hands. */
  readonly #kept = new Map<string, (() => void)[]>()

  constructor(context: EchoFilterContext) {
    this.#context = context
  }

  /** A transaction of this node is on its way to the primary. */
  sent(database: string, ltx: Uint8Array): void {
    const { minTxid, preApplyChecksum } = decodeLtxHeader(ltx.subarray(0, LTX_HEADER_SIZE))
    const known = this.#sent.get(database) ?? new Map<Txid, Checksum>()
    this.#sent.set(database, known)
    known.set(minTxid, preApplyChecksum)
  }

  /** The primary is told anew where this node is, and sends nothing that it has. */
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
    this.#do(way, database, () => this.#context.sink.judge?.(...verdict))
  }

  write(
    file: number,
    database: string,
    bytes: Uint8Array,
    isLast: boolean,
    taken: () => void,
  ): void {
    let way = this.#ways.get(file)
    if (way === undefined) {
      way = this.#wayOf(database, bytes)
      this.#begin(file, database, way)
    }
    if (isLast) this.#ways.delete(file)
    if (way !== "drop") {
      return this.#do(way, database, () => {
        this.#context.sink.write(file, database, bytes, isLast, taken)
      })
    }
    taken()
    if (!isLast) return
    this.#applied.get(file)?.resolve()
    this.#applied.delete(file)
  }

  abort(file: number): void {
    this.#ways.delete(file)
    this.#applied.delete(file)
    this.#context.sink.abort(file)
  }

  #begin(file: number, database: string, way: Way): void {
    this.#ways.set(file, way)
    if (way === "drop") return
    this.#do(way, database, () => {
      const outcome = this.#applied.get(file)
      this.#applied.delete(file)
      const applied = this.#context.sink.applied(file)
      if (outcome !== undefined) applied.then(outcome.resolve, outcome.reject)
    })
  }

  #wayOf(database: string, bytes: Uint8Array): Way {
    if (this.#isOurs(database, headerOf(bytes))) return "drop"
    return this.#context.isBorrowed(database) || this.#kept.has(database) ? "keep" : "pass"
  }

  #isOurs(database: string, header: LtxHeader | undefined): boolean {
    const sent = this.#sent.get(database)
    if (sent === undefined || header === undefined) return false
    const { minTxid, maxTxid, preApplyChecksum } = header
    if (sent.get(minTxid) !== preApplyChecksum || !sent.has(maxTxid)) return false
    for (const txid of sent.keys()) if (txid <= maxTxid) sent.delete(txid)
    return true
  }

  #do(way: Way, database: string, act: () => void): void {
    if (way === "pass") return act()
    const kept = this.#kept.get(database)
    if (kept !== undefined) return void kept.push(act)
    this.#kept.set(database, [act])
    void this.#context.lost(database).then(() => {
      const acts = this.#kept.get(database) ?? []
      this.#kept.delete(database)
      for (const act of acts) act()
    })
  }
}

function headerOf(bytes: Uint8Array): LtxHeader | undefined {
  if (bytes.length < LTX_HEADER_SIZE) return undefined
  try {
    return decodeLtxHeader(bytes.subarray(0, LTX_HEADER_SIZE))
  } catch {
    return undefined // the peer thread refuses it
  }
}
