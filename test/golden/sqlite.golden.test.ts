import { describe, expect, test } from "bun:test"
import { must } from "../../src/lib/assert.ts"
import { ChecksumAccumulator } from "../../src/ltx/checksum.ts"
import { formatChecksum } from "../../src/ltx/pos.ts"
import {
  decodeDatabaseHeader,
  isWalMode,
  trustedPageCount,
} from "../../src/sqlite/database-header.ts"
import { isJournalActive, readJournal, readJournalHeader } from "../../src/sqlite/journal.ts"
import { decodeWalHeader, encodeWalHeader } from "../../src/sqlite/wal.ts"
import {
  encodeWalIndexHeader,
  readReadMark,
  readWalIndexHeader,
} from "../../src/sqlite/wal-index.ts"
import { WalReader } from "../../src/sqlite/wal-reader.ts"
import { hex } from "../support/bytes.ts"
import { bytesSource } from "../support/bytes-source.ts"
import {
  goldenScenarios,
  goldenWalImages,
  hasGolden,
  readGolden,
  readGoldenMaybeGzip,
  readGoldenText,
} from "../support/golden.ts"
import { decodeLtxFile } from "../support/ltx-file.ts"

interface Manifest {
  readonly snapshots?: Readonly<Record<string, { readonly pos: string }>>
}

function posOf(scenario: string, image: string): { txid: bigint; checksum: string } {
  const manifest: Manifest = JSON.parse(readGoldenText(scenario, "manifest.json"))
  const [txid, checksum] = must(manifest.snapshots?.[image], image).pos.split("/")
  return { txid: BigInt(`0x${txid}`), checksum: `${checksum}` }
}

const walImages = goldenWalImages()

describe.skipIf(!hasGolden)("golden WALs", () => {
  test.each(walImages)(
    "%s/%s: the database with its WAL has the checksum of its position",
    (scenario, image) => {
      const database = readGolden(scenario, image, "database")
      const reader = new WalReader(bytesSource(readGoldenMaybeGzip(scenario, image, "wal")))
      const header = must(reader.header, "WAL header")
      const { pageSize } = header
      const pages = new Map<number, Uint8Array>()
      for (let pgno = 1; pgno <= database.length / pageSize; pgno++) {
        pages.set(pgno, database.subarray((pgno - 1) * pageSize, pgno * pageSize))
      }
      let transaction = new Map<number, Uint8Array>()
      while (reader.next()) {
        transaction.set(reader.pgno, reader.page.slice())
        if (reader.commit === 0) continue
        for (const [pgno, page] of transaction) pages.set(pgno, page)
        for (const pgno of [...pages.keys()]) if (pgno > reader.commit) pages.delete(pgno)
        transaction = new Map()
      }
      const sum = new ChecksumAccumulator()
      for (const [pgno, page] of pages) sum.togglePage(pgno, page)
      expect(formatChecksum(sum.checksum)).toBe(posOf(scenario, image).checksum)
      expect(transaction.size > 0).toBe(image === "mid-transaction")
    },
  )

  test.each(walImages)("%s/%s: the WAL ends where the last LTX file says", (scenario, image) => {
    const reader = new WalReader(bytesSource(readGoldenMaybeGzip(scenario, image, "wal")))
    while (reader.next());
    const name = posOf(scenario, image).txid.toString(16).padStart(16, "0")
    const { header } = decodeLtxFile(readGolden(scenario, "ltx", `${name}-${name}.ltx`))
    const commit = must(reader.lastCommit, "commit")
    expect(header).toMatchObject({
      commit: commit.commit,
      walSalt1: commit.header.salt1,
      walSalt2: commit.header.salt2,
    })
    const frameSize = 24 + header.pageSize
    expect(header.walOffset + header.walSize).toBe(32 + commit.frameCount * frameSize)
  })

  test.each(walImages)("%s/%s: encodeWalHeader writes the same header", (scenario, image) => {
    const bytes = readGoldenMaybeGzip(scenario, image, "wal").subarray(0, 32)
    expect(hex(encodeWalHeader(must(decodeWalHeader(bytes), "WAL header")))).toBe(hex(bytes))
  })
})

describe.skipIf(!hasGolden)("golden wal-indexes", () => {
  test("import-wal: the wal-index that the original has written is valid and empty", () => {
    const index = readGolden("import-wal", "shm")
    const header = must(readWalIndexHeader(index), "wal-index header")
    expect(header).toMatchObject({ pageSize: 2048, frameCount: 0, pageCount: 5 })
    expect(hex(encodeWalIndexHeader(header))).toBe(hex(index.subarray(0, 48)))
    expect([0, 1, 2, 3, 4].map((mark) => readReadMark(index, mark))).toEqual([
      0, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff,
    ])
  })

  test.each(walImages)(
    "%s/%s: a wal-index that was mapped and never written back is not valid",
    (scenario, image) => {
      expect(readWalIndexHeader(readGolden(scenario, image, "shm"))).toBeUndefined()
    },
  )
})

describe.skipIf(!hasGolden)("golden databases", () => {
  test.each(goldenScenarios())("%s: the header agrees with the file", (scenario) => {
    const database = readGolden(scenario, "database")
    const header = must(decodeDatabaseHeader(database), "database header")
    expect(header.pageCount).toBe(database.length / header.pageSize)
    // The original sets the change counter of what it imports to 0, so SQLite goes by the size.
    expect(trustedPageCount(header)).toBe(scenario === "import-wal" ? undefined : header.pageCount)
    expect(isWalMode(header)).toBe(/wal/.test(scenario))
  })
})

describe.skipIf(!hasGolden)("golden journals", () => {
  const journals = [
    ["jm-persist-ps512"],
    ["jm-persist-ps512", "persist-journal-before-close"],
    ["jm-truncate-ps4096"],
  ]
  test.each(journals)("%s %s: a journal that was committed is not played back", (...path) => {
    const source = bytesSource(readGolden(...path.filter((name) => name !== undefined), "journal"))
    expect(isJournalActive(source)).toBe(false)
    expect(readJournalHeader(source)).toBeUndefined()
    expect([...readJournal(source)]).toEqual([])
  })
})
