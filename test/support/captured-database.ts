/**
 * One database under a History, without a mount: its files in a directory of its own, a log that can be made to fail,
 * and what its LTX files add up to. Removed when disposed.
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { emptyHistoryState, History, type HistoryState } from "../../src/capture/history.ts"
import { ChecksumAccumulator, EMPTY_CHECKSUM, lockPgno } from "../../src/ltx/checksum.ts"
import type { LtxHeader } from "../../src/ltx/header.ts"
import { formatTxid, type Txid } from "../../src/ltx/pos.ts"
import { BackedFile } from "../../src/store/backed-file.ts"
import type { TransactionLog, TransactionWriter } from "../../src/store/log/commit-log.ts"
import { LtxDirectory, LtxFileWriter } from "../../src/store/ltx/ltx-directory.ts"
import { Errno, SysError } from "../../src/sys/errno.ts"
import { allocate, type Region } from "../../src/sys/memory.ts"
import { trace } from "../../src/sys/trace.ts"
import { FakeClock } from "./fake-clock.ts"
import { decodeLtxFile } from "./ltx-file.ts"
import { RecordedLog } from "./recorded-log.ts"

/** LTX files without a sync, and commits that fail as often as the test says. */
export class FakeTransactionLog implements TransactionLog {
  failures = 0
  commits = 0
  discards = 0
  later = 0 // commits that are made durable later
  onSync = (): void => {}

  materialize(): void {}

  sync(): void {
    this.onSync()
  }

  clear(): void {}

  begin(_database: string, _txid: Txid, path: string): TransactionWriter {
    const file = new LtxFileWriter(path)
    return {
      append: file.append,
      commit: (isLater = false) => {
        if (isLater) this.later += 1
        if (this.failures > 0) {
          this.failures -= 1
          throw new SysError(Errno.ENOSPC, "log:write", "write to the log")
        }
        file.finish()
        this.commits += 1
      },
      discard: () => {
        this.discards += 1
        file.discard()
      },
    }
  }
}

/** A file that tells what is done to it, in the order of all files, and fails on demand. */
export class RecordedFile extends BackedFile {
  readonly #calls: string[]
  /** The next calls of these names fail: "write", "truncate", "sync", "reserve". */
  readonly failing = new Map<string, number>()

  constructor(kind: string, path: string, calls: string[]) {
    super(kind, path)
    this.#calls = calls
  }

  override write(address: number, size: number, offset: number): void {
    this.#call("write", `${offset}+${size}`)
    super.write(address, size, offset)
  }

  override truncate(size: number): void {
    this.#call("truncate", `${size}`)
    super.truncate(size)
  }

  override sync(): void {
    this.#call("sync")
    if (trace !== undefined) super.sync() // otherwise nobody could tell
  }

  override reserve(offset: number, size: number): boolean {
    this.#call("reserve", `${offset}+${size}`)
    return super.reserve(offset, size)
  }

  override claim(offset: number, size: number): boolean {
    this.#call("reserve", `${offset}+${size}`)
    return super.claim(offset, size)
  }

  #call(name: string, details = ""): void {
    const errno = this.failing.get(name)
    if (errno !== undefined) throw new SysError(errno, `${this.kind}:${name}`, `${name} a file`)
    this.#calls.push(`${this.kind} ${name} ${details}`.trim())
  }
}

export class CapturedDatabase implements Disposable {
  readonly root = mkdtempSync(join(tmpdir(), "litefs-captured-"))
  readonly calls: string[] = []
  readonly database: RecordedFile
  readonly journal: RecordedFile
  readonly wal: RecordedFile
  readonly undo: RecordedFile
  readonly transactions = new FakeTransactionLog()
  readonly clock = new FakeClock()
  readonly log = new RecordedLog()
  readonly ltx: LtxDirectory
  readonly history: History

