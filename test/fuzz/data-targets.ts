/**
 * What lies in the data directory. We wrote it, but power cuts, other programs and people have been there: a start
 * finds databases or refuses them, one by one, with an error of ours, in a time that has to do with their size.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { PageChecksums } from "../../src/capture/page-checksums.ts"
import { readClusterId } from "../../src/cluster/role/cluster-id.ts"
import { StaticLease } from "../../src/cluster/role/static-lease.ts"
import { factsJson, listKept } from "../../src/diverged/kept-history.ts"
import { Crc64 } from "../../src/lib/codecs/crc64.ts"
import { LitefsError } from "../../src/lib/errors.ts"
import { writePageChecksum } from "../../src/ltx/checksum.ts"
import {
  placementsOf,
  readSegment,
  setAsideForeign,
  storeTransactions,
} from "../../src/recovery/log/commit-log-recovery.ts"
import { recoverDatabases } from "../../src/recovery/recover.ts"
import { saveSums } from "../../src/recovery/saved-sums.ts"
import { isPageSize } from "../../src/sqlite/page-size.ts"
import { BackedFile } from "../../src/store/backed-file.ts"
import { DataDir } from "../../src/store/data-dir.ts"
import { CRC_START, RECORD_HEADER_SIZE, roundUp } from "../../src/store/log/commit-log.ts"
import { pastChecksum } from "../../src/store/past-positions.ts"
import { Positions } from "../../src/store/positions.ts"
import { SysError } from "../../src/sys/errno.ts"
import { concat } from "../support/bytes.ts"
import { DataDirectory, FIXTURE_PAGE_SIZE } from "../support/data-directory.ts"
import { hotJournal } from "../support/hot-journal.ts"
import { transaction } from "../support/log-directory.ts"
import { decodeLtxFile } from "../support/ltx-file.ts"
import { MEMORY } from "../support/node.ts"
import { Random } from "../support/random.ts"
import { RecordedLog } from "../support/recorded-log.ts"
import { chainWal, walFile } from "./sqlite-targets.ts"
import { refusesAsRange, refusesWith, type Target } from "./target.ts"

const segments: Target = {
  name: "commit-log",
  seeds: () => [segment(1, 2, 3), segment(7)],
  run(input) {
    const size = readSegment(input).reduce((sum, { ltx }) => sum + ltx.length, 0)
    if (size > input.length) throw new Error(`${size} bytes of ${input.length}`)
  },
  repair: sumRecords,
}

/** As commit-log.ts has it. */
function segment(...txids: readonly number[]): Uint8Array {
  const name = new TextEncoder().encode("app.db")
  const records = txids.map((txid) => {
    const start = RECORD_HEADER_SIZE + roundUp(name.length)
    const ltx = transaction(txid)
    const record = new Uint8Array(roundUp(start + ltx.length))
    const view = new DataView(record.buffer)
    view.setUint32(0, 0x4c43464c, true)
    view.setUint32(4, start + ltx.length, true)
    view.setBigUint64(8, BigInt(txid), true)
    view.setBigUint64(24, BigInt(txid), true)
    view.setUint32(32, name.length, true)
    view.setUint32(36, 0xabcdef, true)
    record.set(name, RECORD_HEADER_SIZE)
    record.set(ltx, start)
    return record
  })
  const whole = concat(...records, new Uint8Array(64))
  sumRecords(whole)
  return whole
}

function sumRecords(input: Uint8Array): void {
  const view = new DataView(input.buffer, input.byteOffset, input.length)
  for (let at = 0; at + RECORD_HEADER_SIZE <= input.length; ) {
    const size = view.getUint32(at + 4, true)
    if (size < RECORD_HEADER_SIZE || at + size > input.length) return
    const sum = new Crc64().update(input, at + CRC_START, at + size).digest()
    view.setBigUint64(at + 16, sum, true)
    at += roundUp(size)
  }
}

/** Files of one database, of which an input is one: its first byte says which. */
interface Fixture {
  readonly files: ReadonlyMap<string, Uint8Array>
  readonly names: readonly string[]
}

