/**
 * Handoffs back and forth while writers on both mounts write wherever they may: no acknowledged row is lost, none is
 * there twice, and both nodes end up the same to the byte.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { join, resolve } from "node:path"
import { caughtUp, expectSame, sqlite3 } from "../support/client.ts"
import { LongClient } from "../support/long-client.ts"
import { Scope, type TestNode } from "../support/node.ts"
import { infoOf } from "../support/node-api.ts"
import type { Random } from "../support/random.ts"
import { until } from "../support/until.ts"
import type { Mode } from "./model.ts"
import type { Result } from "./round.ts"

const ROOT = resolve(import.meta.dir, "../..")
const WRITERS = 3
const LIMIT_MS = 30_000

export interface HandoffsOptions {
  readonly random: Random
  readonly mode: Exclude<Mode, "mixed">
  readonly handoffs: number
  readonly result: Result & { readonly gapsMs: number[] }
}

export function noHandoffsResult(): HandoffsOptions["result"] {
  return { kills: 0, acknowledged: 0, unended: 0, gapsMs: [] }
}

export async function handoffs(options: HandoffsOptions): Promise<void> {
  const { random, mode, result } = options
  await using scope = new Scope()
  let primary = await scope.node({ flags: ["--candidate"] })
  let replica = await scope.node({ follows: primary, flags: ["--candidate"] })
  sqlite3(primary, "a.db", `pragma journal_mode = ${mode}; ${SCHEMA}`)
  await caughtUp(primary, replica, "a.db")
  const nodes = [primary, replica]
  const readers = nodes.map((node) => new LongClient(scope, node, "a.db"))
  const writers = Array.from({ length: WRITERS }, (_, writer) => new Writer(scope, nodes, writer))
  const limits: [startMs: number, endMs: number][] = []
  for (let done = 0; done < options.handoffs; done++) {
    const before = count(writers)
    await goOn(() => count(writers) >= before + random.between(1, 30), writers, nodes)
    const startMs = Date.now()
    await promote(replica)
    limits.push([startMs, Date.now()])
    const old = primary
    primary = replica
    replica = old
    for (const reader of readers) expectWhole(await reader.rows(PARITY))
  }
  const before = count(writers)
  await goOn(() => count(writers) > before, writers, nodes)
  for (const writer of writers) await writer.stop()
  for (const reader of readers) await reader.close()
  result.kills += options.handoffs
  result.acknowledged += count(writers)
  const all = writers.flatMap(({ acks }) => acks).sort((a, b) => a - b)
  for (const [startMs, endMs] of limits) result.gapsMs.push(longestGap(all, startMs, endMs))
  await expectSame(primary, replica, "a.db")
  for (const writer of writers) checkOnce(writer, (sql) => sqlite3(primary, "a.db", sql))
}

type Acknowledged = Pick<Writer, "number" | "acks">

/** Each row that was acknowledged is there once, and no other. */
export function checkOnce({ number, acks }: Acknowledged, ask: (sql: string) => string): void {
  for (const table of ["a", "b"]) {
    const sql = `select count(*), count(distinct n), min(n), max(n) from ${table} where writer = ${number}`
    const found = ask(sql)
    const wanted = `${acks.length}|${acks.length}|0|${acks.length - 1}`
    if (found !== wanted) throw new Error(`writer ${number}: ${found}, acknowledged ${wanted}`)
  }
}

/** Each row that was acknowledged is there, once or more often. */
export function checkThere({ number, acks }: Acknowledged, ask: (sql: string) => string): void {
  const mine = `where writer = ${number} and n < ${acks.length}`
  const sql = `select count(distinct n) from a ${mine}; select count(distinct n) from b ${mine}`
  const found = ask(sql)
  if (found === `${acks.length}\n${acks.length}`) return
  throw new Error(`writer ${number}: ${found} of ${acks.length} acknowledged rows`)
}

/**
 * The same with a node killed in the middle of each handoff, at any moment, and started again. A writer whose daemon
 * is killed cannot know what has become of its commit, so a row may be there twice; one that was acknowledged is there.
 */
