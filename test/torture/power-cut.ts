/**
 * A workload on a real node with a trace of all its writes and syncs, then recovery from what power cuts at
 * many moments of it may have left. What a client was told before the cut must be there. Of some of the recoveries a
 * trace is made in turn, and power is cut in them; in others system calls fail, or the process is killed.
 *
 * With `capture: "behind"` clients write the WAL, and the tracer adds to the trace what it finds there: none of it is ever
 * synced. Under `synchronous: "normal"` a client may then lose what SQLite itself loses, all after its last checkpoint,
 * but what is there is a prefix of its transactions. A replica of such a primary has shown nothing that a cut takes from
 * the primary, and nothing of another history.
 *
 * A replica shows a transaction before it is durable there (peer/receive/replica-database.ts): it may lack the last one
 * that it has shown, no other.
 */

import { Database } from "bun:sqlite"
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  utimesSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { readClusterId } from "../../src/cluster/role/cluster-id.ts"
import { configureLog, type Logger } from "../../src/lib/log.ts"
import { formatTxid } from "../../src/ltx/pos.ts"
import { openCommitLog } from "../../src/recovery/log/commit-log-recovery.ts"
import { recoverDatabases } from "../../src/recovery/recover.ts"
import { DataDir } from "../../src/store/data-dir.ts"
import { LtxDirectory } from "../../src/store/ltx/ltx-directory.ts"
import { readLtxFile } from "../../src/store/ltx/ltx-file.ts"
import { Positions } from "../../src/store/positions.ts"
import { readSynced } from "../../src/store/synced.ts"
import { integrityProblems } from "../../src/sys/bun/sqlite.ts"
import { setTrace, Trace } from "../../src/sys/trace.ts"
import { DirectoryImage } from "../support/directory-image.ts"
import { type NodeOptions, Scope, type TestNode } from "../support/node.ts"
import { FATES, readTrace, TracedDirectory } from "../support/power-cut.ts"
import type { Random } from "../support/random.ts"
import { RecordedLog } from "../support/recorded-log.ts"
import { RecoveredNode } from "../support/recovered-node.ts"
import { callsOf, RECOVERY_FAULTS, sweepRecovery } from "../support/recovery-faults.ts"
import { until } from "../support/until.ts"
import { Client, program } from "./client.ts"
import type { Mode } from "./model.ts"

export interface PowerCutOptions {
  readonly random: Random
  readonly mode: Exclude<Mode, "mixed">
  readonly synchronous: "full" | "normal"
  readonly node: "primary" | "replica"
  /** Of the primary. */
  readonly capture?: "strict" | "behind"
  readonly transactions: number
  readonly cuts: number
  /** Databases are synced and old LTX files removed all the time. */
  readonly maintains: boolean
  readonly result: PowerCutResult
}

export interface PowerCutResult {
  cuts: number
  recoveryCuts: number
  recoveryFaults: number
  acknowledged: number
}

export function noPowerCutResult(): PowerCutResult {
  return { cuts: 0, recoveryCuts: 0, recoveryFaults: 0, acknowledged: 0 }
}

/** What a database has to hold from now on: rows, as a client was told, or a position, as a replica has shown. */
export interface Acknowledged {
  readonly at: number // of the trace
  readonly database: string
  readonly first?: number // above `last` when the database is gone
  readonly last?: number
  readonly mayBeGone?: boolean // it is about to be removed
  readonly txid?: string
  readonly checksum?: string
}

interface Recording {
  readonly trace: string
  readonly data: string
  readonly acknowledged: Acknowledged[]
  readonly scratch: string
}

const WORKLOAD_MS_MAX = 120_000

export async function powerCut(options: PowerCutOptions): Promise<void> {
  configureLog({ level: "error", format: "text" })
  await using scope = new Scope()
  const recording = await record(scope, options)
  cutAndRecover(recording, options)
}

