import { writeU16BE } from "../../src/lib/bytes.ts"
import { ChecksumAccumulator, EMPTY_CHECKSUM } from "../../src/ltx/checksum.ts"
import { LtxDecoder } from "../../src/ltx/decoder.ts"
import { LtxEncoder } from "../../src/ltx/encoder.ts"
import { isSnapshot, LTX_FLAG_COMPRESSED, type LtxHeader } from "../../src/ltx/header.ts"
import type { LtxTrailer } from "../../src/ltx/trailer.ts"
import { DATABASE_MAGIC } from "../../src/sqlite/database-header.ts"
import { Collected } from "./bytes.ts"

export interface LtxPage {
  readonly pgno: number
  readonly data: Uint8Array
}

export interface LtxFileSpec {
  readonly header?: Partial<LtxHeader>
  readonly pages?: readonly LtxPage[]
  readonly postApplyChecksum?: bigint
}

export interface DecodedLtxFile {
  readonly header: LtxHeader
  readonly pages: LtxPage[]
  readonly trailer: LtxTrailer
}

const PAGE_SIZE = 512

/** Filled with a byte; page 1 begins as that of a SQLite database does. */
export function page(pgno: number, fill: number, pageSize = PAGE_SIZE): LtxPage {
  return pageOf(pgno, new Uint8Array(pageSize).fill(fill))
}

/** With this content; that of page 1 is made to begin as a SQLite database does. */
export function pageOf(pgno: number, data: Uint8Array): LtxPage {
  if (pgno === 1) {
    data.set(DATABASE_MAGIC)
    writeU16BE(data, 16, data.length === 65536 ? 1 : data.length)
    data.set([1, 1, 0, 64, 32, 32], 18)
  }
  return { pgno, data }
}

/** A header of a snapshot of one page of 512 bytes, compressed, but for what is given. */
export function ltxHeader(given: Partial<LtxHeader> = {}): LtxHeader {
  const minTxid = given.minTxid ?? 1n
  return {
    flags: LTX_FLAG_COMPRESSED,
    pageSize: PAGE_SIZE,
    commit: 1,
    minTxid,
    maxTxid: minTxid,
    timestampMs: 1795396253554,
    preApplyChecksum: minTxid === 1n ? 0n : EMPTY_CHECKSUM,
    walOffset: 0,
    walSize: 0,
    walSalt1: 0,
    walSalt2: 0,
    nodeId: 0xf7c7212a4d420478n,
    ...given,
  }
}

/**
 * The bytes of an LTX file. Its page size and commit are those of the pages unless they are given.
 */
export function ltxFile({
  header: given = {},
  pages = [],
  postApplyChecksum,
}: LtxFileSpec): Uint8Array {
  const last = pages.at(-1)
  const header = ltxHeader({
    pageSize: last?.data.length ?? PAGE_SIZE,
    commit: last?.pgno ?? 0,
    ...given,
  })
  const file = new Collected()
  const encoder = new LtxEncoder(file.sink)
  const sum = new ChecksumAccumulator()
  encoder.header(header)
  for (const { pgno, data } of pages) {
    encoder.page(pgno, data)
    sum.togglePage(pgno, data)
  }
  const known = isSnapshot(header) ? sum.checksum : EMPTY_CHECKSUM | 0x1234n
  encoder.close(postApplyChecksum ?? known)
  return file.bytes
}

/** Decodes a file that arrives whole or in pieces, to its end. */
export function decodeLtxFile(file: Uint8Array | readonly Uint8Array[]): DecodedLtxFile {
  const pieces = file instanceof Uint8Array ? [file] : file
  let header: LtxHeader | undefined
  let trailer: LtxTrailer | undefined
  const pages: LtxPage[] = []
  const decoder = new LtxDecoder({
    header(given) {
      header = given
    },
    page(pgno, data) {
      pages.push({ pgno, data: data.slice() })
    },
    trailer(given) {
      trailer = given
    },
  })
  for (const piece of pieces) decoder.push(piece)
  decoder.end()
  if (header === undefined || trailer === undefined) throw new Error("The decoder left out a part")
  return { header, pages, trailer }
}
