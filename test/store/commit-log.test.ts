import { afterEach, beforeEach, describe, expect, test } from "bun:test"
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { basename, dirname } from "node:path"
import { openCommitLog, readCommitLog } from "../../src/recovery/log/commit-log-recovery.ts"
import { type CommitLog, type CommitLogOptions, directLog } from "../../src/store/log/commit-log.ts"
import { SEGMENT_SIZE, segmentPath } from "../../src/store/log/log-segment.ts"
import { Errno } from "../../src/sys/errno.ts"
import { Faults, setFaults } from "../../src/sys/faults.ts"
import { withFaults } from "../support/faulty-log.ts"
import { commit, LogDirectory, transaction } from "../support/log-directory.ts"
import { testRandom } from "../support/random.ts"
import { RecordedLog } from "../support/recorded-log.ts"

const random = testRandom()

function txidsOf(directory: LogDirectory): number[] {
  return readCommitLog(directory.root).map(({ txid }) => Number(txid))
}

/** Nearly as large as a record may be. */
const LARGE = new Uint8Array(1024 * 1024 - 100).fill(7)

describe("CommitLog", () => {
  test("CommitLog has a transaction before its LTX file is there", () => {
    using directory = new LogDirectory("app.db")
    const log = directory.open({ nextSequence: 41n })
    commit(log, directory, 3)
    expect(directory.has("app.db", 3)).toBe(false)
    const [record] = readCommitLog(directory.root)
    expect(record).toMatchObject({ database: "app.db", txid: 3n, sequence: 41n })
    expect(record?.ltx).toEqual(Buffer.from(transaction(3)))
    log.makeFiles(true)
    expect(readFileSync(directory.ltxPath("app.db", 3))).toEqual(Buffer.from(transaction(3)))
    log.makeFiles(true) // once is enough
  })

  test("CommitLog makes the LTX file of a transaction before it takes the next", () => {
    using directory = new LogDirectory("app.db", "ä b.db")
    const log = directory.open()
    commit(log, directory, 1)
    commit(log, directory, 1, { database: "ä b.db" })
    expect(directory.has("app.db", 1)).toBe(true)
    expect(directory.has("ä b.db", 1)).toBe(false)
    expect(readCommitLog(directory.root).map(({ database }) => database)).toEqual([
      "app.db",
      "ä b.db",
    ])
  })

  test("CommitLog keeps the bytes of a transaction that comes in pieces", () => {
    using directory = new LogDirectory("app.db")
    const log = directory.open()
    for (let txid = 1; txid <= 20; txid++) {
      const bytes = random.bytes(random.between(200, 5000))
      const writer = log.begin("app.db", BigInt(txid), directory.ltxPath("app.db", txid))
      for (const piece of random.split(bytes)) writer.append(piece)
      writer.commit()
      expect(readCommitLog(directory.root).at(-1)?.ltx).toEqual(Buffer.from(bytes))
      log.makeFiles(true)
      expect(readFileSync(directory.ltxPath("app.db", txid))).toEqual(Buffer.from(bytes))
    }
  })

  test("CommitLog leaves nothing of a transaction that is discarded", () => {
    using directory = new LogDirectory("app.db")
    const log = directory.open()
    commit(log, directory, 1)
    for (const size of [200, 2 * LARGE.length]) {
      const writer = log.begin("app.db", 2n, directory.ltxPath("app.db", 2))
      writer.append(new Uint8Array(size))
      writer.discard()
    }
    expect(txidsOf(directory)).toEqual([1])
    expect(directory.has("app.db", 2)).toBe(false)
    commit(log, directory, 2)
    expect(txidsOf(directory)).toEqual([1, 2])
  })

  test("CommitLog writes a transaction that is too large for a record to its LTX file", () => {
    using directory = new LogDirectory("app.db")
    const log = directory.open()
    const bytes = random.bytes(3 * 1024 * 1024)
    const writer = log.begin("app.db", 1n, directory.ltxPath("app.db", 1))
    for (let at = 0; at < bytes.length; at += 300_000) {
      writer.append(bytes.subarray(at, at + 300_000))
    }
    writer.commit()
    expect(txidsOf(directory)).toEqual([])
    expect(Buffer.compare(readFileSync(directory.ltxPath("app.db", 1)), bytes)).toBe(0)
    commit(log, directory, 2)
    expect(txidsOf(directory)).toEqual([2])
  })

  test("CommitLog goes on in the other segment, and tells that the first is full", () => {
    using directory = new LogDirectory("app.db")
    const full: number[] = []
    const log = directory.open({ onFull: (segment) => full.push(segment) })
    const perSegment = Math.floor(SEGMENT_SIZE / LARGE.length)
    for (let txid = 1; txid <= perSegment; txid++) commit(log, directory, txid, { bytes: LARGE })
    expect(full).toEqual([])
    commit(log, directory, perSegment + 1, { bytes: LARGE })
    expect(full).toEqual([0])
    expect(txidsOf(directory)).toEqual(Array.from({ length: perSegment + 1 }, (_, i) => i + 1))
    for (let txid = perSegment + 2; txid <= 2 * perSegment + 1; txid++) {
      commit(log, directory, txid, { bytes: LARGE })
    }
    expect(full).toEqual([0, 1])
    // The first segment has one record of the third round, and what the first round left behind it.
    const expected = Array.from({ length: perSegment + 1 }, (_, i) => perSegment + 1 + i)
    expect(txidsOf(directory)).toEqual(expected)
  })

  test("CommitLog writes LTX files directly while no segment is free", () => {
    using directory = new LogDirectory("app.db")
    const full: number[] = []
    let isFree = false
    const log = directory.open({ isFree: () => isFree, onFull: (segment) => full.push(segment) })
    const perSegment = Math.floor(SEGMENT_SIZE / LARGE.length)
    for (let txid = 1; txid <= perSegment; txid++) commit(log, directory, txid, { bytes: LARGE })
    commit(log, directory, perSegment + 1, { bytes: LARGE })
    expect(full).toEqual([])
    expect(txidsOf(directory).at(-1)).toBe(perSegment)
    expect(directory.has("app.db", perSegment + 1)).toBe(true) // without materialize()
    isFree = true
    commit(log, directory, perSegment + 2, { bytes: LARGE })
    expect(full).toEqual([0])
    expect(txidsOf(directory).at(-1)).toBe(perSegment + 2)
  })

  test("CommitLog refuses the next transaction while the last one's LTX file cannot be made", () => {
    using directory = new LogDirectory("app.db")
    const log = directory.open()
    commit(log, directory, 1)
    rmSync(directory.dataDir.ltxDir("app.db"), { recursive: true })
    expect(() => log.materialize("app.db")).toThrow(
      /^Cannot add a transaction to database "app.db": the LTX file of its last .*no such file/,
    )
    expect(() => commit(log, directory, 2)).toThrow(/no such file/)
    mkdirSync(directory.dataDir.ltxDir("app.db"))
    commit(log, directory, 2)
    expect(readFileSync(directory.ltxPath("app.db", 1))).toEqual(Buffer.from(transaction(1)))
    expect(txidsOf(directory)).toEqual([1, 2])
  })

  describe("beside a database whose LTX file cannot be made", () => {
    /** The file of its transaction 1 is missing, and its directory with it. */
    function broken(given: Partial<CommitLogOptions> = {}) {
      const directory = new LogDirectory("app.db", "b.db")
      const problems: string[] = []
      const onUnmade: CommitLogOptions["onUnmade"] = (database, problem) =>
        void problems.push(`${database}: ${problem?.message.replace(/.*: /, "") ?? "made"}`)
      const log = directory.open({ onUnmade, ...given })
      commit(log, directory, 1)
      rmSync(directory.dataDir.ltxDir("app.db"), { recursive: true })
      const commitOther = (first: number, count: number) => {
        for (let txid = first; txid < first + count; txid++) {
          commit(log, directory, txid, { database: "b.db", bytes: LARGE })
        }
      }
      const mend = () => mkdirSync(directory.dataDir.ltxDir("app.db"))
      return { directory, log, problems, commitOther, mend }
    }
    const perSegment = Math.floor(SEGMENT_SIZE / LARGE.length)
    const logged = (directory: LogDirectory, name: string) =>
      readCommitLog(directory.root).filter(({ database }) => database === name)
    const reopen = (directory: LogDirectory) =>
      openCommitLog(directory.dataDir, new RecordedLog().logger, {
        isFree: () => true,
        onFull: () => {},
      })

    test("CommitLog takes transactions of others, and says so once", () => {
      const { directory, log, problems, commitOther, mend } = broken()
      using _ = directory
      commitOther(1, 3)
      expect(() => commit(log, directory, 2)).toThrow(/Cannot add a transaction/)
      log.makeFiles(true)
      expect([1, 2, 3].every((txid) => directory.has("b.db", txid))).toBe(true)
      expect(problems).toEqual(["app.db: no such file or directory (ENOENT)"])
      expect([log.isPending("app.db"), log.isPending("b.db")]).toEqual([true, false])
      mend()
      log.makeFiles(true)
      expect(problems[1]).toBe("app.db: made")
      expect(readFileSync(directory.ltxPath("app.db", 1))).toEqual(Buffer.from(transaction(1)))
      commit(log, directory, 2)
    })

    test("CommitLog keeps its record however many transactions others add, and gives the segment free after it", () => {
      const full: number[] = []
      const { directory, log, commitOther, mend } = broken({ onFull: (index) => full.push(index) })
      using _ = directory
      commitOther(1, 4 * perSegment)
      expect(new Set(full)).toEqual(new Set([1])) // never the segment with the record
      expect(full.length).toBeGreaterThan(1) // and the other takes its own turn
      expect(logged(directory, "app.db").map(({ ltx }) => Buffer.from(ltx))).toEqual([
        Buffer.from(transaction(1)),
      ])
      mend()
      log.makeFiles(true)
      expect(full.at(-1)).toBe(0)
      expect(readFileSync(directory.ltxPath("app.db", 1))).toEqual(Buffer.from(transaction(1)))
      commitOther(100, 2 * perSegment)
      expect(logged(directory, "app.db")).toEqual([]) // the segment was used again
    })

    test("CommitLog writes LTX files directly while no other segment is synced", () => {
      const released = new Set<number>()
      const { directory, log, commitOther } = broken({
        isFree: (index) => !released.has(index),
        onFull: (index) => void released.add(index),
      })
      using _ = directory
      commitOther(1, 3 * perSegment)
      expect(released).toEqual(new Set([1]))
      expect(logged(directory, "app.db")).toHaveLength(1)
      expect(directory.has("b.db", 3 * perSegment)).toBe(true) // without makeFiles()
      released.delete(1)
      commitOther(3 * perSegment + 1, 1)
      expect(logged(directory, "b.db").at(-1)?.txid).toBe(BigInt(3 * perSegment + 1))
      log.makeFiles(false)
    })

    test.each([
      ["a stop", true],
      ["a power cut", false],
    ])("its record outlives %s, and whoever opens the log next holds it too", (_what, isStop) => {
      const { directory, log, commitOther, mend } = broken()
      using _ = directory
      commitOther(1, 2 * perSegment)
      if (isStop) log.clear()
      if (isStop) expect(logged(directory, "b.db").map(({ segment }) => segment)).not.toContain(1)
      for (let round = 0; round < 2; round++) {
        renameSync(directory.dataDir.databaseDir("app.db"), `${directory.root}/aside`)
        writeFileSync(directory.dataDir.databaseDir("app.db"), "in the way")
        const again = reopen(directory)
        using _closed = { [Symbol.dispose]: () => again.close() }
        expect([...again.problems().keys()]).toEqual(["app.db"])
        for (let txid = 50; txid < 50 + 3 * perSegment; txid++) {
          commit(again, directory, txid, { database: "b.db", bytes: LARGE })
        }
        expect(logged(directory, "app.db")).toHaveLength(1)
        rmSync(directory.dataDir.databaseDir("app.db"))
        renameSync(`${directory.root}/aside`, directory.dataDir.databaseDir("app.db"))
        if (round === 0) continue
        mend()
        commit(again, directory, 2) // makes the missing one first
        expect(readFileSync(directory.ltxPath("app.db", 1))).toEqual(Buffer.from(transaction(1)))
        again.clear()
        expect(logged(directory, "app.db")).toEqual([])
      }
    })
  })

  test("CommitLog.clear() leaves nothing in the log, and makes the LTX file that is due", () => {
    using directory = new LogDirectory("app.db")
    const log = directory.open()
    for (let txid = 1; txid <= 3; txid++) commit(log, directory, txid)
    log.clear()
    expect(directory.has("app.db", 3)).toBe(true)
    expect(txidsOf(directory)).toEqual([])
    // The record of TXID 2 is still behind, where the next one of this one's size ends.
    commit(log, directory, 1)
    expect(txidsOf(directory)).toEqual([1])
  })

  test("CommitLog writes LTX files directly while its segments are prepared, one after the other", () => {
    using directory = new LogDirectory("app.db")
    const aside = [0, 1].map((index) => `${segmentPath(directory.root, index)}.tmp`)
    for (const [index, path] of aside.entries()) {
      renameSync(segmentPath(directory.root, index), path)
    }
    const free = new Set<number>()
    const [missing, full]: [number[], number[]] = [[], []]
    const log = directory.open({
      isFree: (segment) => free.has(segment),
      onMissing: (segment) => missing.push(segment),
      onFull: (segment) => full.push(segment),
    })
    expect(missing).toEqual([0, 1])
    commit(log, directory, 1)
    expect(directory.has("app.db", 1)).toBe(true) // without materialize()
    log.clear()
    renameSync(aside[1] as string, segmentPath(directory.root, 1))
    commit(log, directory, 2)
    expect(directory.has("app.db", 2)).toBe(true) // nobody has said so yet
    free.add(1)
    commit(log, directory, 3)
    expect(txidsOf(directory)).toEqual([3])
    expect(full).toEqual([]) // the first is not full, there is none
    // Somebody says that it is there, and it is not.
    const count = Math.floor(SEGMENT_SIZE / LARGE.length)
    free.add(0)
    for (let txid = 4; txid <= count + 4; txid++) commit(log, directory, txid, { bytes: LARGE })
    expect([...new Set(missing)]).toEqual([0, 1])
    expect(missing.length).toBeGreaterThan(2)
    expect(directory.has("app.db", count + 4)).toBe(true)
    renameSync(aside[0] as string, segmentPath(directory.root, 0))
    commit(log, directory, count + 5)
    expect(full).toEqual([1])
    expect(txidsOf(directory).at(-1)).toBe(count + 5)
  })

  test("CommitLog makes segments of the size that they keep", () => {
    using directory = new LogDirectory("app.db")
    rmSync(segmentPath(directory.root, 1))
    directory.open()
    expect(directory.segment(1).length).toBe(SEGMENT_SIZE)
    expect(directory.segment(1).every((byte) => byte === 0)).toBe(true)
  })

  test.each([
    ["log:write#2=ENOSPC", "no space left"],
    ["log:fsync#2=EIO", "input/output error"],
  ])("CommitLog leaves no record of a transaction whose %s fails", async (faults, problem) => {
    using directory = new LogDirectory("app.db")
    const paths = [1, 2, 3].map((txid) => directory.ltxPath("app.db", txid))
    const request = { root: directory.root, paths, bytes: transaction(1) }
    const outcomes = await withFaults(faults, request)
    expect(outcomes.map(({ made }) => made === "ok")).toEqual([true, false, true])
    expect(outcomes[1]?.made).toContain(problem)
    expect(directory.has("app.db", 2)).toBe(false)
    expect(txidsOf(directory)).toEqual([1, 3]) // in its place
  })

  test("CommitLog erases the record of a transaction whose sync fails", async () => {
    using directory = new LogDirectory("app.db")
    const paths = [directory.ltxPath("app.db", 1)]
    const request = { root: directory.root, paths, bytes: transaction(1) }
    await withFaults("log:fsync#1=EIO", request)
    expect(txidsOf(directory)).toEqual([])
    await withFaults("log:fsync#1=EIO,log:erase#1=EIO", request)
    expect(txidsOf(directory)).toEqual([1]) // a disk that takes neither
  })

  describe("after a refused transaction whose record could not be erased", () => {
    /** It is there, and has the TXID 1, of which nothing else is. `failing` fails from then on. */
    function refuse(directory: LogDirectory, failing: Set<string>): CommitLog {
      const log = directory.open()
      for (const op of ["log:fsync", "log:erase"]) failing.add(op)
      setFaults({ check: (op) => (failing.has(op) ? Errno.EIO : 0) })
      expect(() => commit(log, directory, 1, { bytes: transaction(1, 0xaa) })).toThrow(/input/)
      expect(txidsOf(directory)).toEqual([1])
      return log
    }

    afterEach(() => setFaults(undefined))

    test.each([
      ["small", transaction(1, 0xbb)],
      ["too large for the log", new Uint8Array(2 * LARGE.length).fill(9)],
    ])("CommitLog takes nothing until it is, and then one that is %s", (_, bytes) => {
      using directory = new LogDirectory("app.db")
      const failing = new Set<string>()
      const log = refuse(directory, failing)
      failing.delete("log:fsync")
      const refused = () => {
        const writer = log.begin("app.db", 1n, directory.ltxPath("app.db", 1))
        writer.append(bytes)
        expect(() => writer.commit()).toThrow(/input/)
        writer.discard()
      }
      refused()
      expect(() => log.makeFiles(true)).toThrow(/input/)
      expect(directory.has("app.db", 1)).toBe(false)
      failing.delete("log:erase")
      failing.add("log:erase-fsync")
      refused()
      failing.clear()
      commit(log, directory, 1, { bytes })
      const options = { isFree: () => true, onFull: () => {} }
      openCommitLog(directory.dataDir, new RecordedLog().logger, options).close() // as after a kill
      expect(Buffer.compare(readFileSync(directory.ltxPath("app.db", 1)), bytes)).toBe(0)
    })

    test("CommitLog.materialize() erases it, for one that is made durable elsewhere", () => {
      using directory = new LogDirectory("app.db")
      const failing = new Set<string>()
      const log = refuse(directory, failing)
      failing.clear()
      log.makeFiles(true)
      expect(txidsOf(directory)).toEqual([])
      expect(directory.has("app.db", 1)).toBe(false)
    })

    test("a recovery may find it, and then it is whole", () => {
      using directory = new LogDirectory("app.db")
      refuse(directory, new Set())
      setFaults(undefined)
      const options = { isFree: () => true, onFull: () => {} }
      openCommitLog(directory.dataDir, new RecordedLog().logger, options).close()
      const found = readFileSync(directory.ltxPath("app.db", 1))
      expect(Buffer.compare(found, transaction(1, 0xaa))).toBe(0)
    })
  })

  describe("with transactions that are made durable later", () => {
    let calls: string[] = []
    const failing = new Set<string>()

    beforeEach(() => {
      calls = []
      failing.clear()
      setFaults({
        check: (op) => {
          calls.push(op)
          return failing.has(op) ? Errno.EIO : 0
        },
      })
    })

    afterEach(() => setFaults(undefined))

    function write(log: CommitLog, directory: LogDirectory, txid: number, database = "app.db") {
      const writer = log.begin(database, BigInt(txid), directory.ltxPath(database, txid))
      writer.append(transaction(txid))
      writer.commit(true)
    }

    test.each<[string, (log: CommitLog) => void]>([
      ["sync()", (log) => log.sync("app.db")],
      ["materialize()", (log) => log.materialize("app.db")],
      ["makeFiles()", (log) => log.makeFiles(false)],
      ["clear()", (log) => log.clear()],
    ])("CommitLog writes one, and %s syncs it once", (_, act) => {
      using directory = new LogDirectory("app.db")
      const log = directory.open()
      write(log, directory, 1)
      expect(txidsOf(directory)).toEqual([1]) // a kill takes nothing
      expect(calls).not.toContain("log:fsync")
      act(log)
      log.sync("app.db")
      log.materialize("app.db")
      expect(calls.filter((op) => op === "log:fsync")).toHaveLength(1)
      expect(calls.indexOf("log:fsync")).toBeLessThan(calls.indexOf("ltx:open"))
      expect(directory.has("app.db", 1)).toBe(true)
    })

    test("CommitLog syncs one before it writes that of another database", () => {
      using directory = new LogDirectory("app.db", "other.db")
      const log = directory.open()
      write(log, directory, 1)
      write(log, directory, 1, "other.db")
      expect(calls.filter((op) => /^(log:(write|fsync)|ltx:open)$/.test(op))).toEqual([
        ...["log:write", "log:fsync", "ltx:open", "log:write"],
      ])
    })

    test("CommitLog takes one out that cannot be synced, and makes its LTX file durable", () => {
      using directory = new LogDirectory("app.db", "other.db")
      const log = directory.open()
      commit(log, directory, 1, { database: "other.db" })
      write(log, directory, 1)
      failing.add("log:fsync").add("ltx:open")
      expect(() => log.sync("app.db")).toThrow(/input/)
      expect(txidsOf(directory)).toEqual([1])
      failing.delete("log:fsync")
      expect(() => log.sync("app.db")).toThrow(/LTX file/)
      expect(() => write(log, directory, 2)).toThrow(/LTX file/)
      expect(() => log.clear()).toThrow(/LTX file/) // nobody else would find it
      commit(log, directory, 2, { database: "other.db" }) // others go on
      expect(readCommitLog(directory.root).map(({ database }) => database)).toEqual([
        ...["other.db", "other.db"],
      ])
      failing.clear()
      calls = []
      log.sync("app.db")
      expect(calls).toContain("ltx:fsync")
      expect(readFileSync(directory.ltxPath("app.db", 1))).toEqual(Buffer.from(transaction(1)))
      write(log, directory, 2)
      log.clear()
      expect(directory.has("app.db", 2)).toBe(true)
    })

    test("CommitLog takes nothing while the record of one that cannot be synced stays", () => {
      using directory = new LogDirectory("app.db", "other.db")
      const log = directory.open()
      write(log, directory, 1)
      failing.add("log:fsync").add("log:erase")
      expect(() => log.materialize("app.db")).toThrow(/input/)
      expect(() => write(log, directory, 1, "other.db")).toThrow(/input/)
      failing.clear()
      write(log, directory, 1, "other.db")
      log.clear()
      expect(directory.has("app.db", 1)).toBe(true)
      expect(directory.has("other.db", 1)).toBe(true)
    })
  })

  test.each(["ltx:open#1=EIO", "ltx:write#1=ENOSPC"])(
    "CommitLog has a transaction whose LTX file fails (%s), and makes it with the next",
    async (faults) => {
      using directory = new LogDirectory("app.db")
      const paths = [1, 2].map((txid) => directory.ltxPath("app.db", txid))
      const bytes = transaction(1)
      const outcomes = await withFaults(faults, { root: directory.root, paths, bytes })
      expect(outcomes.map(({ made }) => made)).toEqual(["ok", "ok"])
      expect(outcomes[0]?.materialized).toContain("Cannot")
      expect(outcomes[1]?.materialized).toBe("ok")
      expect(readFileSync(directory.ltxPath("app.db", 1))).toEqual(Buffer.from(bytes))
    },
  )
})