const DB = "dbs/app.db"
const MODIFIED_S = 1_000_000_000
const FIRST_LTX = "0000000000000001-0000000000000001.ltx"
const LAST_LTX = "0000000000000003-0000000000000003.ltx"
const text = (content: string) => new TextEncoder().encode(content)

let made: Fixture | undefined

function fixture(): Fixture {
  if (made !== undefined) return made
  using data = new DataDirectory()
  const database = data.database("app.db", 3)
  const files = new Map<string, Uint8Array>()
  for (const [name, hex] of data.content) files.set(name, new Uint8Array(Buffer.from(hex, "hex")))
  files.set(`${DB}/checksums`, savedSums(database.path("database"), database.ltxPath(3)))
  const optional = new Map<string, Uint8Array>([
    [`${DB}/journal`, hotJournal(2, new Map([[1, new Random(1).bytes(FIXTURE_PAGE_SIZE)]]))],
    [`${DB}/wal`, walFile(FIXTURE_PAGE_SIZE)],
    [`${DB}/synced`, text("0000000000000002\n")],
    [`${DB}/past`, new Random(3).bytes(160)],
    [
      `${DB}/takeover`,
      text(
        `{"number":1,"minTxid":"${"0".repeat(15)}1","maxTxid":"${"0".repeat(15)}9","commit":3}\n`,
      ),
    ],
    ["commit-log.0", segment(3, 4)],
    ["clusterid", text("LFSC0123456789ABCDEF\n")],
    ["lease.json", text(LEASE)],
    ["diverged/x/history.json", text(HISTORY)],
  ])
  const names = [
    `${DB}/database`,
    `${DB}/ltx/${FIRST_LTX}`,
    `${DB}/ltx/${LAST_LTX}`,
    `${DB}/checksums`,
  ]
  made = { files: new Map([...optional, ...files]), names: [...names, ...optional.keys()] }
  return made
}

const LEASE = `{"id":"00C0FFEE00C0FFEE","epoch":3,"primary":{"id":"00C0FFEE00C0FFEF","hostname":"b",\
"url":"http://b:20202"},"reached":{"id":"00C0FFEE00C0FFEF","url":"http://10.0.0.2:20202"},"unfenced":["http://c:1"]}\n`

const HISTORY = `{"database":"app.db","pos":"0000000000000003/8000000000000003","pageSize":512,"commit":3,\
"time":"2026-01-01T00:00:00.000Z","reason":"it is ahead of the primary",\
"primary":{"name":"a","pos":"0000000000000002/8000000000000002"}}\n`

function savedSums(path: string, ltxPath: string): Uint8Array {
  const database = new BackedFile("database", path)
  try {
    utimesSync(path, MODIFIED_S, MODIFIED_S)
    const image = new Uint8Array(readFileSync(path))
    const sums = new PageChecksums(image.length / FIXTURE_PAGE_SIZE)
    const sum = new Uint32Array(2)
    for (let pgno = 1; pgno <= sums.pageCount; pgno++) {
      const page = image.subarray((pgno - 1) * FIXTURE_PAGE_SIZE, pgno * FIXTURE_PAGE_SIZE)
      writePageChecksum(sum, pgno, page)
      sums.set(pgno, sum[0] as number, sum[1] as number)
    }
    const { trailer } = decodeLtxFile(new Uint8Array(readFileSync(ltxPath)))
    const pos = { txid: 3n, checksum: trailer.postApplyChecksum }
    database.open()
    const to = `${path}.sums`
    saveSums(to, database, { pos, pageSize: FIXTURE_PAGE_SIZE, commit: sums.pageCount, sums })
    const bytes = new Uint8Array(readFileSync(to))
    rmSync(to)
    return bytes
  } finally {
    database.close()
  }
}

