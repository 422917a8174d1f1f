/**
 * MB/s of the codecs that every commit goes through, on pages of a real database.
 *
 * Usage: bun scripts/bench-codecs.ts
 */

import { Database } from "bun:sqlite"
import { Crc64 } from "../src/lib/codecs/crc64.ts"
import { Lz4FrameDecoder, Lz4FrameEncoder } from "../src/lib/codecs/lz4.ts"
import { Xxh32 } from "../src/lib/codecs/xxh32.ts"
import { ChecksumAccumulator, writePageChecksum } from "../src/ltx/checksum.ts"
import { LtxDecoder } from "../src/ltx/decoder.ts"
import { LtxEncoder } from "../src/ltx/encoder.ts"
import { type LtxHeader, NO_WAL } from "../src/ltx/header.ts"
import { WalChecksum } from "../src/sqlite/wal.ts"

const PAGE_SIZE = 4096
const MIN_RUN_MS = 300
const RUN_COUNT = 3

function sampleDatabase(): Uint8Array {
  const database = new Database(":memory:")
  database.run("CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, note TEXT, x REAL)")
  database.run(
    `WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 60000)
     INSERT INTO t SELECT i, 'user ' || (i * 7919 % 10007), substr(hex(randomblob(20)), 1, i % 40), i / 7.0 FROM c`,
  )
  database.run("CREATE INDEX tn ON t(name)")
  return new Uint8Array(database.serialize())
}

/** The best of a few runs; each repeats the work for a while. */
function measure(name: string, bytesPerCall: number, work: () => void): void {
  let best = 0
  for (let run = 0; run < RUN_COUNT; run++) {
    const start = performance.now()
    let calls = 0
    while (performance.now() - start < MIN_RUN_MS) {
      work()
      calls++
    }
    const seconds = (performance.now() - start) / 1000
    best = Math.max(best, (calls * bytesPerCall) / 1e6 / seconds)
  }
  console.log(`${name.padEnd(36)} ${best.toFixed(0).padStart(6)} MB/s`)
}

const database = sampleDatabase()
const pages: Uint8Array[] = []
for (let at = 0; at < database.length; at += PAGE_SIZE)
  pages.push(database.subarray(at, at + PAGE_SIZE))
const unaligned = new Uint8Array(database.length + 1).subarray(1)
unaligned.set(database)
const sum = new Uint32Array(2)
const crc = new Crc64()
const wal = new WalChecksum()
const xxh = new Xxh32()

console.log(`${pages.length} pages of ${PAGE_SIZE} bytes`)

measure("page checksum", database.length, () => {
  for (let i = 0; i < pages.length; i++) {
    writePageChecksum(sum, i + 1, database, i * PAGE_SIZE, (i + 1) * PAGE_SIZE)
  }
})
measure("crc64, not aligned", database.length, () => void crc.reset().update(unaligned))
measure("WAL checksum", database.length, () => {
  for (let at = 0; at < database.length; at += PAGE_SIZE)
    wal.update(database, at, at + PAGE_SIZE, false)
})
measure("xxh32", database.length, () => void xxh.reset().update(database))

let frame: Uint8Array[] = []
measure("lz4 frame, compress", database.length, () => {
  frame = []
  const encoder = new Lz4FrameEncoder((bytes) => frame.push(bytes.slice()))
  encoder.write(database)
  encoder.end()
})
measure("lz4 frame, decompress", database.length, () => {
  const decoder = new Lz4FrameDecoder(() => {})
  for (const piece of frame) decoder.push(piece)
})

const checksum = new ChecksumAccumulator()
for (const [i, page] of pages.entries()) checksum.togglePage(i + 1, page)

function header(flags: number, commit: number): LtxHeader {
  return {
    flags,
    pageSize: PAGE_SIZE,
    commit,
    minTxid: 1n,
    maxTxid: 1n,
    timestampMs: 0,
    preApplyChecksum: 0n,
    ...NO_WAL,
    nodeId: 0n,
  }
}

for (const [flags, kind] of [
  [0, "plain"],
  [1, "lz4"],
] as const) {
  let file: Uint8Array[] = []
  const encoder = new LtxEncoder((bytes) => file.push(bytes.slice()))
  measure(`LTX ${kind}, encode`, database.length, () => {
    file = []
    encoder.reset()
    encoder.header(header(flags, pages.length))
    for (let i = 0; i < pages.length; i++) encoder.page(i + 1, pages[i] as Uint8Array)
    encoder.close(checksum.checksum)
  })
  measure(`LTX ${kind}, decode and verify snapshot`, database.length, () => {
    const decoder = new LtxDecoder({})
    for (const piece of file) decoder.push(piece)
    decoder.end()
  })
  const silent = new LtxEncoder(() => {})
  const first = pages[0] as Uint8Array
  measure(`LTX ${kind}, encode one page`, PAGE_SIZE, () => {
    silent.reset()
    silent.header(header(flags, 1))
    silent.page(1, first)
    silent.close(checksum.checksum)
  })
}
