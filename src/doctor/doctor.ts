/**
 * Examines a data directory that no LiteFS uses, and repairs what can be repaired without loss.
 *
 * Without `repair` it changes nothing. With it, it repairs every finding and then examines everything again: the second
 * report tells what is left.
 */
import { accessSync, constants, existsSync, readdirSync, statSync } from "node:fs"
import { join, relative } from "node:path"
import { isDecided, readTakeover } from "../diverged/takeover.ts"
import type { Clock } from "../lib/clock.ts"
import { LitefsError } from "../lib/errors.ts"
import {
  logRange,
  ltxEnd,
  placementsOf,
  setAsideForeign,
  storeTransactions,
} from "../recovery/log/commit-log-recovery.ts"
import type { Placement } from "../recovery/log/log-placement.ts"
import type { LogRecord } from "../recovery/log/log-record.ts"
import { wrongKinds } from "../recovery/wrong-kind.ts"
import { DataDir } from "../store/data-dir.ts"
import { segmentPath } from "../store/log/log-segment.ts"
import { SysError } from "../sys/errno.ts"
import { closeFile, type Fd } from "../sys/file.ts"
import { DamagedDir } from "./damaged-dir.ts"
import { checkDatabase, type DatabaseReport } from "./database-check.ts"
import { type Finding, moveAway, note, problem } from "./finding.ts"

export interface DoctorOptions {
  readonly dataDir: string
  /** All databases when there is no name. */
  readonly databases: readonly string[]
  readonly repairs: boolean
  /** Of who the node is, and of its cluster, which this layer does not know. */
  identity?(dataDir: DataDir): Finding[]
}

export interface DoctorReport {
  readonly databases: readonly DatabaseReport[]
  /** Findings about the data directory itself. */
  readonly findings: readonly Finding[]
}

export interface Examination {
  readonly found: DoctorReport
  /** The report after the repairs; undefined when there were none to do. */
  readonly left: DoctorReport | undefined
  /** Where everything that was replaced or moved is kept. */
  readonly kept: readonly string[]
}

export function examine(
  { dataDir: root, databases, repairs, identity = () => [] }: DoctorOptions,
  clock: Clock,
): Examination {
  const dataDir = new DataDir(root)
  if (!existsSync(join(root, "dbs"))) {
    if (codeOf(() => statSync(join(root, "dbs"))) === "EACCES") {
      const advice = "run it as the user of LiteFS, or as root"
      throw new LitefsError("io", `Cannot examine "${root}": permission denied, ${advice}`)
    }
    const problem = existsSync(root) ? 'it has no "dbs"' : "it does not exist"
    throw new LitefsError(
      "not-found",
      `Cannot examine "${root}": ${problem}, give the data directory of a node with --data-dir`,
    )
  }
  // A directory that only the original has used has no lock, and without --repair gets none.
  const lock = repairs || existsSync(join(root, "lock")) ? lockOf(dataDir, repairs) : undefined
  try {
    return examineLocked(dataDir, { databases, repairs, identity }, lock === "read-only", clock)
  } finally {
    if (typeof lock === "number") closeFile(lock)
  }
}

/** Without --repair a read-only file system is examined as it is: no LiteFS of this machine can use it. */
function lockOf(dataDir: DataDir, repairs: boolean): Fd | "read-only" {
  try {
    return dataDir.lock()
  } catch (error) {
    if (repairs || !(error instanceof SysError) || error.code !== "EROFS") throw error
    return "read-only"
  }
}

/** The code of the error that it throws; undefined when it throws none. */
function codeOf(act: () => unknown): string | undefined {
  try {
    act()
    return undefined
  } catch (error) {
    return (error as NodeJS.ErrnoException).code
  }
}

/**
 * A repair lets more be seen: when a directory is gone from the place of an LTX file, that there are transactions in the
 * log whose files are missing; when these are made, what the database is.
 */
const ROUNDS_MAX = 4

function examineLocked(
  dataDir: DataDir,
  { databases, repairs, identity }: Required<Omit<DoctorOptions, "dataDir">>,
  isReadOnly: boolean,
  clock: Clock,
): Examination {
  const { root } = dataDir
  const names = chosenNames(dataDir, databases)
  const look = () => {
    const directory =
      databases.length === 0 ? [...identity(dataDir), ...strayFindings(dataDir)] : []
    const found = report(dataDir, names, directory, clock)
    if (!isReadOnly) return found
    const what = "its file system is read-only, and it could not be locked: it is examined as it is"
    return { ...found, findings: [note("not-locked", root, what), ...found.findings] }
  }
  const found = look()
  const all = new Set<string>()
  let left: DoctorReport | undefined
  for (let round = 0; repairs && round < ROUNDS_MAX; round++) {
    const kept = repairAll(root, left ?? found, clock)
    if (kept === undefined) break
    for (const path of kept) all.add(path)
    left = look()
  }
  return { found, left, kept: [...all] }
}

/** Whether nothing is wrong, or nothing is wrong any more. */
export function isHealthy({ found, left }: Examination): boolean {
  return findingsOf(left ?? found).every(({ severity }) => severity === "note")
}

export function findingsOf({ databases, findings }: DoctorReport): Finding[] {
  return [...findings, ...databases.flatMap((database) => database.findings)]
}

function chosenNames(dataDir: DataDir, databases: readonly string[]): string[] {
  const names = dataDir.databaseNames()
  const missing = databases.find((name) => !names.includes(name))
  if (missing === undefined) return databases.length === 0 ? names : [...new Set(databases)]
  const there = names.length === 0 ? "which has none" : `which has ${names.join(", ")}`
  throw new LitefsError(
    "not-found",
    `Cannot examine database "${missing}": it is not in "${dataDir.root}", ${there}`,
  )
}

