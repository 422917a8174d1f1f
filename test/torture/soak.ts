/**
 * A primary and a replica under moderate load for a long time, of which nothing may grow: neither memory nor descriptors
 * nor threads. Clients write and read on both nodes all the time; now and then the role changes hands, the write lock of
 * a database is borrowed, a database is exported and imported.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { join } from "node:path"
import { output, sqlite3, start } from "../support/client.ts"
import { Scope, type TestNode } from "../support/node.ts"
import { getText } from "../support/node-api.ts"
import { usageOf } from "../support/process-usage.ts"
import { onlyPrimary, promote } from "./handoffs.ts"
import { MODES } from "./model.ts"
import { type Measure, problemOf, quartersOf, type Sample } from "./trend.ts"

export interface SoakOptions {
  readonly minutes: number
  /** Between operations. */
  readonly pauseMs: number
  readonly scratch: string
  /** A line for people. */
  readonly say: (line: string) => void
}

export interface SoakResult {
  readonly passed: number
  /** What has grown, and what has gone wrong. */
  readonly failures: readonly string[]
}

const THREADS = ["main", "fs", "peer"] as const
const WRITES_PER_SECOND = 20
const READS_PER_SECOND = 10
const BORROW_TRIES = 3
/** A dozen times the load stops, until what it has left is collected: what is there then is kept. */
const RESTS = 12
const REST_MS = 15_000
const MIB = 1024 * 1024
const FLAGS = ["--candidate", "--retention", "30s", "--retention-interval", "5s"]

export async function soak({ minutes, pauseMs, scratch, say }: SoakOptions): Promise<SoakResult> {
  await using scope = new Scope(scratch)
  const first = await scope.node({ flags: FLAGS })
  const second = await scope.node({ follows: first, flags: FLAGS })
  const nodes = [first, second]
  for (const mode of MODES) {
    const sql = `pragma journal_mode = ${mode}; create table rows(id integer primary key, text)`
    sqlite3(first, databaseOf(mode), sql)
  }
  const spawnClients = () => nodes.flatMap((node) => clientsOf(scope, node))
  let clients = spawnClients()
  const failures: string[] = []
  const refusals: string[] = []
  let operations = 0
  const samples = nodes.map((): Sample[] => [])
  const rested = nodes.map((): Sample[] => [])
  const sampleAll = async (into: Sample[][], when: string) => {
    for (const [index, node] of nodes.entries()) {
      if (!node.isRunning) continue
      const sample = await sampleOf(node)
      into[index]?.push(sample)
      say(lineOf(when, NAMES[index] as string, sample))
    }
  }
  const startMs = Date.now()
  say(HEADING)
  for (let operation = 0, minute = 1; minute <= minutes; operation++) {
    operations += 1
    await operate(nodes, operation).catch((error) => refusals.push(String(error).slice(0, 200)))
    await Bun.sleep(pauseMs)
    if (Date.now() < startMs + minute * 60_000) continue
    await sampleAll(samples, String(minute))
    if (nodes.some((node) => !node.isRunning)) break
    if (minute % Math.ceil(minutes / RESTS) === 0) {
      for (const client of clients) client.kill("SIGKILL")
      await Bun.sleep(REST_MS)
      await sampleAll(rested, "rest")
      clients = spawnClients()
    }
    minute += 1
  }
  for (const client of clients) client.kill("SIGKILL")
  for (const [index, node] of nodes.entries()) {
    if (!node.isRunning) failures.push(`${NAMES[index]}: it has ended\n${node.output.slice(-2000)}`)
  }
  // On a busy machine a handoff or a borrowed lock may come too late.
  say(
    `${operations} operations, ${refusals.length} refused${refusals.map((text) => `\n  ${text}`).join("")}`,
  )
  if (refusals.length > operations / 2) failures.push("more operations were refused than done")
  let passed = 0
  const judge = (of: Sample[][], measures: readonly Measure[], when: string) => {
    say(`medians of the quarters, ${when}`)
    for (const [index, each] of of.entries()) {
      for (const what of measures) {
        say(mediansOf(NAMES[index] as string, what, each))
        const problem = problemOf(each, what)
        if (problem !== undefined) failures.push(`${NAMES[index]}, ${when}: ${problem}`)
        else passed += 1
      }
    }
  }
  judge(samples, ["files", "threads"], "under load")
  judge(rested, ["rss", "anon", "heap"], "at rest")
  for (const [index, { output }] of nodes.entries()) {
    const complaints = output.split("\n").filter((line) => /level=error/.test(line))
    if (complaints.length === 0) passed += 1
    else failures.push(`${NAMES[index]}: it complains\n${complaints.slice(0, 5).join("\n")}`)
  }
  return { passed, failures }
}

