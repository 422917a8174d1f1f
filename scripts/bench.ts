/**
 * What a client of the mount gets, as a ratio to plain ext4 in the same run. Run it through `scripts/bench`.
 *
 *   scripts/bench [--rounds N] [--ms N] [--forward-writes] [WORKLOAD…]
 *
 * The machine is noisy and a FUSE round trip costs 10 µs or 60 µs, depending on where the scheduler puts the two
 * sides. So rounds are interleaved (ext4, mount, ext4, mount, …) and medians compared. With --forward-writes the
 * mount has locks that are requests to the daemon.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process"
import { mkdirSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"

const WORKLOADS = [
  "read-wal",
  "read-delete",
  "insert-wal-full",
  "insert-wal-normal",
  "insert-delete-full",
  "insert-truncate-full",
  "insert-persist-full",
]

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: "string", default: "5" },
    ms: { type: "string", default: "700" },
    "forward-writes": { type: "boolean", default: false },
  },
})
const workloads = positionals.length > 0 ? positionals : WORKLOADS
const directory = mkdtempSync(join(tmpdir(), "litefs-bench-"))
const plain = join(directory, "plain")
const mount = join(directory, "mnt")
for (const path of [plain, mount]) mkdirSync(path)

const node = startNode()
try {
  await ready(node)
  console.log(
    `${"workload".padEnd(22)} ${"ext4 /s".padStart(10)} ${"mount /s".padStart(10)}   ratio`,
  )
  for (const workload of workloads) {
    const rates: { ext4: number[]; mounted: number[] } = { ext4: [], mounted: [] }
    for (let round = 0; round < Number(values.rounds); round++) {
      rates.ext4.push(measure(plain, workload))
      rates.mounted.push(measure(mount, workload))
    }
    const [ext4, mounted] = [median(rates.ext4), median(rates.mounted)]
    const ratio = (mounted / ext4).toFixed(2)
    console.log(
      `${workload.padEnd(22)} ${String(ext4).padStart(10)} ${String(mounted).padStart(10)}   ${ratio}`,
    )
  }
} finally {
  node.kill("SIGTERM")
  await new Promise((resolve) => node.once("exit", resolve))
  spawnSync("umount", ["-l", mount], { stdio: "ignore" })
  rmSync(directory, { recursive: true, force: true })
}

function startNode(): ChildProcess {
  return spawn(
    "dist/litefs",
    [
      ...["mount", "--primary", "--fuse-dir", mount, "--data-dir", join(directory, "data")],
      ...["--http-addr", "127.0.0.1:0"],
      ...(values["forward-writes"] ? ["--forward-writes"] : []),
    ],
    { stdio: ["ignore", "inherit", "pipe"] },
  )
}

async function ready(child: ChildProcess): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  let log = ""
  child.stderr?.on("data", (text) => {
    log += text
    if (log.includes("msg=mounted")) resolve()
  })
  child.once("exit", () => reject(new Error(log)))
  await promise
}

function measure(path: string, workload: string): number {
  const args = ["scripts/bench-client.mjs", path, workload, values.ms]
  return Number(execFileSync("node", args, { encoding: "utf8", timeout: 120_000 }))
}

function median(numbers: readonly number[]): number {
  return [...numbers].sort((a, b) => a - b)[numbers.length >> 1] as number
}
