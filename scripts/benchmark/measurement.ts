/** One workload on one side, once. */
import { execFileSync } from "node:child_process"
import { closeSync, fdatasyncSync, openSync, rmSync, writeSync } from "node:fs"
import { join } from "node:path"
import { Client } from "./process.ts"
import type { Figures } from "./results.ts"
import type { Place, Side } from "./sides.ts"
import { median, quantile } from "./statistics.ts"
import type { Throughput, Visibility, Workload } from "./workloads.ts"

/** What a client does, as far as it is not the workload's. */
export interface Amount {
  /** To measure for. */
  readonly ms: number
  /** In a database that is loaded or read. */
  readonly mb: number
  /** To wait for, one after the other. */
  readonly commits: number
}

/** By then a daemon has done what it has put off, too. */
const SETTLE_MS = 100

const CLIENT = join(import.meta.dir, "client.mjs")
const VISIBLE = join(import.meta.dir, "visible.mjs")

const MB_OF_REPLICA = 10

const FDATASYNC_COUNT = 30

/** Undefined: this side has nothing like it. */
export async function measure(
  workload: Workload,
  side: Side,
  amount: Amount,
): Promise<Figures | undefined> {
  if (workload.kind === "visible") return visibility(workload, side, amount)
  return workload.isOfReplica
    ? throughputOfReplica(workload, side, amount)
    : throughput(workload, side, amount, side.place)
}

/** Microseconds to overwrite one page of a file and sync it, in the middle of some. */
export function fdatasyncUs(directory: string): number {
  const path = join(directory, "fdatasync")
  const fd = openSync(path, "w")
  try {
    const page = new Uint8Array(4096)
    const times = Array.from({ length: FDATASYNC_COUNT }, (_, index) => {
      page.fill(index)
      const startMs = performance.now()
      writeSync(fd, page, 0, page.length, 0)
      fdatasyncSync(fd)
      return (performance.now() - startMs) * 1000
    })
    return median(times.slice(1)) // the first one makes room
  } finally {
    closeSync(fd)
    rmSync(path)
  }
}

async function throughput(
  workload: Throughput,
  side: Side,
  amount: Amount,
  { seen, ...place }: Place,
): Promise<Figures> {
  await using clients = new AsyncDisposableStack()
  const all = Array.from({ length: workload.clients ?? 1 }, (_, number) =>
    clients.use(new Client([CLIENT, seen, JSON.stringify({ ...workload, ...amount, number })])),
  )
  for (const client of all) await client.line()
  if (workload.isCold) evict(side, `read-${workload.journal}-${amount.mb}.db`)
  const spent = await spending(place)
  for (const client of all) client.tell()
  const results: { count: number; ms: number; cpuMs: number }[] = []
  for (const client of all) results.push(JSON.parse(await client.line()))
  const sum = (of: (result: (typeof results)[number]) => number) =>
    results.reduce((total, result) => total + of(result), 0)
  return {
    value: sum(({ count, ms }) => (count / ms) * 1000),
    ...(await spent(
      sum(({ count }) => count),
      sum(({ cpuMs }) => cpuMs),
    )),
  }
}

async function throughputOfReplica(
  workload: Throughput,
  side: Side,
  amount: Amount,
): Promise<Figures> {
  const mb = Math.min(amount.mb, MB_OF_REPLICA)
  const place = await side.shared()
  const options = { ...workload, ...amount, mb, kind: "write" }
  await using writer = new Client([CLIENT, place.written, JSON.stringify(options)])
  await writer.line()
  await place.arrived(`read-${workload.journal}-${mb}.db`)
  return await throughput(workload, side, { ...amount, mb }, place)
}

async function visibility(
  { name, journal, synchronous, reader }: Visibility,
  side: Side,
  { commits }: Amount,
): Promise<Figures | undefined> {
  const place = await side.shared()
  const url = place.url ?? ""
  if (reader === "listens" && url === "") return undefined
  const database = `${name}-${performance.now()}.db`
  const path = join(place.written, database)
  const sql = `pragma journal_mode=${journal}; create table t(id integer primary key, v)`
  execFileSync("sqlite3", [path, sql], { stdio: "ignore" })
  await place.arrived(database)
  await using seeing = new Client([VISIBLE, reader, join(place.seen, database), `${commits}`, url])
  await seeing.line()
  await using writing = new Client([VISIBLE, "writes", path, `${commits}`, synchronous])
  await writing.line()
  const spent = await spending(place)
  seeing.tell()
  writing.tell()
  const [written, seen] = [JSON.parse(await writing.line()), JSON.parse(await seeing.line())]
  // A reader may see a commit before the writer's call has returned.
  const times = written.times.map((ns: string, index: number) => {
    return Number(BigInt(seen.times[index]) - BigInt(ns)) / 1000
  })
  return {
    value: median(times),
    p99: quantile(times, 0.99),
    ...(await spent(commits, seen.cpuMs)),
  }
}

/** From now on, for each of so many operations. */
async function spending({ requests, cpuMs }: Pick<Place, "requests" | "cpuMs">) {
  const [requestsBefore, cpuBefore] = [await requests(), cpuMs()]
  return async (count: number, clientMs: number) => {
    const costs = { clientMs: clientMs / count }
    if (cpuBefore === undefined) return costs
    await Bun.sleep(SETTLE_MS)
    const daemonMs = ((cpuMs() ?? Number.NaN) - cpuBefore) / count
    const after = await requests()
    if (requestsBefore === undefined || after === undefined) return { ...costs, daemonMs }
    return { ...costs, daemonMs, requests: (after - requestsBefore) / count }
  }
}

/** Takes a database out of memory, and nothing else: what is dirty is written first. */
function evict({ place, backingOf }: Side, database: string): void {
  const backing = backingOf(database)
  execFileSync("sync", ["-d", backing])
  for (const path of [join(place.seen, database), backing]) {
    execFileSync("dd", [`if=${path}`, "iflag=nocache", "count=0", "status=none"])
  }
}
