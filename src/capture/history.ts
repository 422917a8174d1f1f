/**
 * The history of one database: its position, and how a transaction is added to it.
 *
 * 1. `append()` either makes a transaction durable and advances the position, or throws and changes nothing.
 * 2. A page with unchanged content is not part of a transaction, and a transaction without pages does not count: a
 *    rollback, a padding frame of the WAL and an UPDATE that sets the present values leave no trace.
 * 3. Pages by which the database grew are always part of it, even those that SQLite did not write.
 *
 * Callers know what changed and where the new content is. This class knows neither SQLite's files nor locks.
 */
import type { Clock } from "../lib/clock.ts"
import { LitefsError } from "../lib/errors.ts"
import {
  ChecksumAccumulator,
  EMPTY_CHECKSUM,
  lockPgno,
  writePageChecksum,
} from "../ltx/checksum.ts"
import { LtxEncoder } from "../ltx/encoder.ts"
import { firstPageProblem } from "../ltx/first-page.ts"
import { LTX_FLAG_COMPRESSED, NO_WAL } from "../ltx/header.ts"
import { type Pos, TXID_MAX, type Txid, ZERO_POS } from "../ltx/pos.ts"
import type { TransactionLog } from "../store/log/commit-log.ts"
import type { LtxDirectory } from "../store/ltx/ltx-directory.ts"
import { placeLtxFile } from "../store/ltx/ready-ltx-file.ts"
import { allocate, type Region } from "../sys/memory.ts"
import { PageChecksums } from "./page-checksums.ts"
import type { Replacement } from "./replacement.ts"

export interface Change {
  readonly pageSize: number // bytes
  readonly commit: number // size of the database after the transaction, in pages
  readonly pgnos: Iterable<number> // that may have changed: ascending, distinct
  readPage(pgno: number, into: Region): void // the new content, `pageSize` bytes
  readonly wal?: WalRange
}

/** The frames of the WAL that a transaction was made from: for people who read LTX headers. */
export interface WalRange {
  readonly offset: number // bytes
  readonly size: number // bytes
  readonly salt1: number
  readonly salt2: number
}

export interface HistoryState {
  readonly pos: Pos
  readonly pageSize: number // 0 before the first transaction
  readonly commit: number // pages
  readonly sums: PageChecksums
  readonly timestampMs: number
  /** The sums were saved at a clean stop, and nobody has verified the pages since. */
  readonly isBelieved?: true
}

export interface HistoryContext {
  readonly ltx: LtxDirectory
  /** Where transactions become durable. */
  readonly log: TransactionLog
  readonly nodeId: bigint
  readonly clock: Clock
  /** A transaction is about to become durable. When this throws, it does not. */
  onAppend?(): void
  /** A transaction is durable: the bytes of its LTX file, and the time it took. */
  onAppended?(name: string, size: number, durationMs: number): void
}

const page = allocate(65536)

/** Shared, because it has large tables. */
const encoder = new LtxEncoder((bytes) => sink(bytes))
let sink: (bytes: Uint8Array) => void = () => {}
const sum = new Uint32Array(2)

export class History {
  readonly name: string
  readonly ltx: LtxDirectory
  readonly #log: TransactionLog
  readonly #nodeId: bigint
  readonly #clock: Clock
  readonly #onAppend: HistoryContext["onAppend"]
  readonly #onAppended: HistoryContext["onAppended"]
  #pos: Pos
  #pageSize: number
  #commit: number
  #timestampMs: number
  #sums: PageChecksums

  constructor(name: string, state: HistoryState, context: HistoryContext) {
    this.name = name
    this.ltx = context.ltx
    this.#log = context.log
    this.#nodeId = context.nodeId
    this.#clock = context.clock
    this.#onAppend = context.onAppend
    this.#onAppended = context.onAppended
    this.#pos = state.pos
    this.#pageSize = state.pageSize
    this.#commit = state.commit
    this.#sums = state.sums
    this.#timestampMs = state.timestampMs
  }

  get pos(): Pos {
    return this.#pos
  }

  get pageSize(): number {
    return this.#pageSize
  }

  /** Size of the database after the last transaction, in pages. */
  get commit(): number {
    return this.#commit
  }

  /** When the last transaction was made, milliseconds since 1970. */
  get timestampMs(): number {
    return this.#timestampMs
  }

  get sums(): PageChecksums {
    return this.#sums
  }

