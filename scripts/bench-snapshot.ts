/**
 * Commit latency on a primary while a new replica gets a snapshot, as a ratio to that before, the time until the
 * replica is ready, and the memory of both. Run it through `scripts/bench-snapshot`.
 *
 * A writer updates random rows of the database all the time, 50 of them a second, so that there is a load in both
 * phases and not a contest for the machine. Both nodes share the processors and, unless --replica-dir is on
 * another one, the disk.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { parseArgs } from "node:util"

const SIZES_MIB = [10, 200]
const ROW_SIZE = 3900 // one to a page

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rate: { type: "string" },
    "replica-dir": { type: "string", default: tmpdir() },
    mode: { type: "string", default: "wal" },
    before: { type: "string", default: "5000" }, // ms
    "per-second": { type: "string", default: "50" },
  },
})

/** Fills the database, then updates rows; each line on stdin is answered with the latencies since the last. */
const WRITER = `
  import Database from "better-sqlite3"
  import { createInterface } from "node:readline"
  const [path, mode, mebibytes, perSecond] = process.argv.slice(1)
  const db = new Database(path, { timeout: 60000 })
  db.pragma("journal_mode=" + mode)
  db.pragma("synchronous=full")
  db.exec("create table t(id integer primary key, v)")
  const rows = Number(mebibytes) * 256
  const insert = db.prepare("insert into t(v) values(randomblob(${ROW_SIZE}))")
  for (let done = 0; done < rows; done += 2560) {
    db.transaction(() => { for (let i = done; i < Math.min(rows, done + 2560); i++) insert.run() })()
  }
  const update = db.prepare("update t set v = randomblob(${ROW_SIZE}) where id = ?")
  let times = []
  createInterface({ input: process.stdin }).on("line", () => {
    console.log(JSON.stringify(times))
    times = []
  })
  console.log("filled")
  setInterval(() => {
    const start = performance.now()
    update.run(1 + Math.floor(Math.random() * rows))
    times.push(performance.now() - start)
  }, 1000 / Number(perSecond))
`

interface Node {
  readonly child: ChildProcess
  readonly mount: string
  readonly port: number
  /** Resolves when its log holds the words. */
  logged(words: string): Promise<void>
}

console.log(
  "size        p50 before/during ms   p99 before/during ms  ratio   ready   MiB/s   primary MiB   replica MiB",
)
for (const size of positionals.length > 0 ? positionals.map(Number) : SIZES_MIB) await measure(size)

async function measure(mebibytes: number): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "litefs-bench-"))
  const replicaDirectory = mkdtempSync(join(values["replica-dir"], "litefs-bench-"))
  const nodes: Node[] = []
  let writer: ChildProcess | undefined
  try {
    const rate = values.rate === undefined ? [] : ["--snapshot-rate", values.rate]
    const primary = await startNode(directory, "primary", ["--primary", ...rate])
    nodes.push(primary)
    const args = [`${primary.mount}/a.db`, values.mode, `${mebibytes}`, values["per-second"]]
    writer = spawn("node", ["--input-type=module", "-e", WRITER, "--", ...args], {
      stdio: ["pipe", "pipe", "inherit"],
    })
    const lines = createInterface({ input: writer.stdout as NodeJS.ReadableStream })[
      Symbol.asyncIterator
    ]()
    await lines.next()
    const latencies = async () => {
      writer?.stdin?.write("\n")
      return JSON.parse((await lines.next()).value as string) as number[]
    }
    await Bun.sleep(1000)
    await latencies()
    await Bun.sleep(Number(values.before))
    const before = await latencies()
    const memoryBefore = residentMiB(primary)

    const start = performance.now()
    const replica = await startNode(replicaDirectory, "replica", [
      "--primary-url",
      `http://127.0.0.1:${primary.port}`,
    ])
    nodes.push(replica)
    const peaks = { primary: 0, replica: 0 }
    const sampler = setInterval(() => {
      peaks.primary = Math.max(peaks.primary, residentMiB(primary))
      peaks.replica = Math.max(peaks.replica, residentMiB(replica))
    }, 50)
    await replica.logged("took a snapshot of the primary")
    const seconds = (performance.now() - start) / 1000
    clearInterval(sampler)
    const during = await latencies()
    const shown = (share: number) =>
      [before, during].map((list) => quantile(list, share).toFixed(2)).join(" / ")
    const ratio = quantile(during, 0.99) / quantile(before, 0.99)
    console.log(
      [
        `${mebibytes} MiB`.padEnd(10),
        shown(0.5).padStart(20),
        shown(0.99).padStart(22),
        ratio.toFixed(2).padStart(6),
        `${seconds.toFixed(1)} s`.padStart(8),
        (mebibytes / seconds).toFixed(0).padStart(7),
        `${memoryBefore} → ${peaks.primary}`.padStart(13),
        `${peaks.replica}`.padStart(13),
      ].join(" "),
    )
  } finally {
    writer?.kill("SIGKILL")
    for (const { child, mount } of nodes.reverse()) {
      child.kill("SIGTERM")
      await new Promise((resolve) =>
        child.exitCode === null ? child.once("exit", resolve) : resolve(0),
      )
      spawnSync("umount", ["-l", mount], { stdio: "ignore", timeout: 5000 })
    }
    for (const path of [directory, replicaDirectory]) {
      rmSync(path, { recursive: true, force: true })
    }
  }
}

async function startNode(directory: string, name: string, role: readonly string[]): Promise<Node> {
  const mount = join(directory, name)
  mkdirSync(mount)
  const port = await freePort()
  const args = [
    "mount",
    ...role,
    "--fuse-dir",
    mount,
    "--data-dir",
    join(directory, `${name}-data`),
  ]
  const child = spawn("dist/litefs", [...args, "--http-addr", `127.0.0.1:${port}`], {
    stdio: ["ignore", "inherit", "pipe"],
  })
  let log = ""
  const listeners = new Set<() => void>()
  child.stderr?.on("data", (text) => {
    log += text
    for (const listener of listeners) listener()
  })
  const logged = (words: string) =>
    new Promise<void>((resolve, reject) => {
      const look = () => {
        if (log.includes(words)) resolve()
      }
      listeners.add(look)
      child.once("exit", () => reject(new Error(log)))
      look()
    })
  const node = { child, mount, port, logged }
  await logged("msg=mounted")
  return node
}

function residentMiB({ child }: Node): number {
  const status = readFileSync(`/proc/${child.pid}/status`, "utf8")
  return Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024)
}

function quantile(list: readonly number[], share: number): number {
  const sorted = [...list].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer()
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as { port: number }
      server.close(() => resolve(port))
    })
  })
}