test("directLog gives an LTX file its name when all of it is written", () => {
  using directory = new LogDirectory("app.db")
  const path = directory.ltxPath("app.db", 1)
  const writer = directLog.begin("app.db", 1n, path)
  writer.append(LARGE)
  expect(readdirSync(dirname(path))).toEqual([`${basename(path)}.making`])
  writer.discard()
  expect(readdirSync(dirname(path))).toEqual([])
  const again = directLog.begin("app.db", 1n, path)
  again.append(LARGE)
  again.commit()
  expect(readdirSync(dirname(path))).toEqual([basename(path)])
  expect(readFileSync(path)).toEqual(Buffer.from(LARGE))
})

test.each(["ltx:rename#1=EIO", "ltx:fsync#1=EIO"])(
  "directLog leaves nothing of a transaction whose file fails: %s",
  async (faults) => {
    using directory = new LogDirectory("app.db")
    const path = directory.ltxPath("app.db", 1)
    const writer = directLog.begin("app.db", 1n, path)
    writer.append(LARGE)
    setFaults(new Faults({ text: faults, file: undefined, countFile: undefined }))
    expect(() => writer.commit()).toThrow("EIO")
    writer.discard()
    expect(readdirSync(dirname(path))).toEqual([])
  },
)

test("directLog writes every transaction straight into its LTX file", () => {
  using directory = new LogDirectory("app.db")
  const writer = directLog.begin("app.db", 1n, directory.ltxPath("app.db", 1))
  writer.append(transaction(1))
  expect(directory.has("app.db", 1)).toBe(false)
  writer.commit()
  expect(directory.has("app.db", 1)).toBe(true)
  directLog.materialize("app.db")
  directLog.clear()
})