  /** `content` is that of the database file before the first transaction. */
  constructor(content: Uint8Array = new Uint8Array(0), state: HistoryState = emptyHistoryState()) {
    mkdirSync(join(this.root, "ltx"))
    this.ltx = new LtxDirectory(join(this.root, "ltx"))
    this.database = new RecordedFile("database", join(this.root, "database"), this.calls)
    this.journal = new RecordedFile("journal", join(this.root, "journal"), this.calls)
    this.wal = new RecordedFile("wal", join(this.root, "wal"), this.calls)
    this.undo = new RecordedFile("undo", join(this.root, "undo"), this.calls)
    this.database.create()
    this.history = new History("app.db", state, {
      ltx: this.ltx,
      log: this.transactions,
      nodeId: 7n,
      clock: this.clock,
    })
    if (content.length > 0) this.database.write(regionOf(content).address, content.length, 0)
    this.calls.length = 0
  }

  get txid(): number {
    return Number(this.history.pos.txid)
  }

  /** The first transaction of a database whose content is in the file. */
  captureAll(pageSize: number): void {
    this.history.append({
      pageSize,
      commit: this.database.size() / pageSize,
      pgnos: [],
      readPage: (pgno, into) => this.database.readPadded(into, pageSize, (pgno - 1) * pageSize),
    })
  }

  content(name: "database" | "wal" | "journal"): Uint8Array<ArrayBuffer> {
    return new Uint8Array(readFileSync(join(this.root, name)))
  }

  /** Names of LTX files and of what else is in their directory. */
  get ltxNames(): string[] {
    return readdirSync(this.ltx.path).sort()
  }

  header(txid: number): LtxHeader {
    return this.#decode(txid).header
  }

  pgnos(txid: number): number[] {
    return this.#decode(txid).pages.map(({ pgno }) => pgno)
  }

  #decode(txid: number) {
    const name = `${formatTxid(BigInt(txid))}-${formatTxid(BigInt(txid))}.ltx`
    return decodeLtxFile(new Uint8Array(readFileSync(join(this.ltx.path, name))))
  }

  /**
   * What a replica would have: the LTX files one after the other. Throws unless each follows on the one before
   * and ends at the checksum of what the pages then are.
   */
  replay(): Uint8Array {
    let image: Uint8Array = new Uint8Array(0)
    let pageSize = 0
    let checksum = 0n
    for (let txid = 1; txid <= this.txid; txid++) {
      const { header, pages, trailer } = this.#decode(txid)
      if (header.preApplyChecksum !== checksum) throw new Error(`TXID ${txid} does not follow on`)
      if (header.pageSize !== pageSize) image = new Uint8Array(0)
      pageSize = header.pageSize
      const next = new Uint8Array(header.commit * pageSize)
      next.set(image.subarray(0, next.length))
      for (const { pgno, data } of pages) next.set(data, (pgno - 1) * pageSize)
      image = next
      checksum = imageChecksum(image, pageSize)
      if (trailer.postApplyChecksum !== checksum) throw new Error(`TXID ${txid} has another sum`)
    }
    if (this.txid > 0 && this.history.pos.checksum !== checksum) throw new Error("The sum is off")
    if (this.txid > 0 && this.history.sums.total !== checksum) throw new Error("The table is off")
    return image
  }

  [Symbol.dispose](): void {
    for (const file of [this.database, this.journal, this.wal, this.undo]) file.close()
    rmSync(this.root, { recursive: true })
  }
}

export function imageChecksum(image: Uint8Array, pageSize: number): bigint {
  const sum = new ChecksumAccumulator().reset(EMPTY_CHECKSUM)
  for (let pgno = 1; pgno <= image.length / pageSize; pgno++) {
    if (pgno === lockPgno(pageSize)) continue
    sum.togglePage(pgno, image, (pgno - 1) * pageSize, pgno * pageSize)
  }
  return sum.checksum
}

let scratch = allocate(1 << 20)

/** The bytes at an address, until the next call. */
export function regionOf(bytes: Uint8Array): Region {
  if (bytes.length > scratch.bytes.length) scratch = allocate(bytes.length * 2)
  scratch.bytes.set(bytes)
  return scratch
}
