/** Client processes of a mount: sqlite3 and Node with better-sqlite3, each with a time limit. */
import { expect } from "bun:test"
import { type SpawnSyncReturns, spawn, spawnSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { join, resolve } from "node:path"
import { ChecksumAccumulator, lockPgno } from "../../src/ltx/checksum.ts"
import { formatChecksum } from "../../src/ltx/pos.ts"
import { decodeDatabaseHeader } from "../../src/sqlite/database-header.ts"
import { WalReader } from "../../src/sqlite/wal-reader.ts"
import { FileSource } from "../../src/store/ltx/file-source.ts"
import type { Exit, TestNode } from "./node.ts"
import { refuseStackTrace } from "./stack-trace.ts"
import { until } from "./until.ts"

const ROOT = resolve(import.meta.dir, "../..")
const LIMIT_MS = 30_000

/** Runs a command and returns what it prints; throws with its stderr when it fails or hangs. */
export function run(command: readonly string[], input = "", limitMs = LIMIT_MS): string {
  const { status, signal, stdout, stderr, error } = ended(command, input, limitMs)
  if (error !== undefined || status !== 0) {
    const how = error?.message ?? (signal === null ? `exit code ${status}` : signal)
    throw new Error(`${command.join(" ").slice(0, 200)}: ${how}\n${stdout}${stderr}`)
  }
  return stdout
}

/** Runs a command that is to fail and returns what it says on stderr. */
export function failureOf(command: readonly string[], input = ""): string {
  const { status, stdout, stderr, error } = ended(command, input, LIMIT_MS)
  if (error !== undefined) throw error
  if (status !== 0) return stderr
  throw new Error(`${command.join(" ").slice(0, 200)} did not fail: ${stdout}`)
}

function ended(
  command: readonly string[],
  input: string,
  limitMs: number,
): SpawnSyncReturns<string> {
  const [program, ...args] = command as [string, ...string[]]
  const result = spawnSync(program, args, {
    input,
    encoding: "utf8",
    timeout: limitMs,
    killSignal: "SIGKILL",
    cwd: ROOT,
    maxBuffer: 256 * 1024 * 1024,
  })
  refuseStackTrace(result.stderr ?? "", command.join(" ").slice(0, 200))
  return result
}

export interface Ended extends Exit {
  readonly stdout: string
  readonly stderr: string
}

/** A command that runs beside the test. */
export interface Running {
  readonly pid: number
  readonly ended: Promise<Ended>
  /** It has written something, or ended. */
  readonly spoken: Promise<void>
  kill(signal: NodeJS.Signals): void
}

/** Starts a command and does not wait for it. It is killed when it takes too long. */
export function start(
  command: readonly string[],
  { input = "", limitMs = LIMIT_MS, env = {} as Record<string, string> } = {},
): Running {
  const [program, ...args] = command as [string, ...string[]]
  const child = spawn(program, args, { cwd: ROOT, env: { ...process.env, ...env } })
  const timer = setTimeout(() => child.kill("SIGKILL"), limitMs)
  let [stdout, stderr] = ["", ""]
  child.stdout.setEncoding("utf8").on("data", (text) => {
    stdout += text
  })
  child.stderr.setEncoding("utf8").on("data", (text) => {
    stderr += text
  })
  child.stdin.on("error", () => {}) // it does not read what it is given
  child.stdin.end(input)
  const ended = new Promise<Ended>((done, failed) => {
    child.once("error", failed)
    child.once("close", (code, signal) => {
      clearTimeout(timer)
      try {
        refuseStackTrace(stderr, command.join(" ").slice(0, 200))
        done({ code, signal, stdout, stderr })
      } catch (error) {
        failed(error)
      }
    })
  })
  const spoken = new Promise<void>((done) => {
    child.stdout.once("data", () => done())
    child.once("close", () => done())
  })
  return { pid: child.pid as number, ended, spoken, kill: (signal) => void child.kill(signal) }
}

/** What a command that runs beside the test prints; rejects when it fails. */
export async function output(running: Running): Promise<string> {
  const { code, signal, stdout, stderr } = await running.ended
  if (code === 0) return stdout
  throw new Error(`${signal ?? `exit code ${code}`}\n${stdout}${stderr}`)
}

/** sqlite3(1) on a database of the node's mount. */
export function sqlite3(node: TestNode, database: string, sql: string): string {
  return run(sqlite3Command(node, database), sql).trim()
}

/** To be given SQL on stdin. It stops at the first statement that fails. */
export function sqlite3Command(node: TestNode, database: string): string[] {
  return ["sqlite3", "-bail", "-cmd", ".timeout 20000", `${node.mount}/${database}`]
}

/** A Node program in the node's mount: `db(name, options)` opens a database with better-sqlite3. */
export function nodeProgram(node: TestNode, source: string): string {
  return run(nodeCommand(node, source)).trim()
}

export function nodeCommand(node: TestNode, source: string): string[] {
  const prelude = `
    import Database from "better-sqlite3"
    const db = (name, options) => new Database(${JSON.stringify(node.mount)} + "/" + name, { timeout: 20000, ...options })
  `
  return ["node", "--input-type=module", "-e", prelude + source]
}

export function cat(node: TestNode, file: string): string {
  return run(["cat", `${node.mount}/${file}`], "", 5000)
}

/** The position of a database, without the newline. */
export function pos(node: TestNode, database: string): string {
  return cat(node, `${database}-pos`).trim()
}

/** Resolves when the replica is at the primary's position, which is returned. */
export async function caughtUp(
  primary: TestNode,
  replica: TestNode,
  database: string,
  limitMs = 20_000,
): Promise<string> {
  let [wanted, found] = ["", ""]
  const look = () => {
    wanted = pos(primary, database)
    try {
      found = pos(replica, database)
    } catch {
      found = "none" // not there yet
    }
    return found === wanted && wanted
  }
  const context = () => `it is at ${found}, not ${wanted}\n${replica.output}`
  return until(`"${database}" has caught up`, look, { limitMs, context })
}

/** Stops the nodes, in this order; none of them may have logged a warning or an error. */
export async function expectQuiet(...nodes: TestNode[]): Promise<void> {
  for (const node of nodes) {
    expect(await node.stop()).toEqual({ code: 0, signal: null })
    expect(await node.wholeOutput).not.toMatch(/level=(warn|error)/)
  }
}

/** The database file as the node keeps it, read behind the mount's back. */
export function backingFile(node: TestNode, database: string): Buffer {
  return readFileSync(join(node.data, "dbs", database, "database"))
}

/** The database as the node keeps it, behind the mount's back: its file, with the commits of its WAL. */
export function backingContent(node: TestNode, database: string): Buffer {
  const content = backingFile(node, database)
  using wal = FileSource.open(join(node.data, "dbs", database, "wal"))
  if (wal === undefined) return content
  const reader = new WalReader(wal)
  const newest = new Map<number, Uint8Array>()
  let pending: [pgno: number, page: Uint8Array][] = []
  let size = content.length
  while (reader.next()) {
    pending.push([reader.pgno, reader.page.slice()])
    if (reader.commit === 0) continue
    for (const [pgno, page] of pending) newest.set(pgno, page)
    size = reader.commit * reader.page.length
    pending = []
  }
  const whole = Buffer.alloc(size)
  content.copy(whole)
  for (const [pgno, page] of newest)
    if (pgno * page.length <= size) whole.set(page, (pgno - 1) * page.length)
  return whole
}

/**
 * Waits for the replica and compares the two: the position, the bytes of the files (on the primary after a
 * checkpoint, on the replica with what its WAL has), the checksum that the position claims for these bytes, and what
 * SQLite reads through the mounts. Returns the position.
 */
export async function expectSame(
  primary: TestNode,
  replica: TestNode,
  database: string,
  limitMs?: number,
): Promise<string> {
  const found = sqlite3(primary, database, "pragma wal_checkpoint(truncate)")
  expect(found).toMatch(/^0\|(-1\|-1|0\|0)$/) // nobody was in its way
  const position = await caughtUp(primary, replica, database, limitMs)
  const [ours, theirs] = [backingFile(primary, database), backingContent(replica, database)]
  expect(theirs.length).toBe(ours.length)
  expect(Buffer.compare(ours, theirs)).toBe(0)
  expect(position.split("/")[1]).toBe(checksumOf(ours))
  const dump = sqlite3(primary, database, ".dump")
  if (sqlite3(replica, database, ".dump") !== dump) throw new Error("the dumps differ")
  expect(sqlite3(replica, database, "pragma integrity_check")).toBe("ok")
  return position
}

function checksumOf(file: Buffer): string {
  const header = decodeDatabaseHeader(file)
  if (header === undefined) throw new Error("the file has no SQLite header")
  const { pageSize } = header
  const sum = new ChecksumAccumulator().reset()
  for (let pgno = 1; pgno <= file.length / pageSize; pgno++) {
    if (pgno === lockPgno(pageSize)) continue
    sum.togglePage(pgno, file, (pgno - 1) * pageSize, pgno * pageSize)
  }
  return formatChecksum(sum.checksum)
}
