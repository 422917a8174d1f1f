/**
 * A whole database in a file, which is to take the place of what another database holds.
 *
 * Its pages are taken as they are, but for the first bytes: clients that have the old content open, and compare
 * them with what they know, have to see that everything is different now.
 *
 *     18, 19  journal mode         that of the old content: it is the one that open clients are in
 *     24, 92  change counter       greater than in both
 *     28      page count           that of the file, since 92 says now that it is right
 *     40      schema cookie        greater than in both
 */
import { readU32BE, writeU32BE } from "../lib/bytes.ts"
import { LitefsError } from "../lib/errors.ts"
import {
  CHANGE_COUNTER_OFFSET,
  DATABASE_HEADER_SIZE,
  decodeDatabaseHeader,
  isWalMode,
  PAGE_COUNT_OFFSET,
  READ_VERSION_OFFSET,
  SCHEMA_COOKIE_OFFSET,
  VERSION_VALID_FOR_OFFSET,
  WRITE_VERSION_OFFSET,
} from "../sqlite/database-header.ts"
import { BackedFile } from "../store/backed-file.ts"
import { allocate, type Region } from "../sys/memory.ts"
import type { History } from "./history.ts"

const COPY_SIZE = 1024 * 1024
const buffer = allocate(COPY_SIZE)

export class Replacement {
  readonly pageSize: number
  readonly commit: number // pages
  readonly isWalMode: boolean
  readonly #file: BackedFile
  readonly #header: Uint8Array

  /** `old` are the first bytes of the content that goes; undefined when there is none. */
  constructor(path: string, old: Uint8Array | undefined) {
    this.#file = new BackedFile("import", path)
    const n = this.#file.read(buffer.address, DATABASE_HEADER_SIZE, 0)
    const bytes = buffer.bytes.slice(0, n)
    const found = decodeDatabaseHeader(bytes)
    if (found === undefined) {
      this.close()
      throw new LitefsError("usage", `Cannot use "${path}": it is not a SQLite database`)
    }
    this.pageSize = found.pageSize
    this.commit = Math.ceil(this.#file.size() / found.pageSize)
    this.#header = adapted(bytes, old, this.commit)
    this.isWalMode = isWalMode({ readVersion: this.#header[READ_VERSION_OFFSET] as number })
  }

  /** Bytes. */
  get size(): number {
    return this.commit * this.pageSize
  }

  /** Adds the transaction that makes the old content this one. */
  appendTo(history: History): void {
    const { pageSize, commit } = this
    history.append({
      pageSize,
      commit,
      pgnos: upTo(commit),
      readPage: (pgno, into) => this.#read((pgno - 1) * pageSize, pageSize, into),
    })
  }

  copyTo(database: BackedFile): void {
    for (let offset = 0; offset < this.size; offset += COPY_SIZE) {
      const size = Math.min(COPY_SIZE, this.size - offset)
      this.#read(offset, size, buffer)
      database.write(buffer.address, size, offset)
    }
    if (database.size() !== this.size) database.truncate(this.size)
  }

  close(): void {
    this.#file.close()
  }

  #read(offset: number, size: number, into: Region): void {
    this.#file.readPadded(into, size, offset)
    if (offset === 0) into.bytes.set(this.#header)
  }
}

function adapted(bytes: Uint8Array, old: Uint8Array | undefined, pageCount: number): Uint8Array {
  const header = bytes.slice()
  const change = countedOn(bytes, old, CHANGE_COUNTER_OFFSET)
  writeU32BE(header, CHANGE_COUNTER_OFFSET, change)
  writeU32BE(header, VERSION_VALID_FOR_OFFSET, change)
  writeU32BE(header, PAGE_COUNT_OFFSET, pageCount)
  writeU32BE(header, SCHEMA_COOKIE_OFFSET, countedOn(bytes, old, SCHEMA_COOKIE_OFFSET))
  if (old === undefined) return header
  for (const offset of [WRITE_VERSION_OFFSET, READ_VERSION_OFFSET]) {
    header[offset] = old[offset] as number
  }
  return header
}

function countedOn(bytes: Uint8Array, old: Uint8Array | undefined, offset: number): number {
  const before = old === undefined ? 0 : readU32BE(old, offset)
  return (Math.max(readU32BE(bytes, offset), before) + 1) >>> 0
}

function* upTo(last: number): Generator<number> {
  for (let pgno = 1; pgno <= last; pgno++) yield pgno
}
