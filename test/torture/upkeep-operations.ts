/**
 * What nodes do beside transactions of clients: short operations, each of which ends in one of a few contents. A content
 * is the rows that the database has then.
 */
import { Database } from "bun:sqlite"
import { randomBytes } from "node:crypto"
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { DataDir } from "../../src/store/data-dir.ts"
import { start } from "../support/client.ts"
import type { TestNode } from "../support/node.ts"
import { infoOf } from "../support/node-api.ts"
import type { FaultyPair } from "./faulty-pair.ts"
import { onlyPrimary, promote } from "./handoffs.ts"

export interface Outcome {
  /** Undefined when it was done. */
  readonly problem: string | undefined
  /** What there may be afterwards, when it was done and when it was not. */
  readonly done: readonly Content[]
  readonly notDone: readonly Content[]
}
export type Content = readonly number[]

export interface Operation {
  readonly name: string
  readonly at: readonly ("primary" | "replica")[]
  readonly flags?: readonly string[]
  readonly hasLink?: boolean
  readonly advertisesLink?: boolean
  /** Whether a fault may end the node, or keep it from starting. */
  readonly mayEnd?: boolean
  /** It takes long, and has faults only where no operation before it has come to. */
  readonly isCostly?: boolean
  /** It waits long for a node that has ended to come back, which is started meanwhile. */
  readonly outlives?: boolean
  /** LTX files are removed: the log does not start at the beginning. */
  readonly reaps?: boolean
  /** Without a fault. Returns the content. */
  prepare(pair: FaultyPair, database: string): Promise<Content>
  /** Without a fault too, when clients have the database open. Returns the content. */
  ready?(pair: FaultyPair, database: string, before: Content): Promise<Content>
  act(pair: FaultyPair, database: string, before: Content): Promise<Outcome>
  /** When the fault is lifted: everything is as other operations want it. */
  settle?(pair: FaultyPair, database: string): Promise<void>
}

const LIMIT_MS = 20_000
const LARGE = 36 * 1024 * 1024 // more than is written without a sync on the way

let nextRow = 10

async function make(pair: FaultyPair, database: string, more: object = {}): Promise<Content> {
  expectDone(await pair.ask("make", pair.primary, database, more))
  return [1]
}

export async function makeOnBoth(pair: FaultyPair, database: string): Promise<Content> {
  const content = await make(pair, database)
  await pair.caughtUp(database)
  return content
}

/** What has become of it, for an Outcome. */
export async function problemOf(work: Promise<unknown>): Promise<string | undefined> {
  return work.then(
    () => undefined,
    (error) => String(error).slice(0, 300),
  )
}

/** `before` is what is in it. Who looked for that now could meet the fault. */
export async function add(
  pair: FaultyPair,
  database: string,
  before: Content,
  more: object = {},
): Promise<Outcome> {
  const n = nextRow++
  const how = { n, mustExist: true, ...more }
  const { problem } = await pair.ask("add", pair.primary, database, how)
  const after = [...before, n]
  // One that failed may have come through: its answer was lost, or what came after the capture failed.
  return { problem, done: [after], notDone: [before, after] }
}

export function expectDone({ problem }: { readonly problem?: string | undefined }): void {
  if (problem !== undefined) throw new Error(`without a fault: ${problem}`)
}

/** A database file with one row, and more of it. */
function makeFile(pair: FaultyPair, { pageSize = 1024, size = 50_000 } = {}) {
  const path = join(pair.scope.directory, "import.db")
  rmSync(path, { force: true })
  const n = nextRow++
  const database = new Database(path)
  database.run(`pragma page_size = ${pageSize}`)
  database.run("create table tx(n integer primary key, v); create table body(v)")
  database.run("insert into tx values(?, 'imported')", [n])
  for (let left = size; left > 0; left -= 1 << 20) {
    database.run("insert into body values(?)", [randomBytes(Math.min(left, 1 << 20))])
  }
  if (pair.options.mode === "wal") {
    database.run("pragma journal_mode = wal")
    database.run("pragma wal_checkpoint(truncate)")
  }
  database.close()
  const bytes = readFileSync(path)
  return { n, bytes }
}

async function importInto(
  pair: FaultyPair,
  database: string,
  before: Content,
  how = {},
): Promise<Outcome> {
  const { n, bytes } = makeFile(pair, how)
  const problem = await post(`${pair.primary.url}/import?name=${database}`, bytes)
  return { problem, done: [[n]], notDone: [before, [n]] }
}

async function post(url: string, body: Uint8Array<ArrayBuffer>): Promise<string | undefined> {
  try {
    const signal = AbortSignal.timeout(LIMIT_MS)
    const response = await fetch(url, { keepalive: false, method: "POST", body, signal })
    const text = await response.text()
    return response.ok ? undefined : `${response.status} ${text}`
  } catch (error) {
    return String(error)
  }
}

