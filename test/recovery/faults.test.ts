/**
 * System calls that fail, and a process that is killed, at calls of a start and a stop, one in eight by chance, all
 * with LITEFS_ALL_FAULTS. After
 * cuts of real workloads: `scripts/torture --only power`; of real nodes: `--only starts`.
 */
import { beforeAll, expect, test } from "bun:test"
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { configureLog } from "../../src/lib/log.ts"
import { saveCleanState } from "../../src/recovery/clean-stop.ts"
import { BackedFile } from "../../src/store/backed-file.ts"
import { DataDir } from "../../src/store/data-dir.ts"
import { CommitLog } from "../../src/store/log/commit-log.ts"
import { writeSynced } from "../../src/store/synced.ts"
import { imageChecksum } from "../support/captured-database.ts"
import {
  type DatabaseFixture,
  DataDirectory,
  FIXTURE_PAGE_SIZE as PAGE_SIZE,
} from "../support/data-directory.ts"
import { DirectoryImage } from "../support/directory-image.ts"
import { IS_THOROUGH, testRandom } from "../support/random.ts"
import { RecordedLog } from "../support/recorded-log.ts"
import { RecoveredNode } from "../support/recovered-node.ts"
import {
  callsOf,
  RECOVERY_FAULTS,
  type RecoveryFault,
  sweepRecovery,
} from "../support/recovery-faults.ts"

const EVERY = 8
const INSERT = "INSERT INTO t(a) VALUES(hex(randomblob(200)))"

const random = testRandom()

beforeAll(() => configureLog({ level: "error", format: "text" }))

/** What a crash leaves: the log is ahead of the database file, and something is in the way. */
const CRASHES: Record<string, (database: DatabaseFixture, directory: DataDirectory) => void> = {
  "transactions that are in the commit log alone": (database, directory) => {
    for (let count = 0; count < 3; count++) database.commit(INSERT)
    const txids = [5, 6, 7]
    intoCommitLog(directory, database, txids)
    for (const txid of txids) rmSync(database.ltxPath(txid))
  },
  "a transaction that was not ended": (database) => {
    database.sqlite.run("PRAGMA cache_size=5; BEGIN")
    for (let count = 0; count < 30; count++) database.sqlite.run(INSERT)
    database.sqlite.run("UPDATE t SET a = hex(randomblob(200))")
    database.save()
    database.sqlite.run("ROLLBACK")
    writeSynced(database.path("synced"), 4n)
    for (const txid of [1, 2, 3]) rmSync(database.ltxPath(txid)) // as retention does
  },
  "the original, which left pages in the WAL alone": (database) => {
    database.commit(INSERT)
    database.commit(INSERT)
    database.save()
    for (const txid of [1, 2, 3, 4, 5]) rmSync(database.ltxPath(txid))
  },
  "a torn last LTX file and a file that is behind": (database) => {
    for (let count = 0; count < 3; count++) database.commit(INSERT)
    database.sqlite.run("DELETE FROM t WHERE id > 2; VACUUM")
    database.capture()
    const torn = readFileSync(database.ltxPath(8))
    writeFileSync(database.ltxPath(9), torn.subarray(0, torn.length / 2))
    writeFileSync(database.path("shm"), "of a dead client")
  },
  "a last LTX file with another bit": (database) => {
    database.commit(INSERT)
    database.save()
    database.flip(150, "ltx", "0000000000000005-0000000000000005.ltx")
  },
  "a clean stop": (database, directory) => {
    const dataDir = new DataDir(directory.root)
    const { states, stop } = started(directory.root)
    const file = new BackedFile("database", dataDir.path("app.db", "database"))
    const state = states.get("app.db")
    if (state !== undefined) saveCleanState(dataDir, "app.db", file, state)
    file.close()
    stop()
    expect(existsSync(database.path("checksums"))).toBe(true)
  },
}

function started(root: string) {
  const log = new RecordedLog()
  const node = RecoveredNode.start(root, log.logger)
  return { states: node.states, stop: () => node.stop(), log }
}

/** The records of transactions whose LTX files there are. */
function intoCommitLog(directory: DataDirectory, database: DatabaseFixture, txids: number[]): void {
  const log = new CommitLog({
    root: directory.root,
    nextSequence: 1n,
    isFree: () => true,
    onFull() {},
  })
  for (const txid of txids) {
    const writer = log.begin("app.db", BigInt(txid), database.ltxPath(txid))
    writer.append(readFileSync(database.ltxPath(txid)))
    writer.commit()
  }
  log.close()
}

function isJournal(what: string): boolean {
  return what.startsWith("a transaction") || what.startsWith("a clean")
}

/** At some calls one of the faults, by chance, or everywhere all of them. */
function* faultsOf(count: number): Generator<readonly [at: number, fault: RecoveryFault]> {
  for (const at of random.places(count, EVERY)) {
    const faults = IS_THOROUGH ? RECOVERY_FAULTS : [random.pick(RECOVERY_FAULTS)]
    for (const fault of faults) yield [at, fault]
  }
}

for (const [what, crash] of Object.entries(CRASHES)) {
  test(`a start and a stop after ${what} lose nothing, whichever call fails`, () => {
    using directory = new DataDirectory()
    const database = directory.database("app.db", 4, isJournal(what) ? "delete" : "wal")
    crash(database, directory)
    const image = database.sqlite.database.serialize()
    const txid = what.startsWith("a torn") ? 8n : database.txid
    const before = new DirectoryImage(directory.root)
    const count = callsOf(before).length
    expect(count).toBeGreaterThan(20)
    const done = sweepRecovery(before, faultsOf(count), (root) => {
      // Twice: after a stop in order, nothing is to be recovered.
      for (let round = 0; round < 2; round++) {
        const { states, stop, log } = started(root)
        const state = states.get("app.db")
        expect(log.lines.filter((line) => line.startsWith("error"))).toEqual([])
        expect(state?.pos).toEqual({ txid, checksum: imageChecksum(image, PAGE_SIZE) })
        expect(state?.sums.total).toBe(state?.pos.checksum)
        expect(Buffer.compare(readFileSync(`${root}/dbs/app.db/database`), image)).toBe(0)
        stop()
      }
    })
    expect(done).toBeGreaterThanOrEqual(Math.floor(count / EVERY))
  }, 240_000)
}
