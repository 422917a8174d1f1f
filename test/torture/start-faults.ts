/**
 * Real nodes that start on what a crash has left, on nothing, or with a history that has diverged, and stop, while one of their system calls fails, once or from then
 * on, or while they are killed at it. A node that is started without a fault afterwards must have everything.
 *
 *   image of a data directory ─▶ start ─▶ mounted ─▶ stop ─▶ start without a fault ─▶ look
 *                                └─ the fault is here ─┘ or here
 */
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { writeKeptDatabase } from "../../src/diverged/kept-database.ts"
import { type KeptHistory, listKept } from "../../src/diverged/kept-history.ts"
import { DataDir } from "../../src/store/data-dir.ts"
import { LtxDirectory } from "../../src/store/ltx/ltx-directory.ts"
import { caughtUp, pos, run, sqlite3, sqlite3Command, start } from "../support/client.ts"
import { DirectoryImage } from "../support/directory-image.ts"
import { LongClient } from "../support/long-client.ts"
import { Scope, type TestNode } from "../support/node.ts"
import type { Random } from "../support/random.ts"
import { until } from "../support/until.ts"
import { type Call, CallFaults, isIn, type Part } from "./call-faults.ts"
import { within } from "./client.ts"
import { replayHistoryTo } from "./history-check.ts"
import type { Mode } from "./model.ts"

export interface StartFaultsOptions {
  readonly random: Random
  readonly mode: Exclude<Mode, "mixed">
  readonly at: "primary" | "replica"
  /** What it starts on. */
  readonly on: StartsOn
  /** Only these of all: number `index`, from 0, of `count` parts. */
  readonly part?: Part
  /** So many of all, chosen at random. */
  readonly sample: number
  readonly limitMs: number
  /** Where the nodes have their directories. */
  readonly scratch: string
  readonly result: StartFaultsResult
  /** What a fault has led to that must not be. The others follow. */
  readonly onFailure: (text: string) => void
}

export interface StartFaultsResult {
  faults: number
  hits: number // of which the node came to the call
  refusals: number // starts that did not come to the mount
  failures: number
  readonly ops: Set<string>
}

export function noStartFaultsResult(): StartFaultsResult {
  return { faults: 0, hits: 0, refusals: 0, failures: 0, ops: new Set() }
}

/** What a killed node has left; nothing; a replica's with what its primary does not have. */
export type StartsOn = "crash" | "nothing" | "divergence"
export const STARTS_ON: Readonly<Record<"primary" | "replica", readonly StartsOn[]>> = {
  primary: ["crash", "nothing"],
  replica: ["crash", "nothing", "divergence"],
}

const PHASES = ["start", "stop"] as const
const ACTIONS = ["EIO", "EIO+", "ENOSPC+", "kill"] as const
const NAMES = ["a.db", "b.db"]
const THEIRS = 3 // transactions
const END_MS_MAX = 30_000
/** So long a fault that lasts stays when a replica has come to it. */
const LASTING_MS = 150
const FAILURES_MAX = 20

interface Fault {
  readonly phase: (typeof PHASES)[number]
  readonly op: string
  readonly nth: number
  readonly action: (typeof ACTIONS)[number]
}

export async function startFaults(options: StartFaultsOptions): Promise<void> {
  await using scope = new Scope(options.scratch)
  const deadline = Date.now() + options.limitMs
  const { random, sample, result } = options
  const starts = await Starts.prepare(scope, options)
  const all = (await starts.allFaults()).filter((fault) => isIn(options.part, textOf(fault)))
  for (let count = 0; count < sample && all.length > 0 && Date.now() < deadline; count++) {
    const [fault] = all.splice(random.below(all.length), 1) as [Fault]
    result.faults += 1
    if (result.failures >= FAILURES_MAX) return
    try {
      const { isMounted, isHit } = await starts.fail(fault)
      if (!isMounted) result.refusals += 1
      if (!isHit) continue
      result.hits += 1
      result.ops.add(`${fault.phase} ${fault.op.replace(/^\d+\//, "")}`)
    } catch (error) {
      const text = error instanceof Error ? error.stack : String(error)
      const where = `${options.mode}, ${options.at} on ${options.on}: ${textOf(fault)}`
      options.onFailure(`${where}: ${text}\n${starts.output}`)
      result.failures += 1
      await starts.end()
    }
  }
}

function textOf({ phase, op, nth, action }: Fault): string {
  return `${phase}: ${op}#${nth}=${action}`
}

class Starts {
  readonly #scope: Scope
  readonly #faults: CallFaults
  #last: TestNode | undefined
  readonly #node: TestNode
  readonly #follows: TestNode | undefined
  readonly #on: StartsOn
  readonly #image: DirectoryImage | undefined
  readonly #expected: string
  output = ""