/** The rows of the database that an export made, or what went wrong. While it is read, a client writes. */
async function exported(
  node: TestNode,
  pair: FaultyPair,
  database: string,
  before: Content,
): Promise<{ rows?: Content; problem?: string; added: Outcome }> {
  let added: Outcome = { problem: "it has not come to that", done: [], notDone: [] }
  const path = join(pair.scope.directory, "exported.db")
  const abort = AbortSignal.timeout(LIMIT_MS)
  try {
    const response = await fetch(`${node.url}/export?name=${database}`, {
      keepalive: false,
      signal: abort,
    })
    if (!response.ok) throw new Error(`${response.status} ${await response.text()}`)
    added = await add(pair, database, before, { count: 3, size: 3000 })
    const bytes = new Uint8Array(await response.arrayBuffer())
    const size = Number(response.headers.get("Content-Length"))
    if (bytes.length < size) throw new Error(`${bytes.length} of ${size} bytes came`)
    writeFileSync(path, bytes)
  } catch (error) {
    return { problem: String(error), added }
  }
  const file = new Database(path)
  try {
    const { integrity_check } = file.query("pragma integrity_check").get() as Record<string, string>
    if (integrity_check !== "ok") throw new Error(`what was exported: ${integrity_check}`)
    const rows = file.query("select n from tx order by n").values().flat() as number[]
    return { rows, added }
  } finally {
    file.close()
  }
}

function firstLtx({ data }: TestNode, database: string): string | undefined {
  return readdirSync(new DataDir(data).ltxDir(database)).sort()[0]
}

export async function until(
  what: string,
  node: TestNode,
  condition: () => boolean | Promise<boolean>,
  limitMs = LIMIT_MS,
): Promise<string | undefined> {
  const deadline = Date.now() + limitMs
  while (!(await condition())) {
    if (!node.isRunning) return "the node has ended"
    if (Date.now() > deadline) return `not ${what} in time`
    await Bun.sleep(5)
  }
  return undefined
}

export const always = (problem: string | undefined, content: Content): Outcome => {
  return { problem, done: [content], notDone: [content] }
}

const importing: Operation = {
  name: "import",
  at: ["primary", "replica"],
  prepare: makeOnBoth,
  act: (pair, database, before) =>
    importInto(pair, database, before, { pageSize: nextRow % 2 === 0 ? 1024 : 4096 }),
}

const importingNew: Operation = {
  name: "import-new",
  at: ["primary", "replica"],
  prepare: async () => [],
  act: (pair, database, before) => importInto(pair, database, before),
}

/** A snapshot that is cut off on its way, and goes on. */
const resuming: Operation = {
  name: "resume",
  at: ["primary", "replica"],
  hasLink: true,
  prepare: async () => [],
  async act(pair, database, before) {
    pair.link?.plan({ byte: 600_000, how: "cut" })
    pair.link?.cut()
    return importInto(pair, database, before, { size: 3 << 20, pageSize: 65536 })
  },
  settle: async (pair) => pair.link?.heal(),
}

const importingLarge: Operation = {
  name: "import-large",
  at: ["primary", "replica"],
  isCostly: true,
  prepare: async () => [],
  act: (pair, database, before) =>
    importInto(pair, database, before, { size: LARGE, pageSize: 65536 }),
}

const exporting: Operation = {
  name: "export",
  at: ["primary", "replica"],
  async prepare(pair, database) {
    await make(pair, database)
    expectDone(await pair.ask("add", pair.primary, database, { n: 2, count: 30, size: 100_000 }))
    await pair.caughtUp(database)
    return [1, 2]
  },
  async act(pair, database, before) {
    const { rows, problem, added } = await exported(pair.node, pair, database, before)
    if (rows !== undefined && `${rows}` !== `${before}`)
      throw new Error(`what was exported has ${rows}, not ${before}`)
    if (rows === undefined && added.done.length === 0) return always(problem, before)
    return { ...added, problem: problem ?? added.problem, done: added.done }
  },
}

const reaping: Operation = {
  name: "reap",
  at: ["primary", "replica"],
  flags: ["--retention", "1ms", "--retention-interval", "100ms"],
  reaps: true,
  prepare: (pair, database) => make(pair, database, { pageSize: 512 }),
  async act(pair, database, before) {
    const first = firstLtx(pair.node, database)
    // More than a replica leaves in its WAL; what is in there is needed.
    const some = await add(pair, database, before, { count: 15, size: 40_000 })
    if (some.problem !== undefined) return some
    const behind = await until("caught up", pair.node, () => pair.isSame(database))
    if (behind !== undefined) return { ...some, problem: behind }
    const last = await add(pair, database, some.done[0] as Content)
    await pair.ask("checkpoint", pair.primary, database)
    const isGone = () => first === undefined || firstLtx(pair.node, database) !== first
    return { ...last, problem: last.problem ?? (await until("reaped", pair.node, isGone)) }
  },
}