function report(
  dataDir: DataDir,
  names: readonly string[],
  findings: readonly Finding[],
  clock: Clock,
): DoctorReport {
  const placements = placementsOf(dataDir)
  return {
    databases: names.map((name) => {
      const wrong = wrongKindReport(dataDir, name)
      if (wrong !== undefined) return wrong
      // The files of two states are then side by side.
      if (isDecided(dataDir, name)) return pendingTakeover(dataDir, name)
      const checked = checkDatabase(dataDir, name, clock.wallMs())
      const access = accessFindings(dataDir.databaseDir(name))
      const found = { ...checked, findings: [...access, ...checked.findings] }
      const placement = placements.find(({ database }) => database === name)
      if (placement === undefined) return found
      const { missing, foreign } = placement
      const ofLog = [
        ...(missing.length === 0 ? [] : [missingFinding(dataDir, missing)]),
        ...(foreign.length === 0 ? [] : [foreignFinding(dataDir, placement)]),
      ]
      // Without the missing files other findings say nothing.
      return {
        ...found,
        findings: missing.length > 0 ? [...access, ...ofLog] : [...ofLog, ...found.findings],
      }
    }),
    findings,
  }
}

/** Undefined when there was nothing to repair. */
function repairAll(root: string, found: DoctorReport, clock: Clock): string[] | undefined {
  const groups = [
    { label: "directory", findings: found.findings },
    ...found.databases.map(({ name, findings }) => ({ label: name, findings })),
  ]
  if (!groups.some(({ findings }) => findings.some(({ repair }) => repair))) return undefined
  return groups.flatMap(({ label, findings }) => {
    const damaged = new DamagedDir(root, label, clock.wallMs())
    for (const repair of new Set(findings.map(({ repair }) => repair))) repair?.run(damaged)
    return existsSync(damaged.path) ? [damaged.path] : []
  })
}

function missingFinding(dataDir: DataDir, records: readonly LogRecord[]): Finding {
  const count = records.length === 1 ? "a transaction" : `${records.length} transactions`
  const what = `it holds ${count} whose LTX files are not there yet, as after a crash; the next start of LiteFS makes them, and until then the database cannot be judged`
  return problem("log-pending", segmentPath(dataDir.root, 0), what, {
    repair: { does: "makes the LTX files", run: () => storeTransactions(dataDir, records) },
  })
}

function foreignFinding(dataDir: DataDir, placement: Placement): Finding {
  const count = placement.foreign.length
  const transactions = count === 1 ? "a transaction" : `${count} transactions`
  const what = `it holds ${transactions} that ${count === 1 ? "does" : "do"} not follow on the LTX files: from ${logRange(placement)}, while the files end at ${ltxEnd(placement)}; the next start of LiteFS sets ${count === 1 ? "it" : "them"} aside`
  return problem("log-foreign", segmentPath(dataDir.root, 0), what, {
    repair: {
      does: `sets ${count === 1 ? "it" : "them"} aside beside the database, as LTX files`,
      run: () => setAsideForeign(dataDir, placement),
    },
  })
}

/** Root may write anywhere, so that only another user of LiteFS meets this. */
function accessFindings(directory: string): Finding[] {
  const { W_OK, X_OK } = constants
  if (codeOf(() => accessSync(directory, W_OK | X_OK)) !== "EACCES") return []
  const what = "this user may not write to it: LiteFS, run by this user, refuses the database"
  const options = ["chown it to the user of LiteFS, or chmod u+rwx it", "run LiteFS as its owner"]
  return [problem("not-writable", directory, what, { options })]
}

/** While something else is in the place of a file, the database cannot be judged. */
function wrongKindReport(dataDir: DataDir, name: string): DatabaseReport | undefined {
  const findings = wrongKinds(dataDir, name).map(({ path, is, should }) => {
    const what = `it is ${is}, it should be ${should}; LiteFS refuses the database until it is gone`
    const repair = moveAway(path, relative(dataDir.databaseDir(name), path))
    return problem("wrong-kind", path, what, { repair })
  })
  return findings.length === 0 ? undefined : unjudged(name, findings)
}

function pendingTakeover(dataDir: DataDir, name: string): DatabaseReport {
  const path = dataDir.takeoverPath(name)
  try {
    readTakeover(dataDir, name)
  } catch (error) {
    if (!(error instanceof LitefsError)) throw error
    const what =
      "it cannot be read, it should be the record of a snapshot that was taking over; LiteFS does not use the database while it is there, and a replica fetches the database again when its directory is moved away"
    return unjudged(name, [problem("takeover-unreadable", path, what)])
  }
  const what =
    "a snapshot of the primary was taking over when LiteFS stopped; the next start of LiteFS completes that, and until then the database cannot be judged"
  const finding = note("takeover-pending", path, what)
  return unjudged(name, [finding])
}

function unjudged(name: string, findings: readonly Finding[]): DatabaseReport {
  return { name, pos: undefined, pageSize: 0, commit: 0, ltxFileCount: 0, findings }
}

function strayFindings(dataDir: DataDir): Finding[] {
  const directory = join(dataDir.root, "dbs")
  return readdirSync(directory, { withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map(({ name }) => {
      const path = join(directory, name)
      const what =
        "a file or a link where only the directories of databases belong; LiteFS refuses a database of this name, and v0.5 does not start because of it"
      return problem("stray", path, what, { repair: moveAway(path, name) })
    })
}
