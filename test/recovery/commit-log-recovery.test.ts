import { describe, expect, test } from "bun:test"
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs"
import {
  isKeptLog,
  openCommitLog,
  placementsOf,
  readCommitLog,
  readSegment,
} from "../../src/recovery/log/commit-log-recovery.ts"
import { SEGMENT_SIZE, segmentPath } from "../../src/store/log/log-segment.ts"
import { writeSynced } from "../../src/store/synced.ts"
import { Errno } from "../../src/sys/errno.ts"
import { setFaults } from "../../src/sys/faults.ts"
import { commit, LogDirectory, transaction } from "../support/log-directory.ts"
import { RecordedLog } from "../support/recorded-log.ts"

function txidsOf(records: readonly { txid: bigint }[]): number[] {
  return records.map(({ txid }) => Number(txid))
}

function open(directory: LogDirectory) {
  const log = new RecordedLog()
  const options = { isFree: () => true, onFull: () => {} }
  const commitLog = openCommitLog(directory.dataDir, log.logger, options)
  return { log, commitLog, [Symbol.dispose]: () => commitLog.close() }
}

/** The bytes of a segment with the transactions 1 to `count`, and where the records start. */
function segmentWith(count: number): { bytes: Uint8Array; starts: number[]; end: number } {
  using directory = new LogDirectory("app.db")
  const log = directory.open()
  const starts: number[] = []
  let end = 0
  for (let txid = 1; txid <= count; txid++) {
    commit(log, directory, txid)
    starts.push(end)
    const view = new DataView(directory.segment(0).buffer)
    end += view.getUint32(end + 4, true)
    if (txid < count) end = Math.ceil(end / 8) * 8
  }
  return { bytes: directory.segment(0).subarray(0, end + 4096), starts, end }
}

describe("readSegment()", () => {
  test("readSegment() finds nothing in zeros, and nothing in what is too short", () => {
    expect(readSegment(new Uint8Array(4096))).toEqual([])
    for (let size = 0; size < 64; size++) expect(readSegment(new Uint8Array(size))).toEqual([])
  })

  test.each(["", "..", "../../etc", "a\0b"])("readSegment() ends at a record of %j", (database) => {
    using directory = new LogDirectory("app.db")
    const log = directory.open()
    commit(log, directory, 1)
    const writer = log.begin(database, 2n, directory.ltxPath("app.db", 2))
    writer.append(transaction(2))
    writer.commit()
    expect(txidsOf(readSegment(directory.segment(0)))).toEqual([1])
  })

  test("readSegment() drops the last record, and only it, wherever it is cut", () => {
    const { bytes, starts, end } = segmentWith(3)
    expect(txidsOf(readSegment(bytes))).toEqual([1, 2, 3])
    expect(txidsOf(readSegment(bytes.subarray(0, end)))).toEqual([1, 2, 3])
    for (let size = starts[2] as number; size < end; size++) {
      expect(txidsOf(readSegment(bytes.subarray(0, size)))).toEqual([1, 2])
    }
  })

  test("readSegment() drops the last record, and only it, whatever byte of it was not written", () => {
    const { bytes, starts, end } = segmentWith(3)
    for (let at = starts[2] as number; at < end; at++) {
      const torn = bytes.slice()
      torn.fill(0, at, end)
      const isChanged = Buffer.compare(torn, bytes) !== 0
      expect(txidsOf(readSegment(torn))).toEqual(isChanged ? [1, 2] : [1, 2, 3])
    }
  })

  test("readSegment() drops the last record, and only it, whatever bit of it is another", () => {
    const { bytes, starts, end } = segmentWith(3)
    for (let at = starts[2] as number; at < end; at++) {
      for (let bit = 0; bit < 8; bit++) {
        bytes[at] = (bytes[at] as number) ^ (1 << bit)
        expect(txidsOf(readSegment(bytes))).toEqual([1, 2])
        bytes[at] = (bytes[at] as number) ^ (1 << bit)
      }
    }
  })

  test("readSegment() ends at a record in the middle that is damaged", () => {
    const { bytes, starts } = segmentWith(3)
    const at = (starts[1] as number) + 60
    bytes[at] = (bytes[at] as number) ^ 1
    expect(txidsOf(readSegment(bytes))).toEqual([1])
  })

  test("readSegment() reads the same from memory at any address", () => {
    const { bytes } = segmentWith(2)
    for (const offset of [1, 4, 7]) {
      const moved = new Uint8Array(bytes.length + offset).subarray(offset)
      moved.set(bytes)
      expect(txidsOf(readSegment(moved))).toEqual([1, 2])
    }
  })
})

