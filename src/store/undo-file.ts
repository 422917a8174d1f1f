/**
 * Pages as they were before an open rollback transaction, which its journal has not saved: `dbs/<name>/undo`.
 *
 * SQLite saves no page that a transaction takes from the free list: nobody reads what was in it. But the checksum of a
 * database counts it, and the LTX file that has it may be gone. Before such a page is overwritten in the database file,
 * its content is here, durably.
 *
 *     header                                        record
 *      0  "LFSUND01"                                 0   u32 page number
 *      8  u64 TXID    of the position at which       4   u32 0
 *     16  u64 checksum  the pages had this content   8   u64 CRC-64 of the header's CRC, page number and page
 *     24  u32 page size                             16   the page
 *     28  u32 commit                pages
 *     32  u64 random, of this transaction alone
 *     40  u64 CRC-64 of the fields before
 *
 * Numbers are big endian. The first record that is not whole ends the file: it was not synced, so its page has not been
 * overwritten. The file counts at its position alone, and there what it says is true, whoever has made it: what a
 * transaction has left here that has ended is never put into another content.
 */
import { dirname } from "node:path"
import type { ByteSource } from "../lib/byte-source.ts"
import { readU32BE, readU64BE, writeU32BE, writeU64BE } from "../lib/bytes.ts"
import { Crc64 } from "../lib/codecs/crc64.ts"
import { randomBytes } from "../lib/random-bytes.ts"
import { type Pos, posEquals } from "../ltx/pos.ts"
import { isPageSize } from "../sqlite/page-size.ts"
import { syncDirectory } from "../sys/directory.ts"
import { discardFile } from "../sys/file.ts"
import { allocate, type Region } from "../sys/memory.ts"
import type { BackedFile } from "./backed-file.ts"

const MAGIC = 0x4c4653554e443031n // "LFSUND01"
const HEADER_SIZE = 48
const CRC_OFFSET = 40
const RECORD_HEADER_SIZE = 16

const record = allocate(RECORD_HEADER_SIZE + 65536)
const crc = new Crc64()

/** The database before the transaction. */
export interface Before {
  readonly pos: Pos
  readonly pageSize: number
  readonly commit: number
}

export interface SavedPage {
  readonly pgno: number
  /** Borrowed: valid until the next one is asked for. */
  readonly page: Uint8Array
}

/** The file of an open transaction. */
export class UndoFile {
  readonly #file: BackedFile
  #end = 0 // of what is durable, bytes; 0: there is none of this transaction
  #headerCrc = 0n

  constructor(file: BackedFile) {
    this.#file = file
  }

  /**
   * Saves pages. They are durable when this returns; when it throws, it has saved none of them. `read` gets the content
   * of a page at `before.pos`.
   */
  save(before: Before, pgnos: Iterable<number>, read: (pgno: number, into: Region) => void): void {
    const isNew = this.#end === 0
    const file = this.#file
    try {
      file.create()
      if (isNew) this.#begin(before)
      let end = isNew ? HEADER_SIZE : this.#end
      const size = RECORD_HEADER_SIZE + before.pageSize
      for (const pgno of pgnos) {
        read(pgno, {
          address: record.address + RECORD_HEADER_SIZE,
          bytes: record.bytes.subarray(RECORD_HEADER_SIZE),
        })
        writeU32BE(record.bytes, 0, pgno)
        writeU32BE(record.bytes, 4, 0)
        const page = record.bytes.subarray(RECORD_HEADER_SIZE, size)
        writeU64BE(record.bytes, 8, recordCrc(this.#headerCrc, pgno, page))
        file.write(record.address, size, end)
        end += size
      }
      file.sync()
      if (isNew) syncDirectory("undo:sync-dir", dirname(file.path))
      this.#end = end
    } catch (error) {
      this.#giveBack()
      throw error
    }
  }

  #begin(before: Before): void {
    this.#file.truncate(0)
    const bytes = encodeHeader(before, readU64BE(randomBytes(8), 0))
    this.#headerCrc = readU64BE(bytes, CRC_OFFSET)
    this.#file.writeBytes(bytes, 0)
  }

  /** A disk that is full has better use for the room of what was not saved. */
  #giveBack(): void {
    if (this.#end === 0) return this.#remove()
    try {
      this.#file.truncate(this.#end)
    } catch {
      // What follows the end is overwritten by the next pages, and true in any case.
    }
  }

  /** The transaction has ended. Does not throw: a file that stays does not count at the next position. */
  end(): void {
    if (this.#end === 0) return
    this.#end = 0
    this.#remove()
  }

  #remove(): void {
    this.#file.close()
    discardFile("undo:unlink", this.#file.path)
  }
}

function encodeHeader({ pos, pageSize, commit }: Before, random: bigint): Uint8Array {
  const bytes = new Uint8Array(HEADER_SIZE)
  writeU64BE(bytes, 0, MAGIC)
  writeU64BE(bytes, 8, pos.txid)
  writeU64BE(bytes, 16, pos.checksum)
  writeU32BE(bytes, 24, pageSize)
  writeU32BE(bytes, 28, commit)
  writeU64BE(bytes, 32, random)
  writeU64BE(bytes, CRC_OFFSET, crc.reset().update(bytes, 0, CRC_OFFSET).digest())
  return bytes
}

interface Header extends Before {
  readonly crc: bigint
}

function decodeHeader(bytes: Uint8Array): Header | undefined {
  if (readU64BE(bytes, 0) !== MAGIC) return undefined
  const found = readU64BE(bytes, CRC_OFFSET)
  if (found !== crc.reset().update(bytes, 0, CRC_OFFSET).digest()) return undefined
  const pageSize = readU32BE(bytes, 24)
  if (!isPageSize(pageSize)) return undefined
  const pos = { txid: readU64BE(bytes, 8), checksum: readU64BE(bytes, 16) }
  return { pos, pageSize, commit: readU32BE(bytes, 28), crc: found }
}

function recordCrc(headerCrc: bigint, pgno: number, page: Uint8Array): bigint {
  crc.reset().updateU32BE(Number(headerCrc >> 32n))
  return crc
    .updateU32BE(Number(headerCrc & 0xffffffffn))
    .updateU32BE(pgno)
    .update(page)
    .digest()
}

/** What the file says of pages at a position: nothing, when it is of another one. */
export function* readUndo(source: ByteSource, pos: Pos): Generator<SavedPage, void, void> {
  const start = new Uint8Array(HEADER_SIZE)
  if (source.readAt(0, start) < HEADER_SIZE) return
  const header = decodeHeader(start)
  if (header === undefined || !posEquals(header.pos, pos)) return
  const bytes = new Uint8Array(RECORD_HEADER_SIZE + header.pageSize)
  const page = bytes.subarray(RECORD_HEADER_SIZE)
  for (let offset = HEADER_SIZE; ; offset += bytes.length) {
    if (source.readAt(offset, bytes) < bytes.length) return
    const pgno = readU32BE(bytes, 0)
    if (pgno === 0 || pgno > header.commit) return
    if (readU64BE(bytes, 8) !== recordCrc(header.crc, pgno, page)) return
    yield { pgno, page }
  }
}