  static async prepare(scope: Scope, options: StartFaultsOptions): Promise<Starts> {
    const { mode, at, on } = options
    if (at === "primary" && on === "nothing") {
      const node = await scope.node()
      const expected = await lookAt(node)
      await node.stop("SIGKILL")
      await node.end()
      return new Starts(scope, options, node, undefined, undefined, expected)
    }
    const primary = await scope.node()
    const replica = at === "replica" ? await scope.node({ follows: primary }) : undefined
    const node = replica ?? primary
    sqlite3(primary, "a.db", `pragma journal_mode = ${mode}; create table t(id, x)`)
    const writer = new LongClient(scope, primary, "a.db")
    for (let id = 0; id < 5; id++)
      await writer.exec(`insert into t values(${id}, randomblob(3000))`)
    sqlite3(primary, "b.db", `pragma journal_mode = ${mode}; create table t(id, x)`)
    sqlite3(primary, "gone.db", "create table t(x)")
    if (replica !== undefined) await caughtUp(primary, replica, "gone.db")
    run(["rm", `${primary.mount}/gone.db`])
    if (replica !== undefined) {
      await untilGone(replica) // the positions of the others do not say so
      await untilSame(primary, replica)
    }
    const expected = await lookAt(primary) // before what locks readers out
    // A transaction that is not ended, and has come to the disk.
    const spilling = "pragma cache_size = 2; begin; update t set x = randomblob(20000)"
    if (replica === undefined) await writer.exec(spilling)
    await node.stop("SIGKILL")
    await node.end()
    await writer.close("SIGKILL")
    if (on === "divergence") await diverge(scope, node)
    if (on === "crash") leaveMore(node.data)
    const image = on === "nothing" ? undefined : new DirectoryImage(node.data)
    return new Starts(scope, options, node, replica && primary, image, expected)
  }

  private constructor(
    scope: Scope,
    { on }: StartFaultsOptions,
    node: TestNode,
    follows: TestNode | undefined,
    image: DirectoryImage | undefined,
    expected: string,
  ) {
    this.#scope = scope
    this.#on = on
    this.#node = node
    this.#follows = follows
    this.#image = image
    this.#expected = expected
    this.#faults = new CallFaults(join(scope.directory, "node"))
  }