async function record(scope: Scope, options: PowerCutOptions): Promise<Recording> {
  const { random, mode, synchronous, transactions, maintains } = options
  const trace = join(scope.directory, "trace")
  const env = { LITEFS_TRACE: trace }
  const flags = maintains ? ["--retention", "100ms", "--retention-interval", "50ms"] : []
  const isReplica = options.node === "replica"
  const isBehind = options.capture === "behind"
  const own = [...flags, "--capture", options.capture ?? "strict"]
  const primary = await scope.node(isReplica ? { flags: own } : { flags: own, env })
  const replica =
    isReplica || isBehind ? await scope.node(replicaOf(primary, isReplica)) : undefined
  const traced = isReplica ? (replica as TestNode) : primary
  const seed = random.u32()
  const argument = {
    ...{ directory: primary.mount, trace, mode, synchronous, seed, transactions },
    data: isBehind && !isReplica ? primary.data : undefined,
    loses: isBehind && mode === "wal" && synchronous === "normal",
  }
  const watchers = replica === undefined ? [] : [watch(replica, trace)]
  const writer = new Client("tracer", program("tracer", argument))
  await writer.output(WORKLOAD_MS_MAX)
  let acknowledged = writer.lines.map((line) => JSON.parse(line) as Acknowledged)
  if (isReplica) {
    const position = (node: TestNode) =>
      new Client("cat", ["cat", `${node.mount}/main.db-pos`]).output(5000)
    const wanted = await position(primary)
    await until("the replica is there", async () => (await position(traced)) === wanted)
  }
  for (const watcher of watchers) await watcher.kill()
  const shown = watchers.flatMap(({ lines }) => {
    return lines.map((line) => JSON.parse(line) as Acknowledged)
  })
  // Of a replica not what the primary has told its client, but what it has shown.
  acknowledged = isReplica ? shown : [...acknowledged, ...shown].sort((a, b) => a.at - b.at)
  function replicaOf(follows: TestNode, isTraced: boolean): NodeOptions {
    return isTraced ? { follows, flags, env } : { follows, flags }
  }
  const stopped = random.below(2) === 0
  await traced.stop(stopped ? "SIGTERM" : "SIGKILL")
  const memory = existsSync("/dev/shm") ? "/dev/shm" : tmpdir()
  const scratch = mkdtempSync(join(memory, "litefs-cut-"))
  scope.defer(() => rmSync(scratch, { recursive: true, force: true }))
  return { trace, data: traced.data, acknowledged, scratch }
}

/** Says again and again what the replica shows. */
function watch(node: TestNode, trace: string): Client {
  return new Client("watcher", program("watcher", { directory: node.mount, trace }))
}

function cutAndRecover(recording: Recording, options: PowerCutOptions): void {
  const { random, cuts, result } = options
  const events = readTrace(recording.trace)
  const end = events.at(-1)?.end ?? 0
  const positions = [end]
  // Half of the cuts right after a change, where the order of things matters.
  const [first, count] = [events[0]?.end ?? 0, events.length]
  for (let cut = 1; cut < cuts; cut++)
    positions.push(Math.max(first, events[random.below(count)]?.end ?? 0))
  const directory = new TracedDirectory(recording.data, events)
  result.acknowledged += recording.acknowledged.length
  for (const position of positions.sort((a, b) => a - b)) {
    directory.advance(position)
    const how = {
      random,
      data: random.pick(FATES),
      names: random.pick(FATES),
      inOrder: random.below(2) === 0,
    }
    const target = join(recording.scratch, `${position}`)
    directory.cut(target, how)
    const { data, names, inOrder } = how
    const what = `cut at ${position} of ${end}, data ${data}, names ${names}${inOrder ? " in order" : ""}`
    const acknowledged = recording.acknowledged.filter(({ at }) => at <= position)
    try {
      if (random.below(RECOVERIES) === 0 || position === end) {
        const image = new DirectoryImage(target)
        cutRecovery(image, recording.scratch, acknowledged, options)
        failRecovery(image, acknowledged, options)
      }
      checkRecovery(target, acknowledged, mayLackOf(options))
    } catch (error) {
      const kept = process.env.LITEFS_KEEP
      if (kept !== undefined) cpSync(target, kept, { recursive: true })
      if (kept !== undefined) cpSync(recording.trace, `${kept}.trace`)
      throw new Error(`${what}: ${error instanceof Error ? error.stack : error}`)
    }
    rmSync(target, { recursive: true })
    result.cuts += 1
  }
}

function mayLackOf({ node }: PowerCutOptions): bigint {
  return node === "replica" ? 1n : 0n
}

/** In one of so many recoveries something happens. */
const RECOVERIES = 15
const CUTS_PER_RECOVERY = 5
const FAULTS_PER_RECOVERY = 5

