/** What SQLite, or whoever writes into the mount in its place, leaves in files. */

import {
  DATABASE_HEADER_SIZE,
  DATABASE_MAGIC,
  decodeDatabaseHeader,
  trustedPageCount,
} from "../../src/sqlite/database-header.ts"
import {
  decodeJournalHeader,
  isJournalActive,
  JOURNAL_MAGIC,
  journalChecksum,
  readJournal,
  readJournalHeader,
  readSuperJournalName,
} from "../../src/sqlite/journal.ts"
import { splitStatements } from "../../src/sqlite/statements.ts"
import {
  decodeWalHeader,
  WAL_FRAME_HEADER_SIZE,
  WAL_HEADER_SIZE,
  WalChecksum,
} from "../../src/sqlite/wal.ts"
import { encodeWalIndexHeader, readWalIndexHeader } from "../../src/sqlite/wal-index.ts"
import { WAL_INDEX_BLOCK_SIZE, WalIndexBlock } from "../../src/sqlite/wal-index-block.ts"
import { WalReader } from "../../src/sqlite/wal-reader.ts"
import { concat } from "../support/bytes.ts"
import { bytesSource } from "../support/bytes-source.ts"
import { hotJournal } from "../support/hot-journal.ts"
import { type LtxPage, page } from "../support/ltx-file.ts"
import { Random } from "../support/random.ts"
import { SqliteFiles } from "../support/sqlite-files.ts"
import { WalWriter } from "../support/wal-writer.ts"
import { goldenSeeds } from "./golden-seeds.ts"
import { refusesAsRange, type Target, textOf, textSeeds } from "./target.ts"

const databaseHeader: Target = {
  name: "database-header",
  seeds() {
    using small = new SqliteFiles("page_size = 512")
    using large = new SqliteFiles("page_size = 65536", "journal_mode = wal")
    for (const files of [small, large]) files.run("create table t(x)")
    large.run("pragma wal_checkpoint(truncate)")
    return [small, large].map((files) => files.read().subarray(0, 200))
  },
  run(input) {
    const header = decodeDatabaseHeader(input)
    if (header === undefined) return
    trustedPageCount(header)
    if (header.pageSize < 512 || input.length < DATABASE_HEADER_SIZE) throw new Error("it is none")
  },
}

/** It never takes longer than the journal is large, and never gives a page that the journal does not have. */
const journal: Target = {
  name: "journal",
  seeds: () => [
    hotJournal(3, new Map([1, 2, 3].map((pgno) => [pgno, new Random(pgno).bytes(512)]))),
    withSuperJournal(
      hotJournal(2, new Map([[2, new Random(2).bytes(512)]])),
      "/db/app.db-mj01234567A",
    ),
    ...goldenSeeds(/journal$/),
  ],
  run(input) {
    const source = bytesSource(input)
    isJournalActive(source)
    readSuperJournalName(source)
    const header = readJournalHeader(source)
    let size = 0
    for (const { pgno, page } of readJournal(source)) {
      if (pgno > (header?.initialPageCount ?? 0)) throw new Error(`page ${pgno} was not there`)
      size += page.length
    }
    if (size > input.length) throw new Error(`${size} bytes of ${input.length}`)
  },
  repair(input) {
    const header = decodeJournalHeader(input)
    if (header === undefined || readJournalHeader(bytesSource(input)) === undefined) return
    const { pageSize, sectorSize, nonce } = header
    const view = new DataView(input.buffer, input.byteOffset, input.length)
    for (let at = sectorSize; at + 4 + pageSize + 4 <= input.length; at += 4 + pageSize + 4) {
      const sum = journalChecksum(nonce, input.subarray(at + 4, at + 4 + pageSize))
      view.setUint32(at + 4 + pageSize, sum)
    }
  },
}

function withSuperJournal(file: Uint8Array, name: string): Uint8Array {
  const text = new TextEncoder().encode(name)
  const head = new Uint8Array(4)
  const tail = new Uint8Array(16)
  const view = new DataView(tail.buffer)
  new DataView(head.buffer).setUint32(0, 0x40000000 / 512 + 1)
  view.setUint32(0, text.length)
  view.setUint32(
    4,
    text.reduce((sum, byte) => sum + byte, 0),
  )
  tail.set(JOURNAL_MAGIC, 8)
  return concat(file, head, text, tail)
}

