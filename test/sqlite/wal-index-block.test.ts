import { beforeAll, describe, expect, test } from "bun:test"
import { must } from "../../src/lib/assert.ts"
import {
  WAL_INDEX_BLOCK_SIZE,
  WalIndexBlock,
  walIndexBlockOf,
} from "../../src/sqlite/wal-index-block.ts"
import { WalReader } from "../../src/sqlite/wal-reader.ts"
import { bytesSource } from "../support/bytes-source.ts"
import { testRandom } from "../support/random.ts"
import { SqliteFiles } from "../support/sqlite-files.ts"

const random = testRandom()

/** The blocks of an index as long as this. */
function blocksOf(index: Uint8Array): WalIndexBlock[] {
  return Array.from({ length: index.length / WAL_INDEX_BLOCK_SIZE }, (_, i) => {
    const start = i * WAL_INDEX_BLOCK_SIZE
    return new WalIndexBlock(i, index.subarray(start, start + WAL_INDEX_BLOCK_SIZE))
  })
}

function getter(blocks: readonly WalIndexBlock[]): (index: number) => WalIndexBlock {
  return (index) => must(blocks[index], "wal-index block")
}

describe("walIndexBlockOf", () => {
  test.each([
    [1, 0],
    [4062, 0],
    [4063, 1],
    [4062 + 4096, 1],
    [4062 + 4096 + 1, 2],
  ])("walIndexBlockOf puts frame %i into block %i", (frame, block) => {
    expect(walIndexBlockOf(frame)).toBe(block)
  })
})

describe("WalIndexBlock", () => {
  /**
   * Page numbers of the frames of a WAL of three blocks, and the index that SQLite has made of it.
   */
  let pgnos: number[]
  let index: Uint8Array<ArrayBuffer>

  beforeAll(() => {
    using files = new SqliteFiles(
      "page_size=512",
      "journal_mode=WAL",
      "wal_autocheckpoint=0",
      "synchronous=OFF",
    )
    files.run("CREATE TABLE t(id INTEGER PRIMARY KEY, x)")
    files.run(
      "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<3000) INSERT INTO t SELECT i, zeroblob(400) FROM c",
    )
    for (let i = 1; i <= 5; i++) files.run(`UPDATE t SET x=randomblob(400) WHERE id%2=${i % 2}`)
    const reader = new WalReader(bytesSource(files.read("-wal")))
    pgnos = []
    while (reader.next()) pgnos.push(reader.pgno)
    index = files.read("-shm")
  })

  test("WalIndexBlock reads the index of SQLite: the page of each frame", () => {
    expect(index.length).toBe((walIndexBlockOf(pgnos.length) + 1) * WAL_INDEX_BLOCK_SIZE)
    expect(index.length).toBeGreaterThanOrEqual(3 * WAL_INDEX_BLOCK_SIZE)
    const block = getter(blocksOf(index))
    expect(pgnos.map((_, i) => block(walIndexBlockOf(i + 1)).pgno(i + 1))).toEqual(pgnos)
  })

  test("WalIndexBlock.add makes the index that SQLite makes, byte for byte", () => {
    const ours = random.bytes(index.length)
    ours.set(index.subarray(0, 136))
    const block = getter(blocksOf(ours))
    for (const [i, pgno] of pgnos.entries()) block(walIndexBlockOf(i + 1)).add(i + 1, pgno)
    expect(Buffer.compare(ours, index)).toBe(0)
  })

  test("WalIndexBlock.truncate forgets frames as if they had not been added", () => {
    for (const kept of [0, 1, 100, 4061]) {
      const [a, b] = [new Uint8Array(WAL_INDEX_BLOCK_SIZE), new Uint8Array(WAL_INDEX_BLOCK_SIZE)]
      const [longer, shorter] = [new WalIndexBlock(0, a), new WalIndexBlock(0, b)]
      for (let frame = 1; frame <= 4062; frame++) {
        const pgno = random.between(1, 500)
        longer.add(frame, pgno)
        if (frame <= kept) shorter.add(frame, pgno)
      }
      longer.truncate(kept)
      expect(Buffer.compare(a, b)).toBe(0)
    }
  })

  test("WalIndexBlock.add replaces frames of a transaction that was not finished", () => {
    const [a, b] = [new Uint8Array(WAL_INDEX_BLOCK_SIZE), new Uint8Array(WAL_INDEX_BLOCK_SIZE)]
    const [replaced, fresh] = [new WalIndexBlock(1, a), new WalIndexBlock(1, b)]
    const pgnoOf = Array.from({ length: 50 }, () => random.between(1, 20))
    for (const [i, pgno] of pgnoOf.entries()) replaced.add(4063 + i, pgno)
    for (let i = 10; i < 30; i++) pgnoOf[i] = random.between(1, 20)
    for (let i = 10; i < 30; i++) replaced.add(4063 + i, pgnoOf[i] ?? 1)
    for (let i = 0; i < 30; i++) fresh.add(4063 + i, pgnoOf[i] ?? 1)
    expect(Buffer.compare(a, b)).toBe(0)
  })

  test("WalIndexBlock refuses frames of other blocks, pgno 0, and bytes that are no block", () => {
    const block = new WalIndexBlock(1, new Uint8Array(WAL_INDEX_BLOCK_SIZE))
    expect(() => block.add(4062, 1)).toThrow("Frame 4062 is in another wal-index block")
    expect(() => block.add(4062 + 4097, 1)).toThrow("Frame 8159 is in another wal-index block")
    expect(() => block.add(4063, 0)).toThrow("pgno is 0")
    expect(() => new WalIndexBlock(0, new Uint8Array(100))).toThrow("A wal-index block is 32 KiB")
  })

  test("WalIndexBlock does not search a damaged table forever", () => {
    const bytes = new Uint8Array(WAL_INDEX_BLOCK_SIZE).fill(1, 16384)
    const block = new WalIndexBlock(0, bytes)
    expect(() => block.add(2, 1)).toThrow("a hash table has no empty slot")
  })
})
