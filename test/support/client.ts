/** Client processes of a mount: sqlite3 and Node with better-sqlite3, each with a time limit. */
import { spawnSync } from "node:child_process"
import { resolve } from "node:path"
import type { TestNode } from "./node.ts"

const ROOT = resolve(import.meta.dir, "../..")
const LIMIT_MS = 30_000

/** Runs a command and returns what it prints; throws with its stderr when it fails or hangs. */
export function run(command: readonly string[], input = "", limitMs = LIMIT_MS): string {
  const [program, ...args] = command as [string, ...string[]]
  const { status, signal, stdout, stderr, error } = spawnSync(program, args, {
    input,
    encoding: "utf8",
    timeout: limitMs,
    killSignal: "SIGKILL",
    cwd: ROOT,
    maxBuffer: 256 * 1024 * 1024,
  })
  if (error !== undefined || status !== 0) {
    const how = error?.message ?? (signal === null ? `exit code ${status}` : signal)
    throw new Error(`${program} ${args.join(" ").slice(0, 200)}: ${how}\n${stdout}${stderr}`)
  }
  return stdout
}

/** sqlite3(1) on a database of the node's mount. */
export function sqlite3(node: TestNode, database: string, sql: string): string {
  return run(
    ["sqlite3", "-bail", "-cmd", ".timeout 20000", `${node.mount}/${database}`],
    sql,
  ).trim()
}

/** A Node program in the node's mount: `db(name, options)` opens a database with better-sqlite3. */
export function nodeProgram(node: TestNode, source: string): string {
  const prelude = `
    import Database from "better-sqlite3"
    const db = (name, options) => new Database(${JSON.stringify(node.mount)} + "/" + name, { timeout: 20000, ...options })
  `
  return run(["node", "--input-type=module", "-e", prelude + source]).trim()
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
  const deadline = Date.now() + limitMs
  for (;;) {
    const wanted = pos(primary, database)
    let found = "none"
    try {
      found = pos(replica, database)
    } catch {
      // not there yet
    }
    if (found === wanted) return wanted
    if (Date.now() > deadline) {
      throw new Error(`"${database}" is at ${found}, not ${wanted}:\n${replica.output}`)
    }
    await Bun.sleep(5)
  }
}
