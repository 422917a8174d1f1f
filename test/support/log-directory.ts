/** A data directory with a commit log and no database files. Removed when disposed. */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { pageChecksum } from "../../src/ltx/checksum.ts"
import type { LtxHeader } from "../../src/ltx/header.ts"
import { DataDir } from "../../src/store/data-dir.ts"
import { CommitLog, type CommitLogOptions } from "../../src/store/log/commit-log.ts"
import { SEGMENT_COUNT, SEGMENT_SIZE, segmentPath } from "../../src/store/log/log-segment.ts"
import { LtxDirectory } from "../../src/store/ltx/ltx-directory.ts"
import { ltxFile, page } from "./ltx-file.ts"

export class LogDirectory implements Disposable {
  readonly dataDir = new DataDir(mkdtempSync(join(tmpdir(), "litefs-log-")))
  readonly #logs: CommitLog[] = []

  constructor(...databases: readonly string[]) {
    mkdirSync(join(this.root, "dbs"))
    for (const name of databases) mkdirSync(this.dataDir.ltxDir(name), { recursive: true })
    // Segments of the right size are used as they are: nothing has to be written for a test.
    for (let index = 0; index < SEGMENT_COUNT; index++) {
      writeFileSync(segmentPath(this.root, index), "")
      truncateSync(segmentPath(this.root, index), SEGMENT_SIZE)
    }
  }

  get root(): string {
    return this.dataDir.root
  }

  open(given: Partial<CommitLogOptions> = {}): CommitLog {
    const options = { nextSequence: 1n, isFree: () => true, onFull: () => {}, ...given }
    const log = new CommitLog({ root: this.root, ...options })
    this.#logs.push(log)
    return log
  }

  ltxPath(database: string, txid: number): string {
    return new LtxDirectory(this.dataDir.ltxDir(database)).filePath(BigInt(txid), BigInt(txid))
  }

  has(database: string, txid: number): boolean {
    return existsSync(this.ltxPath(database, txid))
  }

  segment(index: number): Uint8Array<ArrayBuffer> {
    return new Uint8Array(readFileSync(segmentPath(this.root, index)))
  }

  [Symbol.dispose](): void {
    for (const log of this.#logs) log.close()
    rmSync(this.root, { recursive: true })
  }
}

/**
 * Transaction `txid` of a database of one page, which is full of the byte `fill` afterwards and was full of `before`.
 * The larger it is the less it can be compressed.
 */
export function transaction(
  txid: number,
  fill = txid,
  before = txid - 1,
  given: Partial<LtxHeader> = {},
): Uint8Array {
  const preApplyChecksum = txid === 1 ? 0n : checksumOf(before)
  const header = { minTxid: BigInt(txid), maxTxid: BigInt(txid), preApplyChecksum, ...given }
  return ltxFile({ header, pages: [page(1, fill)], postApplyChecksum: checksumOf(fill) })
}

function checksumOf(fill: number): bigint {
  return pageChecksum(1, page(1, fill).data)
}

/** Makes a transaction durable in the log, and not more. */
export function commit(
  log: CommitLog,
  directory: LogDirectory,
  txid: number,
  { database = "app.db", bytes = transaction(txid) } = {},
): void {
  const writer = log.begin(database, BigInt(txid), directory.ltxPath(database, txid))
  writer.append(bytes)
  writer.commit()
}