/** Cuts the power again while a node recovers and, half of the time, stops in order. */
function cutRecovery(
  image: DirectoryImage,
  scratch: string,
  acknowledged: readonly Acknowledged[],
  options: PowerCutOptions,
): void {
  const { random, result } = options
  const [root, path] = [join(scratch, "recovering"), join(scratch, "recovering-trace")]
  image.writeTo(root)
  believeChecksums(new DataDir(root))
  const before = new DirectoryImage(root)
  const stops = random.below(2) === 0
  const trace = new Trace(path)
  setTrace(trace)
  try {
    const node = RecoveredNode.start(root, new RecordedLog().logger)
    if (stops) node.stop()
    else node.kill()
  } finally {
    setTrace(undefined)
    trace.close()
  }
  const events = readTrace(path)
  const positions = Array.from({ length: CUTS_PER_RECOVERY }, () => random.pick(events).end)
  const directory = TracedDirectory.existing(root, events, before)
  for (const position of positions.sort((a, b) => a - b)) {
    directory.advance(position)
    const [data, names] = [random.pick(FATES), random.pick(FATES)]
    const target = join(scratch, "recovering-cut")
    directory.cut(target, { random, data, names, inOrder: random.below(2) === 0 })
    try {
      checkRecovery(target, acknowledged, mayLackOf(options))
    } catch (error) {
      const text = error instanceof Error ? error.stack : error
      throw new Error(
        `recovery cut at ${position} of ${events.at(-1)?.end}, data ${data}, names ${names}: ${text}`,
      )
    }
    rmSync(target, { recursive: true })
    result.recoveryCuts += 1
  }
  rmSync(root, { recursive: true })
  rmSync(path)
}

/** Lets system calls fail while a node recovers and stops. */
function failRecovery(
  image: DirectoryImage,
  acknowledged: readonly Acknowledged[],
  options: PowerCutOptions,
): void {
  const { random, result } = options
  const count = callsOf(image).length
  const faults = Array.from({ length: FAULTS_PER_RECOVERY }, () => {
    return [random.below(count), random.pick(RECOVERY_FAULTS)] as const
  })
  result.recoveryFaults += sweepRecovery(image, faults, (root) =>
    checkRecovery(root, acknowledged, mayLackOf(options)),
  )
}

const slots = Positions.create()

/** A node starts on what is there, twice, and everything that was acknowledged is in it. */
export function checkRecovery(
  root: string,
  acknowledged: readonly Acknowledged[],
  mayLack = 0n, // transactions that this node has shown
): void {
  const lines: string[] = []
  const take = (level: string) => (message: string, fields?: object) => {
    lines.push(
      `${level} ${message} ${Object.values(fields ?? {})
        .map(String)
        .join(" ")}`,
    )
  }
  const log: Logger = {
    error: take("error"),
    warn: take("warn"),
    info: take("info"),
    debug: take("debug"),
    trace: take("trace"),
  }
  try {
    const dataDir = new DataDir(root)
    if (!existsSync(root)) mkdirSync(root)
    dataDir.create()
    readClusterId(dataDir.clusterIdPath)
    believeChecksums(dataDir)
    for (let round = 0; round < 2; round++) {
      const commitLog = openCommitLog(dataDir, log, { isFree: () => true, onFull: () => {} })
      commitLog.close()
      const states = recoverDatabases(dataDir, slots, log)
      for (const [name, state] of states) {
        if (state === undefined) throw new Error(`${name} is unavailable`)
        checkDatabase(dataDir, name, state.pos.txid, lastOf(acknowledged, name))
        checkShown(dataDir, name, state.pos.txid, lastShown(acknowledged, name), mayLack)
      }
      for (const { database } of acknowledged) {
        if (states.has(database)) continue
        throw new Error(`LOST: all of ${database}`)
      }
    }
  } catch (error) {
    throw new Error(`${error instanceof Error ? error.stack : error}\n${lines.join("\n")}`)
  }
}

function lastOf(acknowledged: readonly Acknowledged[], name: string): Acknowledged | undefined {
  return acknowledged.findLast(({ database, txid }) => database === name && txid === undefined)
}

function lastShown(acknowledged: readonly Acknowledged[], name: string): Acknowledged | undefined {
  return acknowledged.findLast(({ database, txid }) => database === name && txid !== undefined)
}

