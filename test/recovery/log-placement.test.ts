/** Which transactions of the commit log are used beside LTX files that somebody else may have put there. */
import { describe, expect, test } from "bun:test"
import { readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { formatPos } from "../../src/ltx/pos.ts"
import { openCommitLog } from "../../src/recovery/log/commit-log-recovery.ts"
import { stepOf } from "../../src/recovery/log/log-record.ts"
import { appendPastPositions } from "../../src/store/past-positions.ts"
import { writeSynced } from "../../src/store/synced.ts"
import { commit, LogDirectory, transaction } from "../support/log-directory.ts"
import { page } from "../support/ltx-file.ts"
import { RecordedLog } from "../support/recorded-log.ts"

const FOREIGN =
  "warn: set aside transactions of the commit log, they do not follow on the LTX files"
const MADE = "info: made LTX files from the commit log"
const OTHER = 100 // added to what a page is full of in the other history

/** A directory whose commit log has the transactions `first` to `last`, and LTX files of them all. */
function killed(first: number, last: number): LogDirectory {
  const directory = new LogDirectory("app.db")
  const log = directory.open()
  for (let txid = first; txid <= last; txid++) commit(log, directory, txid)
  log.makeFiles(true)
  return directory
}

/** Transaction `txid` of a history that is another from `fork` on, made by another node. */
function other(txid: number, fork: number): Uint8Array {
  const fill = (number: number) => (number < fork ? number : number + OTHER)
  return transaction(txid, fill(txid), fill(txid - 1), txid < fork ? {} : { nodeId: 7n })
}

/** Puts a copy with the transactions `first` to `last` of that history in the place of the files. */
function putCopy(directory: LogDirectory, first: number, last: number, fork: number): void {
  const path = directory.dataDir.ltxDir("app.db")
  for (const name of readdirSync(path)) rmSync(join(path, name))
  for (let txid = first; txid <= last; txid++) {
    writeFileSync(directory.ltxPath("app.db", txid), other(txid, fork))
  }
}

function ltxFiles(directory: LogDirectory): Map<string, string> {
  const path = directory.dataDir.ltxDir("app.db")
  return new Map(
    readdirSync(path)
      .sort()
      .map((name) => [name, readFileSync(join(path, name), "hex")]),
  )
}

function start(directory: LogDirectory): RecordedLog {
  const log = new RecordedLog()
  openCommitLog(directory.dataDir, log.logger, { isFree: () => true, onFull: () => {} }).close()
  return log
}

/** What was set aside, by TXID. */
function kept(directory: LogDirectory): Map<number, string> {
  const root = directory.dataDir.databaseDir("app.db")
  const directories = readdirSync(root).filter((name) => /^commit-log\.removed-\d+$/.test(name))
  return new Map(
    directories.flatMap((name) =>
      readdirSync(join(root, name))
        .sort()
        .map((file): [number, string] => [
          Number.parseInt(file, 16),
          readFileSync(join(root, name, file), "hex"),
        ]),
    ),
  )
}

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex")

describe("openCommitLog() beside the files of another history", () => {
  test.each([
    ["that is behind the log", { first: 1, last: 2, fork: 1, foreign: [1, 2, 3, 4] }],
    ["that is where the log is", { first: 1, last: 4, fork: 1, foreign: [1, 2, 3, 4] }],
    ["that is ahead of the log", { first: 1, last: 9, fork: 1, foreign: [1, 2, 3, 4] }],
    ["that forks and is behind", { first: 1, last: 3, fork: 3, foreign: [3, 4] }],
    ["that forks and is where the log is", { first: 1, last: 4, fork: 4, foreign: [4] }],
    ["that forks and is ahead", { first: 1, last: 9, fork: 3, foreign: [3, 4] }],
    ["whose older files are gone", { first: 7, last: 9, fork: 1, foreign: [1, 2, 3, 4] }],
  ])("openCommitLog() leaves a copy as it is %s", (_, { first, last, fork, foreign }) => {
    using directory = killed(1, 4)
    putCopy(directory, first, last, fork)
    const before = ltxFiles(directory)
    const log = start(directory)
    expect(ltxFiles(directory)).toEqual(before)
    expect(kept(directory)).toEqual(new Map(foreign.map((txid) => [txid, hex(transaction(txid))])))
    expect(log.lines).toEqual([FOREIGN])
    expect(log.fields[0]).toMatchObject({
      db: "app.db",
      transactions: foreign.length,
      log: `${formatPos(stepOf(transaction(foreign[0] as number)).before)} to ${formatPos(stepOf(transaction(4)).after)}`,
      ltx: formatPos(stepOf(other(last, fork)).after),
    })
    // The records are in the log still; they are said and kept once.
    expect(start(directory).lines).toEqual([])
    expect(kept(directory).size).toBe(foreign.length)
    expect(ltxFiles(directory)).toEqual(before)
  })

  test("openCommitLog() does not go over a gap between the files and the log", () => {
    using directory = killed(4, 5)
    putCopy(directory, 1, 2, 9)
    expect(start(directory).lines).toEqual([FOREIGN])
    expect([...ltxFiles(directory).keys()]).toHaveLength(2)
    expect([...kept(directory).keys()]).toEqual([4, 5])
  })

  test("openCommitLog() leaves what another program has written after the log's last file", () => {
    using directory = killed(1, 4)
    const log = directory.open({ nextSequence: 5n })
    for (let txid = 3; txid <= 4; txid++) commit(log, directory, txid)
    rmSync(directory.ltxPath("app.db", 4)) // as if the kill had come before it was made
    writeFileSync(directory.ltxPath("app.db", 4), other(4, 4))
    writeFileSync(directory.ltxPath("app.db", 5), other(5, 4))
    const before = ltxFiles(directory)
    expect(start(directory).lines).toEqual([FOREIGN])
    expect(ltxFiles(directory)).toEqual(before)
    expect([...kept(directory).keys()]).toEqual([4])
  })

  test("openCommitLog() leaves a torn file of another history to the recovery", () => {
    using directory = killed(1, 4)
    putCopy(directory, 1, 3, 1)
    writeFileSync(directory.ltxPath("app.db", 4), "")
    const before = ltxFiles(directory)
    expect(start(directory).lines).toEqual([FOREIGN])
    expect(ltxFiles(directory)).toEqual(before)
  })

  test("openCommitLog() knows by their positions files that retention has removed", () => {
    using directory = killed(1, 2)
    putCopy(directory, 7, 9, 99)
    const past = directory.dataDir.pastPath("app.db")
    appendPastPositions(
      past,
      [1, 2].map((txid) => stepOf(transaction(txid)).after),
    )
    writeSynced(directory.dataDir.syncedPath("app.db"), 8n)
    expect(start(directory).lines).toEqual([])
    expect(kept(directory).size).toBe(0)
  })
})

describe("openCommitLog() where files are missing or damaged", () => {
  test("openCommitLog() makes the last files, when those before lead to them", () => {
    using directory = killed(1, 4)
    const before = ltxFiles(directory)
    for (const txid of [3, 4]) rmSync(directory.ltxPath("app.db", txid))
    expect(start(directory).lines).toEqual([MADE])
    expect(ltxFiles(directory)).toEqual(before)
  })

  test("openCommitLog() fills a gap, also when a torn file is not its end", () => {
    using directory = killed(2, 6)
    const before = ltxFiles(directory)
    rmSync(directory.ltxPath("app.db", 3))
    truncateSync(directory.ltxPath("app.db", 5), 120)
    expect(start(directory).lines).toEqual([MADE])
    expect(ltxFiles(directory)).toEqual(before)
  })

  test("openCommitLog() makes the last file, when those before were removed and older ones are back", () => {
    using directory = killed(5, 6)
    putCopy(directory, 1, 2, 9)
    writeSynced(directory.dataDir.syncedPath("app.db"), 4n)
    expect(start(directory).lines).toEqual([MADE])
    expect([...ltxFiles(directory).values()].slice(-2)).toEqual(
      [5, 6].map((txid) => hex(transaction(txid))),
    )
  })

  test("openCommitLog() makes a torn file though the one before it is gone", () => {
    using directory = killed(4, 4)
    putCopy(directory, 1, 2, 9)
    writeFileSync(directory.ltxPath("app.db", 4), transaction(4).subarray(0, 99))
    expect(start(directory).lines).toEqual([MADE])
    expect(readFileSync(directory.ltxPath("app.db", 4), "hex")).toBe(hex(transaction(4)))
  })

  test.each([0, 30, 110, -1])("openCommitLog() makes a file with another bit at %d anew", (at) => {
    using directory = killed(1, 4)
    const bytes = Buffer.from(transaction(3))
    const index = at < 0 ? bytes.length + at : at
    bytes[index] = (bytes[index] as number) ^ 4
    writeFileSync(directory.ltxPath("app.db", 3), bytes)
    const log = start(directory)
    expect(log.lines).toEqual([
      "warn: set aside a damaged LTX file, the commit log has its transaction",
      MADE,
    ])
    expect(readFileSync(directory.ltxPath("app.db", 3), "hex")).toBe(hex(transaction(3)))
    const aside = [...ltxFiles(directory)].filter(([name]) => /\.ltx\.damaged-\d+$/.test(name))
    expect(aside.map(([, content]) => content)).toEqual([bytes.toString("hex")])
  })

  test("openCommitLog() takes the log's for a transaction that was refused before, by this node", () => {
    using directory = killed(1, 3)
    const refused = transaction(3, 200, 2, { timestampMs: 1 })
    writeFileSync(directory.ltxPath("app.db", 3), refused)
    start(directory)
    expect(readFileSync(directory.ltxPath("app.db", 3), "hex")).toBe(hex(transaction(3)))
    expect([...ltxFiles(directory).values()]).toContain(hex(refused))
  })

  test("openCommitLog() makes all files of a new database", () => {
    using directory = killed(1, 3)
    const before = ltxFiles(directory)
    putCopy(directory, 1, 0, 1)
    writeFileSync(directory.dataDir.path("app.db", "database"), page(1, 2).data) // as after the second
    expect(start(directory).lines).toEqual([MADE])
    expect(ltxFiles(directory)).toEqual(before)
  })

  test("openCommitLog() leaves a database without files that has nothing of the log's and is later", async () => {
    using directory = killed(1, 3)
    putCopy(directory, 1, 0, 1)
    await Bun.sleep(1100)
    writeFileSync(directory.dataDir.path("app.db", "database"), page(1, 99).data)
    const log = start(directory)
    expect(log.lines).toEqual([FOREIGN])
    expect(log.fields[0]).toMatchObject({ ltx: "none" })
    expect(ltxFiles(directory).size).toBe(0)
    expect([...kept(directory).keys()]).toEqual([1, 2, 3])
  })

  test.each([
    ["has a page of theirs, and more", 6, 2],
    ["is of the time of the log", 99, 1],
  ])("openCommitLog() makes the only files, when the database file %s", (_, fill, pages) => {
    using directory = killed(5, 6)
    const before = ltxFiles(directory)
    putCopy(directory, 1, 0, 1)
    const content = Array.from({ length: pages }, (_, index) => page(index + 1, fill + index).data)
    writeFileSync(directory.dataDir.path("app.db", "database"), Buffer.concat(content))
    expect(start(directory).lines).toEqual([MADE])
    expect(ltxFiles(directory)).toEqual(before)
  })
})
