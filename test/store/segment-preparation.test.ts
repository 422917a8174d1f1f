import { afterEach, describe, expect, test } from "bun:test"
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { openCommitLog, readCommitLog } from "../../src/recovery/log/commit-log-recovery.ts"
import { DataDir } from "../../src/store/data-dir.ts"
import { SEGMENT_COUNT, SEGMENT_SIZE, segmentPath } from "../../src/store/log/log-segment.ts"
import { prepareSegment } from "../../src/store/log/segment-preparation.ts"
import { LtxDirectory } from "../../src/store/ltx/ltx-directory.ts"
import { Errno } from "../../src/sys/errno.ts"
import { setFaults } from "../../src/sys/faults.ts"
import { setTrace, Trace } from "../../src/sys/trace.ts"
import { DirectoryImage } from "../support/directory-image.ts"
import { commit, LogDirectory, transaction } from "../support/log-directory.ts"
import { FATES, readTrace, TracedDirectory } from "../support/power-cut.ts"
import { IS_THOROUGH, Random } from "../support/random.ts"
import { RecordedLog } from "../support/recorded-log.ts"

/** As at the first start. */
function emptyDirectory(): LogDirectory {
  const directory = new LogDirectory("app.db")
  for (let index = 0; index < SEGMENT_COUNT; index++) rmSync(segmentPath(directory.root, index))
  return directory
}

function logFiles(root: string): string[] {
  return readdirSync(root)
    .filter((name) => name.startsWith("commit-log"))
    .sort()
}

const always = () => true

/** Their LTX files are there after a recovery. */
function expectRecovered(dataDir: DataDir, txids: readonly number[]): void {
  const options = { isFree: () => false, onFull() {}, onMissing() {} }
  openCommitLog(dataDir, new RecordedLog().logger, options).close()
  const directory = new LtxDirectory(dataDir.ltxDir("app.db"))
  for (const txid of txids) {
    const file = readFileSync(directory.filePath(BigInt(txid), BigInt(txid)))
    expect(file).toEqual(Buffer.from(transaction(txid)))
  }
}