const wal: Target = {
  name: "wal",
  seeds: () => [walFile(512), walFile(4096), ...goldenSeeds(/(^|\/)wal$/)],
  run(input) {
    const reader = new WalReader(bytesSource(input))
    let count = 0
    while (reader.next()) count += reader.page.length
    if (count > input.length) throw new Error(`${count} bytes of ${input.length}`)
    const { lastCommit } = reader
    if (lastCommit === undefined) return
    const again = new WalReader(bytesSource(input), lastCommit)
    while (again.next());
    if (again.frameCount !== reader.frameCount)
      throw new Error("from its last commit on it ends elsewhere")
  },
  repair: chainWal,
}

export function walFile(pageSize: number): Uint8Array {
  const writer = new WalWriter(pageSize)
  const writes = [
    writer.header,
    ...writer.frames([firstPage(1, pageSize), page(2, 2, pageSize)], 2),
    ...writer.frames([page(3, 3, pageSize)], 3),
    ...writer.frames([firstPage(4, pageSize)], 1),
  ]
  return concat(...writes.map(({ bytes }) => bytes))
}

/** With what SQLite takes for the start of a database. */
export function firstPage(fill: number, pageSize: number): LtxPage {
  const { data } = page(1, fill, pageSize)
  data.set(DATABASE_MAGIC)
  data.set([pageSize >> 8, pageSize & 0xff, 2, 2, 0, 64, 32, 32], DATABASE_MAGIC.length)
  return { pgno: 1, data }
}

/** Makes a good header of what is there, and goes on with its salts and checksums. */
export function chainWal(input: Uint8Array): void {
  if (input.length < WAL_HEADER_SIZE) return
  const view = new DataView(input.buffer, input.byteOffset, input.length)
  view.setUint32(0, 0x377f0682) // checksums are little endian
  view.setUint32(4, 3007000)
  const sum = new WalChecksum().set().update(input, 0, 24, false)
  view.setUint32(24, sum.s0)
  view.setUint32(28, sum.s1)
  const pageSize = decodeWalHeader(input)?.pageSize
  if (pageSize === undefined) return
  const frameSize = WAL_FRAME_HEADER_SIZE + pageSize
  for (let at = WAL_HEADER_SIZE; at + frameSize <= input.length; at += frameSize) {
    input.copyWithin(at + 8, 16, 24)
    sum.update(input, at, at + 8, false).update(input, at + 24, at + frameSize, false)
    view.setUint32(at + 16, sum.s0)
    view.setUint32(at + 20, sum.s1)
  }
}

/** The first block of the `-shm` file. */
const walIndex: Target = {
  name: "wal-index",
  seeds() {
    const index = new Uint8Array(WAL_INDEX_BLOCK_SIZE)
    const copy = encodeWalIndexHeader({
      ...{ change: 3, bigEndianChecksum: false, pageSize: 4096, frameCount: 40, pageCount: 9 },
      ...{ frameChecksum1: 1, frameChecksum2: 2, salt1: 3, salt2: 4 },
    })
    index.set(copy)
    index.set(copy, copy.length)
    const block = new WalIndexBlock(0, index)
    for (let frame = 1; frame <= 40; frame++) block.add(frame, 1 + (frame % 9))
    return [index]
  },
  run(input) {
    const index = new Uint8Array(WAL_INDEX_BLOCK_SIZE)
    index.set(input.subarray(0, index.length))
    readWalIndexHeader(index)
    const block = new WalIndexBlock(0, index)
    for (const pgno of [1, 5, 9, 100]) {
      block.add(41, pgno)
      if (block.pgno(41) !== pgno) throw new Error(`frame 41 is of page ${block.pgno(41)}`)
    }
  },
  refuses: refusesAsRange,
}

const statements: Target = {
  name: "sql-statements",
  seeds: () =>
    textSeeds(
      "select 1; create trigger a after insert on t begin select ';'; end; -- x;\nselect 2",
      `insert into "a;b" values ('it''s', [x;y], \`z\`); /* ; */ explain select case when 1 then 2 end;`,
    ),
  words: ["create trigger", "end", ";", "begin", "case", "'", '"', "/*", "*/", "--", "\n", "temp"],
  run(input) {
    const text = textOf(input)
    const size = splitStatements(text).reduce((sum, { text: each }) => sum + each.length, 0)
    if (size > text.length) throw new Error("there is more than there was")
  },
}

export const SQLITE_TARGETS: readonly Target[] = [
  databaseHeader,
  journal,
  wal,
  walIndex,
  statements,
]
