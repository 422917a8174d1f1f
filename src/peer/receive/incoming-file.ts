/**
 * An LTX file on its way in from the primary: verified while it arrives, stored when it is whole.
 *
 *   receiving ── push()… ──▶ receiving ── finish() ──▶ whole ── store() ──▶ in the log ── complete() ──▶ in its place
 *       └──────────────────── discard() ──────────────────────────────────▶ gone
 *
 * A small file stays in memory until it is stored and costs one durable write. A large one is spooled beside its final
 * place, under a name that recovery does not take for a transaction.
 *
 * A snapshot is not stored by itself: it takes over together with the database file that it makes. Both are durable
 * after finish(), under DataDir.nextPath(), and claim() leaves them to somebody else.
 *
 * The temporary names contain a number: one file may wait to be applied while its transaction is received a second
 * time, after a reconnect.
 */
import { assert } from "../../lib/assert.ts"
import { LitefsError, messageOf } from "../../lib/errors.ts"
import { formatSize } from "../../lib/size.ts"
import { writePageChecksum } from "../../ltx/checksum.ts"
import { LtxDecoder, type LtxHandler } from "../../ltx/decoder.ts"
import { firstPageProblem } from "../../ltx/first-page.ts"
import { isSnapshot, type LtxHeader } from "../../ltx/header.ts"
import type { Pos } from "../../ltx/pos.ts"
import type { LtxTrailer } from "../../ltx/trailer.ts"
import type { DataDir } from "../../store/data-dir.ts"
import { directLog, type TransactionLog } from "../../store/log/commit-log.ts"
import { LtxDirectory, LtxFileWriter } from "../../store/ltx/ltx-directory.ts"
import { readLtxFile } from "../../store/ltx/ltx-file.ts"
import { syncDirectory } from "../../sys/directory.ts"
import { Errno, SysError } from "../../sys/errno.ts"
import { renameFile, unlinkFile } from "../../sys/file.ts"
import { fileSystemStatus } from "../../sys/file-status.ts"
import type { HistoryVerdict } from "./history-verdict.ts"
import { PageSums } from "./page-sums.ts"
import { SnapshotImage } from "./snapshot-image.ts"

const MEMORY_SIZE_MAX = 4 * 1024 * 1024
const UNSYNCED_SIZE_MAX = 32 * 1024 * 1024
const sum = new Uint32Array(2)

let nextNumber = 1

export class IncomingFile {
  readonly sums = new PageSums() // of its pages
  /** The primary's word on the state that a snapshot will replace. */
  verdict: HistoryVerdict | undefined
  readonly number = nextNumber++
  readonly database: string
  readonly #dataDir: DataDir
  readonly #ltx: LtxDirectory
  readonly #log: TransactionLog
  readonly #decoder: LtxDecoder
  readonly #parts: Uint8Array[] = []
  #size = 0
  #unsynced = 0
  #spool: LtxFileWriter | undefined
  #image: SnapshotImage | undefined
  #isClaimed = false
  #header: LtxHeader | undefined
  #trailer: LtxTrailer | undefined

