/**
 * From the start of a process until it has done what it was started for, and the CPU time that all its threads took by
 * then: of a bare runtime with three threads (the floor), of `litefs version`, and of `litefs mount` until it is mounted,
 * in a fresh data directory, at the restart after a clean stop, and after a kill. Then the memory of a node that has
 * nothing to do. Run it through `scripts/bench-start`.
 *
 * With `--mib N` instead: until a database of that size is mounted, after a clean stop, after a kill while nobody writes,
 * and after one while a client commits. `--mode delete` is for another journal mode, `--flags` for more flags of the node.
 *
 * Rounds alternate between all of them, since the machine is noisy: the least of many rounds is what a quiet machine
 * would take, the median what this one does.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { cpuMsOf, type Memory, memoryOf } from "./benchmark/process.ts"
import { median } from "./benchmark/statistics.ts"

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: "string", default: "20" },
    mib: { type: "string" },
    mode: { type: "string", default: "wal" },
    flags: { type: "string", default: "" },
  },
})
const rounds = Number(values.rounds)
const programs =
  positionals.length > 0 ? positionals : [process.env.LITEFS_PROGRAM ?? "dist/litefs"]

/** A start is forgotten by then, and what can be collected is. */
const IDLE_MS = 3000

/** How long clients commit before a node is killed: maintenance comes by in between. */
const WRITE_MS = 3000

interface Sample {
  readonly wallMs: number
  readonly cpuMs: number
}

const directory = mkdtempSync(join(tmpdir(), "litefs-start-"))
const [mount, data] = [join(directory, "mnt"), join(directory, "data")]
mkdirSync(mount)
const samples = new Map<string, Sample[]>()
const memories = new Map<string, Memory>()

let running: ChildProcess | undefined
try {
  if (values.mib !== undefined) await measureLarge(Number(values.mib))
  else {
    const floor = buildFloor()
    for (let round = 0; round < rounds; round++) {
      await measure("bare runtime, 3 threads", () => until([floor], "ready"), "SIGKILL")
      for (const program of programs) await measureProgram(program, round === rounds - 1)
    }
  }
  report()
} finally {
  await stop("SIGKILL")
  spawnSync("umount", ["-l", mount], { stdio: "ignore", timeout: 5000 })
  rmSync(directory, { recursive: true, force: true })
}

async function measureProgram(program: string, isLast: boolean): Promise<void> {
  const names = programs.length > 1 ? ` (${program})` : ""
  const args = ["mount", "--primary", "--fuse-dir", mount, "--data-dir", data]
  const mounted = () => until([program, ...args, "--http-addr", "127.0.0.1:0"], "msg=mounted")
  await measure(`version${names}`, () => until([program, "version"]), "SIGKILL")
  rmSync(data, { recursive: true, force: true })
  for (const [name, end] of [
    ["fresh", "SIGTERM"],
    ["restart", "SIGKILL"],
    ["after a kill", "SIGTERM"],
  ] as const) {
    await measure(`mount, ${name}${names}`, mounted, end, isLast)
  }
}

async function measureLarge(mib: number): Promise<void> {
  const place = join(data, "dbs", "app.db")
  mkdirSync(place, { recursive: true })
  const page = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 256 * "
  const sql = `PRAGMA synchronous = off; PRAGMA journal_mode = off; CREATE TABLE t(id INTEGER PRIMARY KEY, v);
    INSERT INTO t(v) ${page}${mib}) SELECT randomblob(3900) FROM c; PRAGMA journal_mode = ${values.mode};`
  spawnSync("sqlite3", [join(place, "database"), sql], { stdio: ["ignore", "ignore", "inherit"] })
  const flags = [...values.flags.split(" ").filter(Boolean), "--retention-interval", "1s"]
  const args = ["mount", "--primary", "--fuse-dir", mount, "--data-dir", data, ...flags]
  for (let round = -1; round < rounds; round++) {
    for (const program of programs) {
      const names = programs.length > 1 ? ` (${program})` : ""
      const mounted = () => until([program, ...args, "--http-addr", "127.0.0.1:0"], "msg=mounted")
      const start = async (name: string) => {
        const sample = await mounted()
        if (round >= 0) samples.set(name + names, [...(samples.get(name + names) ?? []), sample])
      }
      await start("first")
      await stop("SIGTERM")
      await start("after a clean stop")
      await write(WRITE_MS)
      await new Promise((done) => setTimeout(done, WRITE_MS))
      await stop("SIGKILL")
      await start("after a kill at rest")
      await write(WRITE_MS, () => stop("SIGKILL"))
      await start("after a kill under a writer")
      await stop("SIGTERM")
    }
  }
}

