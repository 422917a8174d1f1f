/**
 * An LTX file on its way in from the primary: verified while it arrives, stored when it is whole.
 *
 *   receiving ── push()… ──▶ receiving ── finish() ──▶ whole ── store() ──▶ stored
 *       └──────────────────── discard() ──────────────────────────────────▶ gone
 *
 * A small file stays in memory until it is stored and costs one durable write. A large one is spooled beside
 * its final place, under a name that recovery does not take for a transaction.
 */
import { assert } from "../lib/assert.ts"
import { LitefsError, messageOf } from "../lib/errors.ts"
import { writePageChecksum } from "../ltx/checksum.ts"
import { LtxDecoder } from "../ltx/decoder.ts"
import type { LtxHeader } from "../ltx/header.ts"
import type { LtxTrailer } from "../ltx/trailer.ts"
import { directLog, type TransactionLog } from "../store/commit-log.ts"
import { type LtxDirectory, LtxFileWriter } from "../store/ltx-directory.ts"
import { renameFile, syncDirectory } from "../sys/file.ts"

export interface PageSum {
  readonly pgno: number
  readonly hi: number
  readonly lo: number
}

const MEMORY_SIZE_MAX = 4 * 1024 * 1024
const sum = new Uint32Array(2)

export class IncomingFile {
  readonly sums: PageSum[] = [] // of its pages, ascending
  readonly #database: string
  readonly #ltx: LtxDirectory
  readonly #log: TransactionLog
  readonly #decoder: LtxDecoder
  readonly #parts: Uint8Array[] = []
  #size = 0
  #spool: LtxFileWriter | undefined
  #header: LtxHeader | undefined
  #trailer: LtxTrailer | undefined

  constructor(database: string, ltx: LtxDirectory, log: TransactionLog) {
    this.#database = database
    this.#ltx = ltx
    this.#log = log
    this.#decoder = new LtxDecoder({
      header: (header) => {
        this.#header = header
      },
      page: (pgno, data) => {
        writePageChecksum(sum, pgno, data)
        this.sums.push({ pgno, hi: sum[0] as number, lo: sum[1] as number })
      },
      trailer: (trailer) => {
        this.#trailer = trailer
      },
    })
  }

  get header(): LtxHeader {
    assert(this.#header !== undefined, "the file is whole")
    return this.#header
  }

  get trailer(): LtxTrailer {
    assert(this.#trailer !== undefined, "the file is whole")
    return this.#trailer
  }

  push(bytes: Uint8Array): void {
    this.#verify(() => this.#decoder.push(bytes))
    this.#size += bytes.length
    if (this.#spool !== undefined) return this.#spool.append(bytes)
    this.#parts.push(bytes)
    if (this.#size > MEMORY_SIZE_MAX) this.#startSpool()
  }

  /** No more bytes come. Throws when the file is not whole. */
  finish(): void {
    this.#verify(() => this.#decoder.end())
  }

  /** Makes the file part of the log, durably. Returns its path. */
  store(): string {
    const { minTxid, maxTxid } = this.header
    const path = this.#ltx.filePath(minTxid, maxTxid)
    if (this.#spool === undefined) {
      // The commit log knows files of one transaction.
      const log = minTxid === maxTxid ? this.#log : directLog
      const file = log.begin(this.#database, maxTxid, path)
      for (const part of this.#parts) file.append(part)
      file.commit()
      log.materialize()
    } else {
      this.#spool.commit()
      renameFile("ltx:rename", this.#spoolPath, path)
      syncDirectory("ltx:sync-dir", this.#ltx.path)
    }
    this.#parts.length = 0
    return path
  }

  discard(): void {
    this.#spool?.discard()
    this.#parts.length = 0
  }

  get #spoolPath(): string {
    const { minTxid, maxTxid } = this.header
    return `${this.#ltx.filePath(minTxid, maxTxid)}.receiving`
  }

  #startSpool(): void {
    const spool = new LtxFileWriter(this.#spoolPath)
    for (const part of this.#parts) spool.append(part)
    this.#parts.length = 0
    this.#spool = spool
  }

  #verify(step: () => void): void {
    try {
      step()
    } catch (error) {
      this.discard()
      throw new LitefsError(
        "damaged",
        `Cannot receive LTX file for "${this.#ltx.path}": ${messageOf(error)}`,
        { cause: error },
      )
    }
  }
}