/** A position that a replica has shown is one that this node has been at. */
function checkShown(
  dataDir: DataDir,
  name: string,
  txid: bigint,
  wanted: Acknowledged | undefined,
  mayLack: bigint,
): void {
  if (wanted?.txid === undefined) return
  const shown = BigInt(`0x${wanted.txid}`)
  if (txid < shown - mayLack) {
    throw new Error(`LOST: ${name} was at ${wanted.txid}, it is at ${formatTxid(txid)}`)
  }
  const file = new LtxDirectory(dataDir.ltxDir(name))
    .list()
    .find(({ maxTxid }) => maxTxid === shown)
  if (file === undefined || wanted.checksum === undefined) return
  const { postApplyChecksum } = readLtxFile(file.path).trailer
  if (postApplyChecksum === BigInt(`0x${wanted.checksum}`)) return
  throw new Error(`LOST: ${name} was at ${wanted.txid}/${wanted.checksum}, that one is another`)
}

/**
 * The time of a database file need not be on the disk when its content is. The worst it can be is what
 * `checksums` wants it to be.
 */
function believeChecksums(dataDir: DataDir): void {
  for (const name of dataDir.databaseNames()) {
    const [path, database] = [dataDir.checksumsPath(name), dataDir.path(name, "database")]
    if (!existsSync(path) || !existsSync(database)) continue
    const bytes = readFileSync(path)
    if (bytes.length < 56) continue
    const modifiedMs = bytes.readDoubleBE(40)
    utimesSync(database, modifiedMs / 1000, modifiedMs / 1000)
  }
}

function checkDatabase(
  dataDir: DataDir,
  name: string,
  txid: bigint,
  wanted: Acknowledged | undefined,
): void {
  // Of files that retention removes, some may come back.
  const synced = readSynced(dataDir.syncedPath(name))
  const all = new LtxDirectory(dataDir.ltxDir(name)).list()
  const files = all.filter((file, index) => file.maxTxid >= synced || index === all.length - 1)
  let before: bigint | undefined
  let checksum = 0n
  for (const file of files) {
    const { header, trailer } = readLtxFile(file.path)
    if (before !== undefined && header.minTxid !== before + 1n) {
      throw new Error(`${file.path}: it follows on ${header.minTxid - 1n}, not on ${before}`)
    }
    if (before !== undefined && header.preApplyChecksum !== checksum) {
      throw new Error(`${file.path}: its pre-apply checksum is not what was before`)
    }
    before = header.maxTxid
    checksum = trailer.postApplyChecksum
  }
  if ((before ?? 0n) !== txid) throw new Error(`${name}: position ${txid}, log ${before}`)
  if (synced > txid) throw new Error(`${name}: synced is too high`)

  const path = dataDir.path(name, "database")
  const rows = existsSync(path) && readFileSync(path).length > 0 ? rowsOf(path) : undefined
  if (rows !== undefined) {
    const problems = integrityProblems(path, 5)
    if (problems.length > 0) throw new Error(`${name}: ${problems.join("; ")}`)
    for (const [index, n] of rows.entries()) {
      if (index > 0 && n !== (rows[index - 1] as number) + 1) {
        throw new Error(`${name}: ${n} follows on ${rows[index - 1]}`)
      }
    }
  }
  if (wanted === undefined) return
  const { first = 0, last = 0, mayBeGone = false } = wanted
  if (mayBeGone && (rows === undefined || rows.length === 0)) return
  const found = rows === undefined ? "no database" : `${rows[0]} to ${rows.at(-1)}`
  // Numbers go on after a drop, so one that was made again begins above all that was there.
  const hasNewer = rows?.[0] !== undefined && rows[0] > last
  if (first <= last && !hasNewer && !(rows?.[0] === first && (rows.at(-1) ?? 0) >= last)) {
    throw new Error(`LOST: ${name} had ${first} to ${last}, there is ${found}`)
  }
  if (first > last && rows?.[0] !== undefined && rows[0] < first) {
    throw new Error(`${name} was dropped, there is ${found}`)
  }
}

function rowsOf(path: string): number[] {
  const uri = `file://${path}?immutable=1`
  using database = new Database(uri, 0x41) // SQLITE_OPEN_READONLY | SQLITE_OPEN_URI
  const tables = database.query("select 1 from sqlite_master where name = 'tx'").all()
  if (tables.length === 0) return []
  return database
    .query("select n from tx order by n")
    .values()
    .map(([n]) => Number(n))
}