  /**
   * Calls `prepare` when there is a header: from there on there may be something to store. An error from it refuses the
   * file.
   */
  constructor(
    database: string,
    dataDir: DataDir,
    log: TransactionLog,
    prepare: (header: LtxHeader) => void,
  ) {
    this.database = database
    this.#dataDir = dataDir
    this.#ltx = new LtxDirectory(dataDir.ltxDir(database))
    this.#log = log
    this.#decoder = new LtxDecoder({
      header: (header) => {
        this.#header = header
        prepare(header)
        if (!isSnapshot(header)) return
        this.#image = new SnapshotImage(dataDir.nextPath(database, this.number, "database"), header)
      },
      page: (pgno, data) => {
        if (pgno === 1) checkFirstPage(data)
        writePageChecksum(sum, pgno, data)
        this.sums.add(pgno, sum[0] as number, sum[1] as number)
        this.#image?.page(pgno, data)
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

  /** The position that it leads to. */
  get posAfter(): Pos {
    return { txid: this.header.maxTxid, checksum: this.trailer.postApplyChecksum }
  }

  push(bytes: Uint8Array): void {
    this.#guard(() => {
      this.#decoder.push(bytes)
      this.#size += bytes.length
      if (this.#spool !== undefined) return this.#appendTo(this.#spool, bytes)
      this.#parts.push(bytes)
      if (this.#size > MEMORY_SIZE_MAX || this.#image !== undefined) this.#startSpool()
    })
  }

  /** No more bytes come. Throws when the file is not whole. */
  finish(): void {
    this.#guard(() => {
      this.#decoder.end()
      if (this.#image === undefined) return
      this.#spool?.commit()
      this.#image.finish()
      syncDirectory("next:sync-dir", this.#dataDir.databaseDir(this.database))
    })
  }

  /** Makes the file part of the log: durably, or with `isLater` at complete() or at the log's sync(). */
  store(isLater: boolean): void {
    assert(this.#image === undefined, "a snapshot takes over")
    const { minTxid, maxTxid } = this.header
    const path = this.#ltx.filePath(minTxid, maxTxid)
    this.#log.materialize(this.database)
    if (this.#spool === undefined) {
      // The commit log takes only files of one transaction.
      const log = minTxid === maxTxid ? this.#log : directLog
      const file = log.begin(this.database, maxTxid, path)
      for (const part of this.#parts) file.append(part)
      file.commit(isLater)
    } else {
      this.#spool.commit()
      renameFile("ltx:rename", this.#spoolPath, path)
      syncDirectory("ltx:sync-dir", this.#ltx.path)
    }
  }

  /** Reads a stored file: from memory, or from its place. */
  read(on: LtxHandler): void {
    if (this.#spool !== undefined) return this.readStored(on)
    const decoder = new LtxDecoder({ header() {}, trailer() {}, ...on })
    for (const part of this.#parts) decoder.push(part)
    decoder.end()
  }

  /** As read(), but also works after complete(). */
  readStored(on: LtxHandler): void {
    const { minTxid, maxTxid } = this.header
    readLtxFile(this.#ltx.filePath(minTxid, maxTxid), on)
  }

  /** Makes a stored file durable, if it is not, and gives it its name in the log. */
  complete(): void {
    this.#parts.length = 0
    this.#log.materialize(this.database)
  }

  get isClaimed(): boolean {
    return this.#isClaimed
  }

  /** The files of a snapshot belong to the caller now. */
  claim(): void {
    this.#isClaimed = true
  }

  /** Does not throw, because it runs after another failure. */
  discard(): void {
    this.#parts.length = 0
    if (this.#isClaimed) return
    this.#spool?.discard()
    if (this.#image === undefined) return
    this.#image.discard()
    try {
      unlinkFile("next:discard", this.#spoolPath)
    } catch {
      // The next start removes it.
    }
  }

  get #spoolPath(): string {
    const { minTxid, maxTxid } = this.header
    return this.#image === undefined
      ? `${this.#ltx.filePath(minTxid, maxTxid)}.receiving-${this.number}`
      : this.#dataDir.nextPath(this.database, this.number, "ltx")
  }

  #appendTo(spool: LtxFileWriter, bytes: Uint8Array): void {
    spool.append(bytes)
    this.#unsynced += bytes.length
    if (this.#unsynced < UNSYNCED_SIZE_MAX) return
    spool.sync()
    this.#unsynced = 0
  }

  #startSpool(): void {
    const spool = new LtxFileWriter(this.#spoolPath)
    this.#spool = spool
    for (const part of this.#parts) spool.append(part)
    this.#parts.length = 0
  }

  #guard(step: () => void): void {
    try {
      step()
    } catch (error) {
      this.discard()
      throw this.#refusal(error)
    }
  }

  #refusal(error: unknown): unknown {
    if (isFull(error)) {
      return new LitefsError("no-space", this.#describeFullDisk(), { cause: error })
    }
    if (error instanceof LitefsError && error.code === "io") {
      const what = this.#header && isSnapshot(this.#header) ? "snapshot" : "transaction"
      const problem = `Cannot receive a ${what} of "${this.database}": ${error.message}`
      return new LitefsError("io", problem, { cause: error })
    }
    if (!(error instanceof RangeError)) return error
    return new LitefsError(
      "invalid",
      `Cannot receive a transaction of "${this.database}": ${messageOf(error)}`,
      { cause: error },
    )
  }

  #describeFullDisk(): string {
    const { root } = this.#dataDir
    const header = this.#header
    if (header === undefined || !isSnapshot(header)) {
      return `Cannot receive a transaction of "${this.database}": the disk of "${root}" is full`
    }
    const { blockSize, blocksAvailable } = fileSystemStatus("next:statfs", root)
    const size = formatSize(header.pageSize * header.commit)
    const free = formatSize(blockSize * blocksAvailable)
    return `Cannot receive a snapshot of "${this.database}": it makes a database of ${size} beside the old one, ${free} are left in "${root}"`
  }
}

/**
 * A database takes no content from elsewhere that its own clients could not commit (capture/history.ts): nobody could
 * open it any more, and its clients would lose what they have.
 */
function checkFirstPage(page: Uint8Array): void {
  const problem = firstPageProblem(page, page.length)
  if (problem !== undefined) throw new RangeError(`Cannot decode LTX file: ${problem}`)
}

function isFull(error: unknown): boolean {
  return error instanceof SysError && (error.errno === Errno.ENOSPC || error.errno === Errno.EDQUOT)
}