  async allFaults(): Promise<Fault[]> {
    this.#reset()
    const node = await this.#spawn()
    await node.logged(/msg=mounted/)
    if (this.#follows !== undefined) await untilSame(this.#follows, node)
    const startCalls = this.#faults.chosen()
    this.#faults.forget()
    await node.stop()
    return [...faultsOf("start", startCalls), ...faultsOf("stop", this.#faults.chosen())]
  }

  /** After a failure: nothing of it disturbs the next. */
  async end(): Promise<void> {
    this.#faults.set("")
    this.#last?.signal("SIGKILL")
    await this.#last?.end()
    run(["sh", "-c", `rm -f "${this.#node.mount}"/*`]) // what clients have made where nothing was mounted
  }

  async fail(fault: Fault): Promise<{ isMounted: boolean; isHit: boolean }> {
    const { phase, op, nth, action } = fault
    this.#reset()
    this.#faults.forget()
    const isLasting = action.endsWith("+")
    const text = `${op}#${nth}${isLasting ? "+" : ""}=${action.replace("+", "")}`
    this.#faults.set(phase === "start" ? text : "")
    const node = await this.#spawn()
    const isMounted = await node.logged(/msg=mounted/).then(
      () => true,
      () => false,
    )
    if (isMounted && phase === "start") await this.#comeTo(node, isLasting)
    this.#faults.set(phase === "stop" ? text : "")
    if (isMounted && node.isRunning) node.signal("SIGTERM")
    if (!(await within(END_MS_MAX, node.exited))) throw new Error("the node does not end")
    this.output = node.output
    const isHit = this.#faults.hitCount > 0
    this.#faults.set("")
    await node.end()

    const again = await this.#spawn()
    try {
      await this.#checkAgain(again)
    } finally {
      this.output += `--- again\n${again.output}`
    }
    return { isMounted, isHit }
  }

  async #checkAgain(again: TestNode): Promise<void> {
    await again.logged(/msg=mounted/)
    if (this.#follows !== undefined) await untilSame(this.#follows, again)
    const found = await lookAt(again)
    if (found !== this.#expected) throw new Error(`there is ${found}, not ${this.#expected}`)
    for (const name of this.#isEmpty ? [] : NAMES) {
      await replayHistoryTo(pos(again, name), again.data, name)
    }
    if (/level=error/.test(again.output)) throw new Error("it complains")
    if (this.#on === "divergence") this.#checkKept(again)
    if (this.#follows === undefined) {
      sqlite3(again, "a.db", "create table if not exists t(id, x); insert into t values(100, 0)")
    }
    const exit = await again.stop()
    if (exit.code !== 0) throw new Error(`it ends with ${JSON.stringify(exit)}`)
    await again.end()
  }

  /** A replica comes to some calls when it has mounted: when the primary has told it what there is. */
  async #comeTo(node: TestNode, isLasting: boolean): Promise<void> {
    if (this.#follows === undefined) return
    const deadline = Date.now() + END_MS_MAX
    while (node.isRunning && this.#faults.hitCount === 0 && Date.now() < deadline) {
      if (await isSame(this.#follows, node)) return
      await Bun.sleep(10)
    }
    if (isLasting) await Bun.sleep(LASTING_MS)
  }

  get #isEmpty(): boolean {
    return this.#follows === undefined && this.#on === "nothing"
  }

  /** What only the replica had is kept, once. */
  #checkKept(node: TestNode): void {
    const { histories, otherNames } = listKept(new DataDir(node.data))
    const names = histories.map(({ name }) => name)
    if (names.length !== 1 || otherNames.length > 0) {
      throw new Error(`histories are kept: ${names}; with them is ${otherNames}`)
    }
    const path = join(this.#scope.directory, "kept.db")
    rmSync(path, { force: true })
    writeKeptDatabase(histories[0] as KeptHistory, path)
    const sql = "pragma integrity_check; select count(*) from t where x = 'theirs'"
    const found = run(["sqlite3", path, sql])
    if (found !== `ok\n${THEIRS}\n`) throw new Error(`what is kept has ${found}`)
  }

  #reset(): void {
    rmSync(this.#node.data, { recursive: true, force: true })
    this.#image?.writeTo(this.#node.data)
  }

  async #spawn(): Promise<TestNode> {
    const { directory, port } = this.#node
    const follows = this.#follows === undefined ? {} : { follows: this.#follows }
    this.#last = await this.#scope.spawn({ directory, port, env: this.#faults.env, ...follows })
    return this.#last
  }
}

/** Transactions that the node makes alone. */
async function diverge(scope: Scope, { directory, port }: TestNode): Promise<void> {
  const alone = await scope.node({ directory, port })
  for (let count = 0; count < THEIRS; count++)
    sqlite3(alone, "a.db", `insert into t values(${count}, 'theirs')`)
  await alone.stop("SIGKILL")
  await alone.end()
}

/** A torn last LTX file, whose transaction nobody was told of, and files that were to replace others. */
function leaveMore(data: string): void {
  const directory = new DataDir(data).databaseDir("a.db")
  const ltx = new LtxDirectory(join(directory, "ltx"))
  const last = ltx.last()
  if (last === undefined) throw new Error("there is no LTX file")
  const next = last.maxTxid + 1n
  writeFileSync(ltx.filePath(next, next), readFileSync(last.path).subarray(0, 60))
  writeFileSync(join(directory, "snapshot-7"), "pages")
  writeFileSync(join(directory, "synced.tmp"), "00")
}

function faultsOf(phase: Fault["phase"], calls: readonly Call[]): Fault[] {
  return calls.flatMap(({ name, nth }) =>
    ACTIONS.map((action) => ({ phase, op: name, nth, action })),
  )
}

/** What clients see. Names that are gone stay gone. */
async function lookAt(node: TestNode): Promise<string> {
  const seen: string[] = []
  for (const name of NAMES) {
    const sql = "pragma integrity_check; select id, hex(x) from t order by id"
    const { stdout, stderr } = await start(sqlite3Command(node, name), { input: sql }).ended
    seen.push(`${name} ${Bun.hash(stdout)} ${stdout.split("\n").length} rows ${stderr}`)
  }
  const { stdout } = await start(["ls", node.mount]).ended
  return `${seen.join(", ")}, names ${stdout.includes("gone.db")}`
}

async function untilSame(primary: TestNode, replica: TestNode): Promise<void> {
  const limit = { limitMs: END_MS_MAX, everyMs: 20 }
  await until("the replica is where the primary is", () => isSame(primary, replica), limit)
  await untilGone(replica)
}

async function untilGone(node: TestNode): Promise<void> {
  await until("gone.db is gone", () => !hasGone(node), { limitMs: END_MS_MAX })
}

function hasGone({ data }: TestNode): boolean {
  return existsSync(join(data, "dbs/gone.db/database"))
}

async function isSame(primary: TestNode, replica: TestNode): Promise<boolean> {
  const positions = async ({ mount }: TestNode) => {
    const paths = NAMES.map((name) => `${mount}/${name}-pos`)
    return (await start(["cat", ...paths]).ended).stdout
  }
  return (await positions(primary)) === (await positions(replica))
}