const large: Operation = {
  name: "large",
  at: ["primary", "replica"],
  prepare: (pair, database) => make(pair, database, { pageSize: 65536 }),
  act: (pair, database, before) => add(pair, database, before, { count: 6, size: 1 << 20 }),
}

const veryLarge: Operation = {
  name: "very-large",
  at: ["primary", "replica"],
  isCostly: true,
  prepare: (pair, database) => make(pair, database, { pageSize: 65536 }),
  act: (pair, database, before) => add(pair, database, before, { count: 36, size: 1 << 20 }),
}

/** More frames than a replica leaves in its WAL. */
const checkpointing: Operation = {
  name: "checkpoint",
  at: ["primary", "replica"],
  prepare: (pair, database) => make(pair, database, { pageSize: 512 }),
  async act(pair, database, before) {
    const first = await add(pair, database, before, { count: 15, size: 40_000 })
    if (first.problem !== undefined) return first
    const behind = await until("caught up", pair.node, () => pair.isSame(database))
    if (behind !== undefined) return { ...first, problem: behind }
    return add(pair, database, first.done[0] as Content)
  },
}

/** Transactions that a replica gets as one. */
const catchingUp: Operation = {
  name: "catch-up",
  at: ["primary", "replica"],
  hasLink: true,
  prepare: makeOnBoth,
  async ready(pair, database, before) {
    pair.link?.refuse()
    pair.link?.cut()
    const added = Array.from({ length: 11 }, () => nextRow++)
    for (const n of added)
      expectDone(await pair.ask("add", pair.primary, database, { n, count: 1, size: 500 }))
    return [...before, ...added]
  },
  async act(pair, database, before) {
    pair.link?.heal()
    const problem = await until("caught up", pair.node, () => pair.isSame(database))
    return always(problem, before)
  },
  settle: async (pair) => pair.link?.heal(),
}

/** The node that does not have the role yet. A fault may end either of them at any time. */
async function promoteOther({ primary, replica }: FaultyPair): Promise<unknown> {
  const [info] = await Promise.all([primary, replica].map(infoOf))
  return promote(info?.isPrimary === true ? replica : primary)
}

const handingOver: Operation = {
  name: "handoff",
  at: ["primary", "replica"],
  mayEnd: true, // when it cannot be what it is to be
  outlives: true,
  flags: ["--candidate"],
  prepare: makeOnBoth,
  async act(pair, _database, before) {
    const problem = await problemOf(promoteOther(pair))
    return always(problem, before)
  },
  async settle(pair) {
    if ((await onlyPrimary([pair.primary, pair.replica])) !== pair.primary)
      await promote(pair.primary)
    await onlyPrimary([pair.primary, pair.replica])
  },
}

/** The replica borrows the write lock. */
const borrowing: Operation = {
  name: "borrow",
  at: ["primary", "replica"],
  prepare: makeOnBoth,
  async act(pair, database, before) {
    const n = nextRow++
    const path = join(pair.replica.mount, database)
    const sql = `insert into tx values(${n}, 'borrowed')`
    const client = ["sqlite3", "-bail", "-cmd", ".timeout 5000", path, sql]
    const words = ["flock", "-w", "15", `${path}-lock`, ...client]
    const { code, stderr } = await start(words, { limitMs: LIMIT_MS }).ended
    const problem = code === 0 ? undefined : `exit code ${code}: ${stderr}`
    return { problem, done: [[...before, n]], notDone: [before, [...before, n]] }
  },
  /** The primary has its database back, with all that is in the log. */
  async settle({ primary }, database) {
    const sql = "begin immediate; rollback"
    const command = ["sqlite3", "-bail", join(primary.mount, database), sql]
    const isWritable = async () => (await start(command).ended).code === 0
    const problem = await until("writable", primary, isWritable, LIMIT_MS)
    if (problem !== undefined) throw new Error(problem)
  },
}

/** A clean stop and the start after it, which believes what the stop has left, and then looks at it. */
const restarting: Operation = {
  name: "restart",
  at: ["primary", "replica"],
  mayEnd: true,
  prepare: makeOnBoth,
  async act(pair, _database, before) {
    await pair.stop()
    const problem = await problemOf(pair.restart())
    await Bun.sleep(150) // it reads what it has believed
    return always(problem, before)
  },
}

export const OPERATIONS: readonly Operation[] = [
  importing,
  importingNew,
  importingLarge,
  resuming,
  exporting,
  reaping,
  large,
  veryLarge,
  checkpointing,
  catchingUp,
  handingOver,
  borrowing,
  restarting,
]
