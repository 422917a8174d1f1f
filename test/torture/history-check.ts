/**
 * Reads the log of a database behind the mount's back: the LTX files must lead from nothing to the position
 * without a gap, each from where the one before has led to, and their pages must be what SQLite's files hold.
 */
import { existsSync, readFileSync } from "node:fs"
import { ChecksumAccumulator, lockPgno, pageChecksum } from "../../src/ltx/checksum.ts"
import { formatPos, parsePos } from "../../src/ltx/pos.ts"
import { decodeDatabaseHeader, trustedPageCount } from "../../src/sqlite/database-header.ts"
import { WalReader } from "../../src/sqlite/wal-reader.ts"
import { DataDir } from "../../src/store/data-dir.ts"
import { LtxDirectory } from "../../src/store/ltx/ltx-directory.ts"
import { readLtxFile } from "../../src/store/ltx/ltx-file.ts"

const STORED_MS_MAX = 5000

export interface Replayed {
  readonly pos: string
  readonly bytes: Uint8Array
  readonly pageSize: number
  readonly fileCount: number
}

/**
 * Replays all LTX files into nothing, from the last snapshot on, which does the work of those before it. Throws at
 * the first that does not follow on.
 */
export function replayHistory(dataDir: string, database: string): Replayed {
  let bytes = new Uint8Array(0)
  let [pageSize, size, txid, checksum] = [0, 0, 0n, 0n]
  const all = new LtxDirectory(new DataDir(dataDir).ltxDir(database)).list()
  const files = all.slice(
    Math.max(
      0,
      all.findLastIndex(({ minTxid }) => minTxid === 1n),
    ),
  )
  const sums = new Map<number, bigint>()
  const total = new ChecksumAccumulator()
  const toggle = (pgno: number) => {
    const sum = sums.get(pgno)
    if (sum === undefined) return
    total.toggle(Number(sum >> 32n), Number(sum & 0xffffffffn))
    sums.delete(pgno)
  }
  for (const file of files) {
    const fail = (what: string) => {
      throw new Error(`${file.path}: ${what}`)
    }
    const { header, trailer } = readLtxFile(file.path, {
      header(header) {
        if (header.pageSize === pageSize) return
        pageSize = header.pageSize
        for (const pgno of [...sums.keys()]) toggle(pgno)
      },
      page(pgno, data) {
        const start = (pgno - 1) * pageSize
        if (start + pageSize > bytes.length) {
          const grown = new Uint8Array(Math.max(start + pageSize, bytes.length * 2, 1 << 20))
          grown.set(bytes)
          bytes = grown
        }
        bytes.set(data, start)
        toggle(pgno)
        const sum = pageChecksum(pgno, data)
        sums.set(pgno, sum)
        total.toggle(Number(sum >> 32n), Number(sum & 0xffffffffn))
      },
    })
    if (header.minTxid !== txid + 1n) fail(`it follows on TXID ${header.minTxid - 1n}, not ${txid}`)
    if (header.preApplyChecksum !== checksum) fail("its pre-apply checksum is not what was before")
    for (const pgno of [...sums.keys()]) if (pgno > header.commit) toggle(pgno)
    for (let pgno = size + 1; pgno <= header.commit; pgno++) {
      if (!sums.has(pgno) && pgno !== lockPgno(pageSize)) fail(`page ${pgno} is new and not in it`)
    }
    if (total.checksum !== trailer.postApplyChecksum) fail("its post-apply checksum is wrong")
    txid = header.maxTxid
    checksum = trailer.postApplyChecksum
    size = header.commit
  }
  return {
    pos: formatPos({ txid, checksum }),
    bytes: bytes.subarray(0, size * pageSize),
    pageSize,
    fileCount: files.length,
  }
}

/** The same for a database that is at a position, where its LTX files lead soon after a client has its answer. */
export async function replayHistoryTo(
  pos: string,
  dataDir: string,
  database: string,
): Promise<Replayed> {
  const directory = new LtxDirectory(new DataDir(dataDir).ltxDir(database))
  const deadline = Date.now() + STORED_MS_MAX
  while (directory.last()?.maxTxid !== parsePos(pos)?.txid && Date.now() < deadline)
    await Bun.sleep(5)
  const replayed = replayHistory(dataDir, database)
  if (replayed.pos === pos) return replayed
  throw new Error(`${dataDir}: the log of ${database} leads to ${replayed.pos}, not ${pos}`)
}

/** The database as SQLite's own files hold it: the database file, and over it the committed frames of the WAL. */
export function readContent(dataDir: string, database: string): Uint8Array {
  const paths = new DataDir(dataDir)
  const path = paths.path(database, "database")
  let content: Uint8Array = existsSync(path) ? readFileSync(path) : new Uint8Array(0)
  const walPath = paths.path(database, "wal")
  if (!existsSync(walPath)) return cut(content)
  const wal = readFileSync(walPath)
  const reader = new WalReader({
    size: wal.length,
    readAt(offset, target) {
      const part = wal.subarray(offset, offset + target.length)
      target.set(part)
      return part.length
    },
  })
  let frames: [pgno: number, page: Uint8Array][] = []
  while (reader.next()) {
    frames.push([reader.pgno, reader.page.slice()])
    if (reader.commit === 0) continue
    const size = reader.commit * (reader.header?.pageSize ?? 0)
    if (content.length !== size) {
      const resized = new Uint8Array(size)
      resized.set(content.subarray(0, size))
      content = resized
    }
    for (const [pgno, page] of frames) {
      if (pgno <= reader.commit) content.set(page, (pgno - 1) * page.length)
    }
    frames = []
  }
  return reader.frameCount > 0 ? content : cut(content)
}

/**
 * A writer that is killed after its commit, and before it has cut the file, leaves pages that nobody reads (SQLite:
 * pager_end_transaction).
 */
function cut(file: Uint8Array): Uint8Array {
  const header = decodeDatabaseHeader(file)
  const pageCount = header === undefined ? undefined : trustedPageCount(header)
  if (header === undefined || pageCount === undefined) return file
  return file.subarray(0, pageCount * header.pageSize)
}

/** Pages in which the two differ, as a sentence; undefined when they are the same. */
export function difference(a: Uint8Array, b: Uint8Array, pageSize: number): string | undefined {
  if (Buffer.compare(a, b) === 0) return undefined
  const pages: number[] = []
  for (let start = 0; start < Math.max(a.length, b.length); start += pageSize) {
    const [left, right] = [a.subarray(start, start + pageSize), b.subarray(start, start + pageSize)]
    if (start / pageSize + 1 === lockPgno(pageSize)) continue
    if (Buffer.compare(left, right) !== 0) pages.push(start / pageSize + 1)
  }
  if (pages.length === 0 && a.length === b.length) return undefined
  return `sizes ${a.length} and ${b.length}, ${pages.length} pages differ: ${pages.slice(0, 20)}`
}