export async function handoffKills({
  random,
  mode,
  handoffs,
  result,
}: HandoffsOptions): Promise<void> {
  await using scope = new Scope()
  const first = await scope.node({ flags: ["--candidate"] })
  const second = await scope.node({ follows: first, flags: ["--candidate"] })
  sqlite3(first, "a.db", `pragma journal_mode = ${mode}; ${SCHEMA}`)
  await caughtUp(first, second, "a.db")
  let nodes = [first, second]
  const writers = Array.from({ length: WRITERS }, (_, writer) => new Writer(scope, nodes, writer))
  let primary = first
  for (let done = 0; done < handoffs; done++) {
    const before = count(writers)
    await goOn(() => count(writers) >= before + random.between(1, 30), writers, nodes)
    const target = nodes.find((node) => node !== primary) as TestNode
    const asked = promote(target).catch(() => "")
    await Bun.sleep(random.between(0, 80))
    const killed = random.pick(nodes)
    await killed.stop("SIGKILL")
    await asked
    const back = await scope.node({
      ...{ directory: killed.directory, port: killed.port, flags: ["--candidate"] },
      ...(killed.port === second.port ? { follows: first } : {}),
    })
    nodes = nodes.map((node) => (node === killed ? back : node))
    primary = await onlyPrimary(nodes)
  }
  for (const writer of writers) await writer.stop()
  result.kills += handoffs
  result.acknowledged += count(writers)
  await expectSame(primary, nodes.find((node) => node !== primary) as TestNode, "a.db")
  try {
    for (const writer of writers) checkThere(writer, (sql) => sqlite3(primary, "a.db", sql))
  } catch (error) {
    const logs = nodes.map(({ output }) => output.slice(-4000)).join("\n---\n")
    throw new Error(`${error}\n${logs}`)
  }
}

/** Resolves with the only node that is the primary, when the other one follows it. */
export async function onlyPrimary(nodes: readonly TestNode[]): Promise<TestNode> {
  const find = async () => {
    const infos = await Promise.all(nodes.map(infoOf))
    const primaries = nodes.filter((_, index) => infos[index]?.isPrimary)
    const isFollowed = infos.some(({ role, isConnected }) => role === "replica" && isConnected)
    return primaries.length === 1 && isFollowed && (primaries[0] as TestNode)
  }
  const context = () => nodes.map(({ output }) => output.slice(-3000)).join("\n---\n")
  return until("one primary, which is followed", find, { limitMs: LIMIT_MS, everyMs: 20, context })
}

export const SCHEMA = `
  create table a(id integer primary key, writer integer, n integer, padding default (randomblob(100)));
  create table b(id integer primary key, writer integer, n integer);
`
const PARITY = "select (select count(*) from a), (select count(*) from b)"

function expectWhole(rows: unknown): void {
  const [a, b] = JSON.stringify(rows).match(/\d+/g) ?? []
  if (a !== b) throw new Error(`half a transaction: ${a} and ${b}`)
}

export async function promote(node: TestNode, query = ""): Promise<string> {
  const response = await fetch(`${node.url}/promote${query}`, {
    keepalive: false,
    method: "POST",
    signal: AbortSignal.timeout(LIMIT_MS),
  })
  const text = await response.text()
  if (response.status === 200) return text
  throw new Error(`promote: ${response.status} ${text}\n${node.output}`)
}

function count(writers: readonly Writer[]): number {
  return writers.reduce((sum, { acks }) => sum + acks.length, 0)
}

/** Until the writers have come so far. */
async function goOn(
  isThere: () => boolean,
  writers: readonly Writer[],
  nodes: readonly TestNode[],
): Promise<void> {
  const context = () => nodes.map(({ output }) => output.slice(-4000)).join("\n---\n")
  const look = () => {
    const problem = writers.find(({ problem }) => problem !== undefined)?.problem
    if (problem !== undefined) throw new Error(`${problem}\n${context()}`)
    return isThere()
  }
  await until("the writers go on", look, { limitMs: LIMIT_MS, everyMs: 1, context })
}

function longestGap(acks: readonly number[], startMs: number, endMs: number): number {
  const before = acks.findLastIndex((ms) => ms <= startMs)
  const after = acks.findIndex((ms) => ms >= endMs)
  const seen = acks.slice(Math.max(0, before), after < 0 ? undefined : after + 1)
  return Math.max(0, ...seen.slice(1).map((ms, index) => ms - (seen[index] as number)))
}

export class Writer {
  readonly number: number
  readonly acks: number[] = []
  problem: string | undefined
  readonly #child: ChildProcess
  readonly #ended: Promise<void>

  constructor(scope: Scope, nodes: readonly TestNode[], number: number) {
    this.number = number
    const paths = nodes.map(({ mount }) => join(mount, "a.db"))
    const program = join(import.meta.dir, "programs/roaming-writer.mjs")
    const args = [program, JSON.stringify({ paths, writer: number })]
    const child = spawn("node", args, { cwd: ROOT, stdio: ["pipe", "pipe", "pipe"] })
    this.#child = child
    scope.defer(() => void child.kill("SIGKILL"))
    let rest = ""
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      const lines = (rest + text).split("\n")
      rest = lines.pop() ?? ""
      for (const line of lines) this.#take(line)
    })
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.problem ??= text
    })
    this.#ended = new Promise((done) => child.once("close", () => done()))
  }

  #take(line: string): void {
    const ack = /^ack (\d+) (\d+)$/.exec(line)
    if (ack === null || Number(ack[1]) !== this.acks.length) this.problem ??= line
    else this.acks.push(Number(ack[2]))
  }

  async stop(): Promise<void> {
    this.#child.stdin?.end()
    await this.#ended
    if (this.problem !== undefined) throw new Error(this.problem)
  }
}