const NAMES = ["first", "second"]
const HEADING = "minute  node     rss MiB  anon MiB  files  threads  heap MiB of main  fs  peer"

function databaseOf(mode: string): string {
  return `${mode}.db`
}

function clientsOf(scope: Scope, node: TestNode): ChildProcess[] {
  const program = join(import.meta.dir, "programs", "soak-client.mjs")
  return MODES.flatMap((mode) =>
    (
      [
        ["write", WRITES_PER_SECOND],
        ["read", READS_PER_SECOND],
      ] as const
    ).map(([what, rate]) => {
      const words = [program, join(node.mount, databaseOf(mode)), what, String(rate)]
      const client = spawn("node", words, { stdio: ["ignore", "ignore", "inherit"] })
      scope.defer(() => void client.kill("SIGKILL"))
      return client
    }),
  )
}

/** One operation, another one each time. */
async function operate(nodes: readonly TestNode[], number: number): Promise<void> {
  const primary = await onlyPrimary(nodes)
  const replica = nodes.find((node) => node !== primary) as TestNode
  const database = databaseOf(MODES[number % MODES.length] as string)
  switch (number % 5) {
    case 0:
      return void (await promote(replica))
    case 1:
    case 3:
      return borrow(replica, database)
    case 2:
      await get(replica, database)
      return
    default:
      await put(primary, "imported.db", await get(primary, database))
  }
}

/** Writers that never pause may keep it for a while. */
async function borrow({ mount }: TestNode, database: string): Promise<void> {
  const path = join(mount, database)
  const client = ["sqlite3", "-bail", "-cmd", ".timeout 5000", path]
  const sql = "insert into rows(text) values('borrowed')"
  for (let tries = 1; ; tries++) {
    const running = start(["flock", "-w", "20", `${path}-lock`, ...client, sql])
    if (tries === BORROW_TRIES) return void (await output(running))
    if ((await running.ended).code === 0) return
    await Bun.sleep(1000)
  }
}

async function get({ url }: TestNode, database: string): Promise<Uint8Array<ArrayBuffer>> {
  const response = await fetch(`${url}/export?name=${database}`)
  if (!response.ok) throw new Error(`export: ${response.status} ${await response.text()}`)
  return new Uint8Array(await response.arrayBuffer())
}

async function put({ url }: TestNode, database: string, body: Uint8Array<ArrayBuffer>) {
  const response = await fetch(`${url}/import?name=${database}`, { method: "POST", body })
  if (!response.ok) throw new Error(`import: ${response.status} ${await response.text()}`)
}

async function sampleOf(node: TestNode): Promise<Sample> {
  await getText(node, "/metrics")
  await Bun.sleep(200) // other threads measure their heaps for the next time
  const text = await getText(node, "/metrics")
  const heaps = THREADS.map((thread) => {
    const sample = new RegExp(`^litefs_thread_heap_bytes\\{thread="${thread}"\\} (\\d+)`, "m")
    return Number(sample.exec(text)?.[1]) / MIB
  })
  const { files, threads, residentSize, anonymousSize } = usageOf(node.pid)
  return {
    files: files.length,
    threads,
    rss: residentSize / MIB,
    anon: anonymousSize / MIB,
    heaps,
    heap: heaps.reduce((sum, size) => sum + size, 0),
  }
}

function lineOf(when: string, name: string, sample: Sample): string {
  const { rss, anon, files, threads, heaps } = sample
  const columns = [
    when.padStart(6),
    name.padEnd(7),
    rss.toFixed(0).padStart(7),
    anon.toFixed(1).padStart(8),
    String(files).padStart(5),
    String(threads).padStart(7),
    ...heaps.map((size) => size.toFixed(1)),
  ]
  return columns.join("  ")
}

function mediansOf(name: string, measure: Measure, samples: readonly Sample[]): string {
  const medians = quartersOf(samples, measure).map((value) => value.toFixed(1).padStart(7))
  return `${name.padEnd(7)}  ${measure.padEnd(7)}  ${medians.join("  ")}`
}