describe("readCommitLog()", () => {
  test("readCommitLog() takes no records of an earlier round, though they follow without a gap", () => {
    using directory = new LogDirectory("app.db")
    const first = directory.open()
    for (let txid = 1; txid <= 5; txid++) commit(first, directory, txid)
    const second = directory.open({ nextSequence: 6n })
    commit(second, directory, 6)
    expect(txidsOf(readCommitLog(directory.root))).toEqual([6])
  })

  test("readCommitLog() takes no records of an earlier run whose sequence goes on by chance", () => {
    using directory = new LogDirectory("app.db")
    const first = directory.open()
    for (let txid = 1; txid <= 5; txid++) commit(first, directory, txid)
    first.clear() // after which the sequence begins anew
    commit(directory.open({ nextSequence: 1n }), directory, 9)
    expect(txidsOf(readCommitLog(directory.root))).toEqual([9])
  })

  test("readCommitLog() puts the segments in the order of their records", () => {
    using directory = new LogDirectory("app.db")
    const log = directory.open()
    commit(log, directory, 5)
    const older = directory.segment(0)
    commit(directory.open({ nextSequence: 9n }), directory, 6)
    writeFileSync(segmentPath(directory.root, 1), older)
    expect(txidsOf(readCommitLog(directory.root))).toEqual([5, 6])
    rmSync(segmentPath(directory.root, 1))
    expect(txidsOf(readCommitLog(directory.root))).toEqual([6])
  })
})