const directory: Target = {
  name: "data-directory",
  seeds() {
    const { names, files } = fixture()
    return names.map((name, index) =>
      concat(Uint8Array.of(index), files.get(name) ?? new Uint8Array()),
    )
  },
  words: [
    '"commit":',
    "-1",
    "4294967295",
    "1e300",
    "null",
    '"number":',
    "0000000000000000",
    "[]",
    "{}",
  ],
  run(input) {
    const root = mkdtempSync(join(MEMORY, "litefs-fuzz-"))
    try {
      const name = layOut(root, input)
      start(new DataDir(root))
      lookAt(root, name)
    } finally {
      rmSync(root, { recursive: true })
    }
  },
  refuses: refusesWith("damaged"),
  repair(input) {
    const { names } = fixture()
    const content = input.subarray(1)
    const name = names[(input[0] ?? 0) % names.length]
    if (name === `${DB}/wal`) chainWal(content)
    else if (name === "commit-log.0") sumRecords(content)
    else if (name === `${DB}/checksums` && content.length >= 56) {
      const sum = new Crc64().update(content, 0, 48).update(content, 56).digest()
      new DataView(content.buffer, content.byteOffset).setBigUint64(48, sum)
    }
  },
}

/** Without an optional file, unless it is the one that is tried. Returns its name. */
function layOut(root: string, input: Uint8Array): string {
  const { names, files } = fixture()
  const chosen = names[(input[0] ?? 0) % names.length] as string
  for (const [name, content] of files) {
    const isOptional = !name.startsWith(`${DB}/ltx/`) && name !== `${DB}/database`
    if (isOptional && name !== chosen) continue
    mkdirSync(dirname(join(root, name)), { recursive: true })
    writeFileSync(join(root, name), name === chosen ? input.subarray(1) : content)
  }
  utimesSync(join(root, `${DB}/database`), MODIFIED_S, MODIFIED_S)
  return chosen
}

const positions = Positions.create()

/** What a node does when it starts, without its threads. */
function start(dataDir: DataDir): void {
  const log = new RecordedLog()
  for (const placement of placementsOf(dataDir)) {
    setAsideForeign(dataDir, placement, log.logger)
    storeTransactions(dataDir, placement.missing, log.logger)
  }
  recoverDatabases(dataDir, positions, log.logger)
  for (const [index, line] of log.lines.entries()) {
    const error = log.fields[index]?.error
    if (error === undefined) continue
    const isOurs =
      error instanceof LitefsError || error instanceof SysError || refusesAsRange(error)
    if (!isOurs) throw error
    if (error instanceof LitefsError && error.code !== "damaged")
      throw new Error(line, { cause: error })
  }
}

function lookAt(root: string, name: string): void {
  const dataDir = new DataDir(root)
  pastChecksum(dataDir.pastPath("app.db"), 5n)
  if (name === "clusterid") readClusterId(dataDir.clusterIdPath)
  for (const { facts } of listKept(dataDir).histories) {
    const { pageSize, commit, reason, primary, keptMs } = facts
    if (!isPageSize(pageSize) || commit < 0 || commit > 0xffffffff)
      throw new Error("no such database")
    if (typeof reason !== "string") throw new Error("the reason is no text")
    if (!["string", "undefined"].includes(typeof primary.name))
      throw new Error("the name is no text")
    if (!Number.isFinite(keptMs)) throw new Error("the time is none")
    JSON.stringify(factsJson(facts))
  }
  if (name === "lease.json") checkLease(dataDir.leasePath)
}

/** What it has read it can write, and read again. */
function checkLease(path: string): void {
  const lease = new StaticLease(path, () => 1n)
  const { record } = lease
  if (record !== undefined) {
    const reached = lease.reachedAt(record.primary.id)
    if (!["string", "undefined"].includes(typeof reached)) throw new Error("the address is no text")
  }
  const next = { epoch: 4, primary: { id: lease.id, hostname: "a", url: "http://a:1" } }
  lease.keep(next)
  const again = new StaticLease(path, () => 1n)
  if (again.id !== lease.id || !Bun.deepEquals(again.record, lease.record)) {
    throw new Error(`${readFileSync(path, "utf8")} is read as something else`)
  }
}

export const DATA_TARGETS: readonly Target[] = [segments, directory]