/** One row after the other, for so long; then does `end` while it goes on. */
async function write(ms: number, end: () => Promise<void> = async () => {}): Promise<void> {
  const child = spawn("sqlite3", [join(mount, "app.db")], { stdio: ["pipe", "ignore", "ignore"] })
  child.stdin.on("error", () => {})
  child.stdin.write("PRAGMA synchronous = full;\n")
  const row =
    "UPDATE t SET v = randomblob(3900) WHERE id = 1 + abs(random() % (SELECT max(id) FROM t));\n"
  const exited = new Promise((done) => child.once("exit", done))
  const endsMs = performance.now() + ms
  while (performance.now() < endsMs) {
    if (!child.stdin.write(row.repeat(20))) {
      const drained = new Promise((done) => child.stdin.once("drain", done))
      await Promise.race([drained, exited])
    }
  }
  await end()
  child.stdin.end()
  child.kill("SIGKILL")
  await exited
}

async function measure(
  name: string,
  start: () => Promise<Sample>,
  end: NodeJS.Signals,
  wantsMemory = false,
): Promise<void> {
  const sample = await start()
  samples.set(name, [...(samples.get(name) ?? []), sample])
  // A start is over when what it has put off is done, too.
  await new Promise((done) => setTimeout(done, wantsMemory ? IDLE_MS : 200))
  if (wantsMemory) memories.set(name, memoryOf(running?.pid as number))
  await stop(end)
}

/** Until a line has `word`, or else until the process ends. */
async function until([program, ...args]: readonly string[], word?: string): Promise<Sample> {
  const startedMs = performance.now()
  const child = spawn(program as string, args, { stdio: ["ignore", "pipe", "pipe"] })
  running = child
  const { promise, resolve, reject } = Promise.withResolvers<Sample>()
  let text = ""
  const take = (part: Buffer) => {
    const wallMs = performance.now() - startedMs
    text += part
    if (word === undefined || text.includes(word)) {
      resolve({ wallMs, cpuMs: cpuMsOf(child.pid as number) })
    }
  }
  child.stdout.on("data", take)
  child.stderr.on("data", take)
  child.once("exit", () =>
    reject(new Error(`Cannot measure ${program} ${args.join(" ")}: ${text}`)),
  )
  return promise
}

async function stop(signal: NodeJS.Signals): Promise<void> {
  const child = running
  running = undefined
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
  const exited = new Promise((done) => child.once("exit", done))
  child.kill(signal)
  await exited
}

/** The runtime that is in the product, with as many threads. */
function buildFloor(): string {
  const main = join(directory, "floor.ts")
  const thread = join(directory, "floor-thread.ts")
  writeFileSync(thread, "self.postMessage(1)\n")
  writeFileSync(
    main,
    `let count = 0
     for (let i = 0; i < 3; i++) {
       const worker = new Worker(new URL("./floor-thread.ts", import.meta.url).href)
       worker.onmessage = () => { if (++count === 3) console.log("ready") }
     }`,
  )
  const outfile = join(directory, "floor")
  const flags = ["--compile", "--minify", "--bytecode", "--format=esm", `--root=${directory}`]
  const built = Bun.spawnSync([
    process.execPath,
    "build",
    ...flags,
    `--outfile=${outfile}`,
    main,
    thread,
  ])
  if (built.exitCode !== 0) throw new Error(`Cannot build the bare runtime: ${built.stderr}`)
  return outfile
}

function report(): void {
  const width = Math.max(...[...samples.keys()].map((name) => name.length))
  console.log(`${"".padEnd(width)}  median ms   least  ratio   CPU ms  resident MB   own`)
  const [first] = samples.values() // of a database: the first start with it
  const floorMs = least(first as Sample[], "wallMs")
  for (const [name, of] of samples) {
    const memory = memories.get(name)
    const cells = [
      median(numbers(of, "wallMs")).toFixed(1).padStart(9),
      least(of, "wallMs").toFixed(1).padStart(7),
      (least(of, "wallMs") / floorMs).toFixed(1).padStart(6),
      least(of, "cpuMs").toFixed(1).padStart(8),
      megabytes(memory?.resident).padStart(12),
      megabytes(memory?.own).padStart(5),
    ]
    console.log(`${name.padEnd(width)}  ${cells.join(" ")}`)
  }
}

function megabytes(bytes: number | undefined): string {
  return bytes === undefined ? "" : (bytes / 1e6).toFixed(1)
}

/** Of those whose process was still there to be asked. */
function numbers(of: readonly Sample[], key: keyof Sample): number[] {
  return of.map((sample) => sample[key]).filter((ms) => !Number.isNaN(ms))
}

function least(of: readonly Sample[], key: keyof Sample): number {
  return Math.min(...numbers(of, key))
}