describe("openCommitLog()", () => {
  test("openCommitLog() keeps the transactions of a database whose LTX files cannot be opened, and goes on", () => {
    using directory = new LogDirectory("app.db", "good.db")
    const log = directory.open()
    commit(log, directory, 1)
    commit(log, directory, 2)
    rmSync(directory.ltxPath("app.db", 2), { force: true })
    mkdirSync(directory.ltxPath("app.db", 2))
    expect(placementsOf(directory.dataDir)[0]?.problem?.message).toMatch(
      /it is a directory, it should be a file$/,
    )
    {
      using opened = open(directory)
      expect(opened.log.lines.join("\n")).toContain("error: cannot make an LTX file")
      expect([...opened.commitLog.problems().keys()]).toEqual(["app.db"])
      commit(opened.commitLog, directory, 1, { database: "good.db" })
    }
    expect(readdirSync(directory.dataDir.databaseDir("app.db")).filter(isKeptLog)).toEqual([])
    rmSync(directory.ltxPath("app.db", 2), { recursive: true })
    using opened = open(directory)
    expect([...opened.commitLog.problems()]).toEqual([])
    for (const txid of [1, 2]) {
      expect(readFileSync(directory.ltxPath("app.db", txid))).toEqual(
        Buffer.from(transaction(txid)),
      )
    }
    expect(directory.has("good.db", 1)).toBe(true)
  })

  test.each(["ltx:read=EIO", "ltx:list=EACCES", "ltx:open=EROFS", "ltx:rename=EDQUOT"])(
    "openCommitLog() keeps the transactions of a database on which a call fails (%s), and makes those of others",
    (fault) => {
      using directory = new LogDirectory("app.db", "good.db")
      const log = directory.open()
      for (const database of ["app.db", "good.db"]) commit(log, directory, 1, { database })
      const [op, errno] = fault.split("=") as [string, "EIO"]
      // Only the first such call fails, which is of the first database.
      let count = 0
      setFaults({ check: (called) => (called === op && count++ === 0 ? Errno[errno] : 0) })
      try {
        rmSync(directory.ltxPath("app.db", 1), { force: true })
        using opened = open(directory)
        expect([...opened.commitLog.problems().keys()]).toEqual(["app.db"])
        expect(directory.has("good.db", 1)).toBe(true)
        expect(directory.has("app.db", 1)).toBe(false)
        commit(opened.commitLog, directory, 2) // can be placed by now
        expect(directory.has("app.db", 1)).toBe(true)
      } finally {
        setFaults(undefined)
      }
    },
  )

  test("openCommitLog() makes the files of a database whose directory of LTX files somebody removed", () => {
    using directory = new LogDirectory("app.db")
    const log = directory.open()
    for (let txid = 1; txid <= 3; txid++) commit(log, directory, txid)
    rmSync(directory.dataDir.ltxDir("app.db"), { recursive: true })
    using _ = open(directory)
    expect([1, 2, 3].every((txid) => directory.has("app.db", txid))).toBe(true)
  })

  test("openCommitLog() leaves out a record that holds no LTX file", () => {
    using directory = new LogDirectory("app.db")
    const log = directory.open()
    commit(log, directory, 1)
    commit(log, directory, 2, { bytes: transaction(2).fill(7, 80, 100) })
    using _opened = open(directory)
    expect([directory.has("app.db", 1), directory.has("app.db", 2)]).toEqual([true, false])
  })

  test("openCommitLog() makes an empty log where there is none", () => {
    using directory = new LogDirectory("app.db")
    for (const index of [0, 1]) rmSync(segmentPath(directory.root, index))
    using opened = open(directory)
    expect(directory.segment(0).length).toBe(SEGMENT_SIZE)
    expect(opened.log.lines).toEqual([])
    commit(opened.commitLog, directory, 1)
    expect(readCommitLog(directory.root)[0]?.sequence).toBe(1n)
  })

  test("openCommitLog() makes the LTX files that a power cut has lost or torn, and leaves the others", () => {
    using directory = new LogDirectory("app.db", "b.db")
    const log = directory.open()
    for (let txid = 1; txid <= 4; txid++) {
      commit(log, directory, txid)
      commit(log, directory, txid, { database: "b.db" })
    }
    log.makeFiles(true)
    rmSync(directory.ltxPath("app.db", 2))
    truncateSync(directory.ltxPath("app.db", 3), 100)
    writeFileSync(directory.ltxPath("b.db", 4), "")
    using opened = open(directory)
    for (const database of ["app.db", "b.db"]) {
      for (let txid = 1; txid <= 4; txid++) {
        expect(readFileSync(directory.ltxPath(database, txid))).toEqual(
          Buffer.from(transaction(txid)),
        )
      }
    }
    expect(opened.log.lines).toEqual(["info: made LTX files from the commit log"])
    expect(opened.log.fields).toEqual([{ files: 3 }])
  })

  test("openCommitLog() goes on with the sequence that it found", () => {
    using directory = new LogDirectory("app.db")
    const log = directory.open({ nextSequence: 70n })
    for (let txid = 1; txid <= 3; txid++) commit(log, directory, txid)
    using opened = open(directory)
    commit(opened.commitLog, directory, 4)
    expect(readCommitLog(directory.root).map(({ sequence }) => sequence)).toEqual([73n])
  })

  test("openCommitLog() does not bring back files that were too old to keep", () => {
    using directory = new LogDirectory("app.db")
    const log = directory.open()
    for (let txid = 1; txid <= 4; txid++) commit(log, directory, txid)
    log.makeFiles(true)
    writeSynced(directory.dataDir.syncedPath("app.db"), 2n)
    for (const txid of [1, 2, 3]) rmSync(directory.ltxPath("app.db", txid))
    expect(txidsOf(placementsOf(directory.dataDir).flatMap(({ missing }) => missing))).toEqual([3])
    using _ = open(directory)
    expect([1, 2, 3, 4].map((txid) => directory.has("app.db", txid))).toEqual([
      false,
      false,
      true,
      true,
    ])
  })

  test("openCommitLog() brings back the last file, also when the database file has it", () => {
    using directory = new LogDirectory("app.db")
    const log = directory.open()
    for (let txid = 1; txid <= 2; txid++) commit(log, directory, txid)
    log.makeFiles(true)
    writeSynced(directory.dataDir.syncedPath("app.db"), 2n)
    rmSync(directory.ltxPath("app.db", 2))
    using _ = open(directory)
    expect(directory.has("app.db", 2)).toBe(true)
  })

  test("openCommitLog() takes the record that came last of two with the same TXID", () => {
    using directory = new LogDirectory("app.db")
    const log = directory.open()
    commit(log, directory, 1, { bytes: transaction(1, 0xaa) }) // refused, and not erased
    log.makeFiles(true)
    commit(log, directory, 1, { bytes: transaction(1, 0xbb) })
    rmSync(directory.ltxPath("app.db", 1))
    using _ = open(directory)
    expect(readFileSync(directory.ltxPath("app.db", 1))).toEqual(Buffer.from(transaction(1, 0xbb)))
  })

  test("openCommitLog() leaves a database alone that somebody removed", () => {
    using directory = new LogDirectory("app.db", "gone.db")
    const log = directory.open()
    commit(log, directory, 1, { database: "gone.db" })
    commit(log, directory, 1)
    rmSync(directory.dataDir.databaseDir("gone.db"), { recursive: true })
    using opened = open(directory)
    expect(existsSync(directory.dataDir.databaseDir("gone.db"))).toBe(false)
    expect(directory.has("app.db", 1)).toBe(true)
    expect(opened.log.fields).toEqual([{ files: 1 }])
  })
})
