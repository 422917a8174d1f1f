/**
 * The first 100 bytes of a database file, as far as they matter here. Big endian.
 *
 *      0  magic "SQLite format 3\0"
 *     16  u16 page size            1 stands for 65536
 *     18  u8  write version        1: rollback journal, 2: WAL
 *     19  u8  read version         the same
 *     20  u8  reserved bytes at the end of each page
 *     21  u8  64, u8 32, u8 32     payload fractions, fixed
 *     24  u32 change counter       changes with each transaction in rollback mode
 *     28  u32 page count           valid only if 92 equals 24
 *     40  u32 schema cookie      changes with each change of the schema
 *     92  u32 version-valid-for    the change counter when 28 was written
 *
 * A WAL-mode database may be larger than its header says: the WAL then holds a newer header.
 */

import type { ByteSource } from "../lib/byte-source.ts"
import { readU16BE, readU32BE } from "../lib/bytes.ts"
import { isPageSize } from "./page-size.ts"

export const DATABASE_HEADER_SIZE = 100

/** "SQLite format 3\0" */
export const DATABASE_MAGIC = new TextEncoder().encode("SQLite format 3\0")

/** Offsets of single fields, for code that looks at a write to page 1. */
export const WRITE_VERSION_OFFSET = 18
export const READ_VERSION_OFFSET = 19
export const CHANGE_COUNTER_OFFSET = 24
export const PAGE_COUNT_OFFSET = 28
export const SCHEMA_COOKIE_OFFSET = 40
export const VERSION_VALID_FOR_OFFSET = 92

const WAL_VERSION = 2
const MIN_USABLE_SIZE = 480

export interface DatabaseHeader {
  readonly pageSize: number
  readonly writeVersion: number
  readonly readVersion: number
  readonly reservedSize: number
  readonly changeCounter: number
  /** As stored. Use `trustedPageCount` for the size of a database that other programs may have written. */
  readonly pageCount: number
  readonly versionValidFor: number
}

/** Whether the first bytes of a file, or as many of them as there are, are those of a database. */
export function startsLikeDatabase(bytes: Uint8Array): boolean {
  return DATABASE_MAGIC.subarray(0, bytes.length).every((byte, index) => bytes[index] === byte)
}

/** Undefined when SQLite would not take the bytes for the start of a database. SQLite: lockBtree. */
export function decodeDatabaseHeader(bytes: Uint8Array): DatabaseHeader | undefined {
  if (bytes.length < DATABASE_HEADER_SIZE) return undefined
  if (!startsLikeDatabase(bytes)) return undefined
  const storedPageSize = readU16BE(bytes, 16)
  const pageSize = storedPageSize === 1 ? 65536 : storedPageSize
  const reservedSize = bytes[20] as number
  if (!isPageSize(pageSize) || pageSize - reservedSize < MIN_USABLE_SIZE) return undefined
  if ((bytes[READ_VERSION_OFFSET] as number) > WAL_VERSION) return undefined
  if (bytes[21] !== 64 || bytes[22] !== 32 || bytes[23] !== 32) return undefined
  return {
    pageSize,
    writeVersion: bytes[WRITE_VERSION_OFFSET] as number,
    readVersion: bytes[READ_VERSION_OFFSET] as number,
    reservedSize,
    changeCounter: readU32BE(bytes, CHANGE_COUNTER_OFFSET),
    pageCount: readU32BE(bytes, PAGE_COUNT_OFFSET),
    versionValidFor: readU32BE(bytes, VERSION_VALID_FOR_OFFSET),
  }
}

/** The header of a database file; undefined when there is none, or it is no database. */
export function readDatabaseHeader(
  file: Pick<ByteSource, "readAt"> | undefined,
): DatabaseHeader | undefined {
  const bytes = new Uint8Array(DATABASE_HEADER_SIZE)
  return decodeDatabaseHeader(bytes.subarray(0, file?.readAt(0, bytes) ?? 0))
}

/** Whether a client opens the database in WAL mode. SQLite decides by the read version. */
export function isWalMode(header: Pick<DatabaseHeader, "readVersion">): boolean {
  return header.readVersion === WAL_VERSION
}

/** The page count in the header if SQLite would believe it. Undefined: the size of the file counts. */
export function trustedPageCount(header: DatabaseHeader): number | undefined {
  const { pageCount, changeCounter, versionValidFor } = header
  return pageCount > 0 && changeCounter === versionValidFor ? pageCount : undefined
}

/**
 * The pages of a database in a file of this size, bytes. The file may be longer than the database: a client can let it
 * grow in large steps (SQLITE_FCNTL_CHUNK_SIZE).
 */
export function pageCountIn(header: DatabaseHeader, size: number): number {
  return Math.min(trustedPageCount(header) ?? Infinity, Math.ceil(size / header.pageSize))
}