describe("prepareSegment()", () => {
  afterEach(() => setFaults(undefined))

  test("makes a segment whose every block is there, so that commits change no metadata", async () => {
    using directory = emptyDirectory()
    expect(await prepareSegment(directory.root, 0, always)).toBe(true)
    expect(logFiles(directory.root)).toEqual(["commit-log.0"])
    expect(directory.segment(0).every((byte) => byte === 0)).toBe(true)
    const before = statSync(segmentPath(directory.root, 0))
    expect(before.size).toBe(SEGMENT_SIZE)
    expect(before.blocks * 512).toBeGreaterThanOrEqual(SEGMENT_SIZE)
    expect(before.mode & 0o777).toBe(0o600)
    const log = directory.open()
    for (let txid = 1; txid <= 5; txid++) commit(log, directory, txid)
    const after = statSync(segmentPath(directory.root, 0))
    expect([after.size, after.blocks]).toEqual([before.size, before.blocks])
  })

  test("leaves one that is there as it is", async () => {
    using directory = new LogDirectory("app.db")
    commit(directory.open(), directory, 1)
    expect(await prepareSegment(directory.root, 0, always)).toBe(true)
    expect(readCommitLog(directory.root).map(({ txid }) => txid)).toEqual([1n])
  })

  test("takes the place of what a crash has left half prepared", async () => {
    using directory = emptyDirectory()
    writeFileSync(`${segmentPath(directory.root, 1)}.tmp`, "LFCL, and more than zeros")
    expect(await prepareSegment(directory.root, 1, always)).toBe(true)
    expect(logFiles(directory.root)).toEqual(["commit-log.1"])
    expect(directory.segment(1).every((byte) => byte === 0)).toBe(true)
  })

  test("does not fill a disk that has room for it, and for little else", async () => {
    using directory = emptyDirectory()
    const prepared = prepareSegment(directory.root, 0, always, 15.9 * 2 ** 20)
    expect(prepared).rejects.toThrow(/15\.9 MiB are free, 16\.0 MiB should be/)
    await Bun.sleep(20)
    expect(logFiles(directory.root)).toEqual([])
    expect(await prepareSegment(directory.root, 0, always, 16 * 2 ** 20)).toBe(true)
  })

  test("leaves nothing when it is not wanted any more", async () => {
    using directory = emptyDirectory()
    let looks = 0
    expect(await prepareSegment(directory.root, 0, () => ++looks < 3)).toBe(false)
    expect(logFiles(directory.root)).toEqual([])
  })

  test.each(["open", "write", "fsync", "rename"])(
    "leaves nothing when the disk fails it (%s), and may be tried again",
    async (call) => {
      using directory = emptyDirectory()
      setFaults({ check: (op) => (op === `log:prepare:${call}` ? Errno.ENOSPC : 0) })
      expect(prepareSegment(directory.root, 0, always)).rejects.toThrow(/no space left/)
      await Bun.sleep(50)
      expect(logFiles(directory.root)).toEqual([])
      setFaults(undefined)
      expect(await prepareSegment(directory.root, 0, always)).toBe(true)
    },
  )

  test("a power cut at any moment leaves none, or a whole one, and what was committed is there", async () => {
    using directory = emptyDirectory()
    const before = new DirectoryImage(directory.root)
    const path = join(directory.root, "..", `${Date.now()}-${process.pid}.trace`)
    const trace = new Trace(path)
    const durable: { readonly position: number; readonly txid: number }[] = []
    setTrace(trace)
    try {
      const free = new Set<number>()
      const missing: number[] = []
      const isFree = (segment: number) => free.has(segment)
      const onMissing = (segment: number) => missing.push(segment)
      const log = directory.open({ isFree, onMissing })
      expect(missing).toEqual([0, 1])
      let txid = 0
      const add = () => {
        commit(log, directory, ++txid)
        durable.push({ position: trace.position, txid })
      }
      add() // there is no segment
      for (const segment of [...missing]) {
        await prepareSegment(directory.root, segment, always)
        add() // it is not told yet
        free.add(segment)
        add()
      }
      add()
      log.makeFiles(true)
      expect(readCommitLog(directory.root).map(({ txid }) => txid)).toEqual([3n, 4n, 5n, 6n])
    } finally {
      setTrace(undefined)
      trace.close()
    }
    const events = readTrace(path)
    rmSync(path)
    const random = new Random(1)
    const seen = new Set<string>()
    // At each moment nothing and all of it, and one fate between them; all fates with LITEFS_ALL_FAULTS.
    const fates = () => (IS_THOROUGH ? FATES : (["none", random.pick(FATES), "all"] as const))
    const traced = TracedDirectory.existing(directory.root, events, before)
    for (const event of events) {
      traced.advance(event.end)
      for (const names of fates()) {
        const target = `${directory.root}-cut`
        traced.cut(target, { random, data: random.pick(FATES), names, inOrder: false })
        try {
          const sizes = Array.from({ length: SEGMENT_COUNT }, (_, index) => {
            const file = segmentPath(target, index)
            return existsSync(file) ? statSync(file).size : -1
          })
          expect(sizes.filter((size) => size !== -1 && size !== SEGMENT_SIZE)).toEqual([])
          seen.add(sizes.map((size) => (size < 0 ? "none" : "whole")).join())
          const wanted = durable.filter(({ position }) => position <= event.end)
          expectRecovered(
            new DataDir(target),
            wanted.map(({ txid }) => txid),
          )
        } finally {
          rmSync(target, { recursive: true, force: true })
        }
      }
    }
    expect([...seen].sort()).toEqual(["none,none", "whole,none", "whole,whole"])
  }, 60_000)
})
