/**
 * µs from the return of a commit until another process sees it, p50 and p99: on the mount of a replica over loopback,
 * and as the floor two processes that share a plain ext4 file. Run it through `scripts/bench-visible`.
 *
 * The reader polls without a pause. The writer pauses between commits, so that each is waited for by itself. Both
 * read CLOCK_MONOTONIC, which is one for the machine. A negative time counts as it is: the reader may see a commit
 * before the writer's call has returned.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process"
import { mkdirSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { parseArgs } from "node:util"

const MODES = ["wal", "delete"] as const
const PAUSE_MS = 4
const PORT = 20000 + (process.pid % 20000)

const { values } = parseArgs({
  options: {
    commits: { type: "string", default: "300" },
    rounds: { type: "string", default: "3" },
  },
})
const commits = Number(values.commits)
const directory = mkdtempSync(join(tmpdir(), "litefs-bench-"))
const [plain, primary, replica] = ["plain", "primary", "replica"].map((name) => {
  const path = join(directory, name)
  mkdirSync(path)
  return path
}) as [string, string, string]

const WRITER = `
  import Database from "better-sqlite3"
  const [path] = process.argv.slice(1)
  const db = new Database(path, { timeout: 20000 })
  const insert = db.prepare("insert into t(v) values(randomblob(100))")
  const pause = new Int32Array(new SharedArrayBuffer(4))
  const times = []
  for (let i = 0; i < ${commits}; i++) {
    Atomics.wait(pause, 0, 0, ${PAUSE_MS})
    insert.run()
    times.push(String(process.hrtime.bigint()))
  }
  console.log(times.join(" "))
`

const READER = `
  import Database from "better-sqlite3"
  const [path] = process.argv.slice(1)
  const db = new Database(path, { timeout: 20000 })
  const count = db.prepare("select count(*) from t").pluck()
  const times = []
  console.log("ready")
  while (times.length < ${commits}) {
    const seen = count.get()
    const now = String(process.hrtime.bigint())
    while (times.length < seen) times.push(now)
  }
  console.log(times.join(" "))
`

const nodes: ChildProcess[] = []
try {
  await startNode(primary, PORT, "--primary")
  await startNode(replica, PORT + 1, "--primary-url", `http://127.0.0.1:${PORT}`)
  console.log("mode     where     p50 µs   p99 µs")
  for (const mode of MODES) {
    const [floor, ours]: [number[], number[]] = [[], []]
    for (let round = 0; round < Number(values.rounds); round++) {
      floor.push(...(await measure(plain, plain, mode, round)))
      ours.push(...(await measure(primary, replica, mode, round)))
    }
    print(mode, "ext4", floor)
    print(mode, "replica", ours)
  }
} finally {
  for (const node of nodes.reverse()) {
    const exited = new Promise((done) => node.once("exit", done))
    node.kill("SIGTERM")
    await exited
  }
  for (const mount of [primary, replica]) {
    spawnSync("umount", ["-l", mount], { stdio: "ignore", timeout: 5000 })
  }
  rmSync(directory, { recursive: true, force: true })
}

async function measure(from: string, to: string, mode: string, round: number): Promise<number[]> {
  const name = `${mode}-${round}.db`
  const sql = `pragma journal_mode=${mode}; create table t(id integer primary key, v)`
  execFileSync("sqlite3", [join(from, name), sql], { stdio: "ignore" })
  while (spawnSync("sqlite3", [join(to, name), "select * from t"]).status !== 0) await Bun.sleep(10)
  const reader = program(READER, join(to, name))
  await reader.next()
  const writer = program(WRITER, join(from, name))
  const written = ((await writer.next()).value as string).split(" ").map(BigInt)
  const seen = ((await reader.next()).value as string).split(" ").map(BigInt)
  return written.map((time, index) => Number((seen[index] as bigint) - time) / 1000)
}

function program(source: string, path: string): AsyncIterator<string> {
  const child = spawn("node", ["--input-type=module", "-e", source, "--", path], {
    stdio: ["ignore", "pipe", "inherit"],
    timeout: 120_000,
  })
  return createInterface({ input: child.stdout })[Symbol.asyncIterator]()
}

function print(mode: string, where: string, times: number[]): void {
  times.sort((a, b) => a - b)
  const at = (share: number) => (times[Math.floor(times.length * share)] as number).toFixed(0)
  console.log(`${mode.padEnd(8)} ${where.padEnd(9)} ${at(0.5).padStart(6)} ${at(0.99).padStart(8)}`)
}

async function startNode(mount: string, port: number, ...role: string[]): Promise<void> {
  const args = ["mount", ...role, "--fuse-dir", mount, "--data-dir", `${mount}-data`]
  const node = spawn("dist/litefs", [...args, "--http-addr", `127.0.0.1:${port}`], {
    stdio: ["ignore", "ignore", "pipe"],
  })
  nodes.push(node)
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  let log = ""
  node.stderr.on("data", (text) => {
    log += text
    if (log.includes("msg=mounted")) resolve()
  })
  node.once("exit", () => reject(new Error(log)))
  await promise
}