  /** True when there was a transaction. It is durable then, and the position is the one after it. */
  append(change: Change): boolean {
    const isResized = change.pageSize !== this.#pageSize
    const oldCommit = isResized ? 0 : this.#commit
    const txid = this.#nextTxid()
    const file = this.#log.begin(this.name, txid, this.ltx.filePath(txid, txid))
    const startMs = this.#clock.monotonicMs()
    let size = 0
    sink = (bytes) => {
      size += bytes.length
      file.append(bytes)
    }
    encoder.reset()
    const timestampMs = this.#clock.wallMs()
    const written: number[] = [] // pgno, high and low half of the sum, for each page
    const checksum = new ChecksumAccumulator().reset(
      isResized ? EMPTY_CHECKSUM : this.#pos.checksum,
    )
    try {
      encoder.header({
        flags: LTX_FLAG_COMPRESSED,
        pageSize: change.pageSize,
        commit: change.commit,
        minTxid: txid,
        maxTxid: txid,
        timestampMs,
        preApplyChecksum: this.#pos.checksum,
        walOffset: change.wal?.offset ?? 0,
        walSize: change.wal?.size ?? 0,
        walSalt1: change.wal?.salt1 ?? 0,
        walSalt2: change.wal?.salt2 ?? 0,
        nodeId: this.#nodeId,
      })
      const bytes = page.bytes.subarray(0, change.pageSize)
      for (const pgno of pagesOf(change, oldCommit)) {
        change.readPage(pgno, page)
        if (pgno === 1) this.#checkFirstPage(bytes)
        writePageChecksum(sum, pgno, bytes)
        const [hi, lo] = sum as unknown as [number, number]
        if (pgno <= oldCommit) {
          if (this.#sums.hi(pgno) === hi && this.#sums.lo(pgno) === lo) continue
          checksum.toggle(this.#sums.hi(pgno), this.#sums.lo(pgno))
        }
        checksum.toggle(hi, lo)
        encoder.page(pgno, bytes)
        written.push(pgno, hi, lo)
      }
      for (let pgno = change.commit + 1; pgno <= oldCommit; pgno++) {
        checksum.toggle(this.#sums.hi(pgno), this.#sums.lo(pgno))
      }
      if (written.length === 0 && change.commit === oldCommit && !isResized) {
        file.discard()
        return false
      }
      encoder.close(checksum.checksum)
      this.#onAppend?.()
      file.commit()
    } catch (error) {
      file.discard()
      throw error
    }
    if (isResized) this.#sums.clear()
    this.#sums.resize(change.commit)
    for (let i = 0; i < written.length; i += 3) {
      this.#sums.set(written[i] as number, written[i + 1] as number, written[i + 2] as number)
    }
    this.#pos = { txid, checksum: checksum.checksum }
    this.#pageSize = change.pageSize
    this.#commit = change.commit
    this.#timestampMs = timestampMs
    this.#onAppended?.(this.name, size, this.#clock.monotonicMs() - startMs)
    return true
  }

  /** Content that nobody could open is not committed: its clients could not go back. */
  #checkFirstPage(bytes: Uint8Array): void {
    const problem = firstPageProblem(bytes, bytes.length)
    if (problem === undefined) return
    throw new LitefsError("damaged", `Cannot commit to database "${this.name}": ${problem}`)
  }

  /**
   * Adds a transaction whose LTX file was made in advance and has every page of the database. Like append(), it makes
   * the transaction durable, or throws and changes nothing.
   */
  adopt({ ltxPath, pageSize, commit, sums }: Replacement): void {
    const txid = this.#nextTxid()
    this.#log.materialize(this.name)
    this.#onAppend?.()
    const timestampMs = this.#clock.wallMs()
    const header = {
      flags: LTX_FLAG_COMPRESSED,
      pageSize,
      commit,
      minTxid: txid,
      maxTxid: txid,
      timestampMs,
      preApplyChecksum: this.#pos.checksum,
      ...NO_WAL,
      nodeId: this.#nodeId,
    }
    placeLtxFile(ltxPath, header, this.ltx)
    this.#sums = sums
    this.#pos = { txid, checksum: sums.total }
    this.#pageSize = pageSize
    this.#commit = commit
    this.#timestampMs = timestampMs
  }

  #nextTxid(): Txid {
    const txid = this.#pos.txid + 1n
    if (txid <= TXID_MAX) return txid
    throw new LitefsError(
      "unsupported",
      `Cannot write database "${this.name}": it has reached the last TXID`,
    )
  }

  /** The transaction that leaves no database: the file was removed. */
  appendDrop(): boolean {
    if (this.#commit === 0) return false
    return this.append({
      pageSize: this.#pageSize,
      commit: 0,
      pgnos: [],
      readPage: () => {},
    })
  }
}

/** The state of a database that has no transaction yet. */
export function emptyHistoryState(): HistoryState {
  return { pos: ZERO_POS, pageSize: 0, commit: 0, sums: new PageChecksums(), timestampMs: 0 }
}

/** Old pages that may have changed, then every page the database grew by; never the lock page. */
function* pagesOf(change: Change, oldCommit: number): Generator<number> {
  const lock = lockPgno(change.pageSize)
  const last = Math.min(oldCommit, change.commit)
  for (const pgno of change.pgnos) {
    if (pgno > last) break
    if (pgno !== lock) yield pgno
  }
  for (let pgno = last + 1; pgno <= change.commit; pgno++) {
    if (pgno !== lock) yield pgno
  }
}
