/**
 * One node of the demo: `litefs mount … -- node server.mjs` as a process, with its directories.
 *
 * Nothing here touches a mount except through a program under `timeout`: a mount whose LiteFS is
 * stuck blocks whoever looks at it, and that must not be the demo, which has to clean up.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process"
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync } from "node:fs"
import { createServer } from "node:net"
import { join } from "node:path"

const DEADLINE_MS = 20_000
const STOP_DEADLINE_MS = 15_000

export interface DemoNodeOptions {
  readonly name: string
  /** Everything of this node is kept below it. */
  readonly dir: string
  /** Undefined for the primary itself. */
  readonly primary?: DemoNode
}

export class DemoNode {
  readonly name: string
  readonly fuseDir: string
  readonly dataDir: string
  readonly logPath: string
  readonly #process: ChildProcess
  readonly #appAddress: string
  readonly #apiAddress: string
  readonly #proxyAddress: string

  private constructor(
    options: DemoNodeOptions,
    appAddress: string,
    apiAddress: string,
    proxyAddress: string,
  ) {
    this.name = options.name
    this.fuseDir = join(options.dir, options.name, "mount")
    this.dataDir = join(options.dir, options.name, "data")
    this.logPath = join(options.dir, options.name, "log")
    this.#appAddress = appAddress
    this.#apiAddress = apiAddress
    this.#proxyAddress = proxyAddress
    mkdirSync(this.fuseDir, { recursive: true })
    this.#process = this.#spawn(options.primary)
  }

  static async start(options: DemoNodeOptions): Promise<DemoNode> {
    const ports = await Promise.all([freePort(), freePort(), freePort()])
    const [app, api, proxy] = ports.map((port) => `127.0.0.1:${port}`) as [string, string, string]
    return new DemoNode(options, app, api, proxy)
  }

  get appUrl(): string {
    return `http://${this.#appAddress}`
  }

  get apiUrl(): string {
    return `http://${this.#apiAddress}`
  }

  get proxyUrl(): string {
    return `http://${this.#proxyAddress}`
  }

  get databasePath(): string {
    return join(this.fuseDir, "notes.db")
  }

  get commandLine(): string[] {
    return this.#process.spawnargs
  }

  /** Undefined while it runs. */
  get exit(): string | undefined {
    const { exitCode, signalCode } = this.#process
    if (exitCode !== null) return `exit code ${exitCode}`
    return signalCode ?? undefined
  }

  get log(): string {
    return readFileSync(this.logPath, "utf8")
  }

  async appReady(): Promise<void> {
    await eventually(`the application on the ${this.name} answers`, async () => {
      if (this.exit !== undefined) throw new Stop(`the ${this.name} ended with ${this.exit}`)
      return (await fetch(this.appUrl, { signal: AbortSignal.timeout(2000) })).ok
    })
  }

  async page(): Promise<string> {
    return (await fetch(this.appUrl, { signal: AbortSignal.timeout(5000) })).text()
  }

  /** The page as a browser gets it from the proxy that has this cookie. */
  async pageOf(cookie: string): Promise<string> {
    const signal = AbortSignal.timeout(10_000)
    return (await fetch(this.proxyUrl, { headers: { Cookie: cookie }, signal })).text()
  }

  /** To the application itself, or to the proxy before it. */
  post(text: string, url = this.appUrl): Promise<Response> {
    return fetch(`${url}/notes`, {
      method: "POST",
      body: new URLSearchParams({ text }),
      redirect: "manual",
      signal: AbortSignal.timeout(10_000),
    })
  }

  /** TXID and checksum, as any program can read them. */
  position(): string {
    return limited("cat", `${this.databasePath}-pos`).trim()
  }

  /** Runs SQL with the primary's write lock, and returns the command line. */
  runSql(sql: string): string {
    const command = ["dist/litefs", "sql", "--with-halt-lock", this.databasePath, sql]
    limited(...(command as [string, ...string[]]))
    return command.map((word) => (word.includes(" ") ? `"${word}"` : word)).join(" ")
  }

  ltxFiles(): string[] {
    return readdirSync(join(this.dataDir, "dbs", "notes.db", "ltx")).sort()
  }

  /** Stops it and cleans up behind it; throws when there was something left to clean up. */
  async stop(): Promise<void> {
    if (this.exit === undefined) {
      const exited = new Promise((resolve) => this.#process.once("exit", resolve))
      this.#process.kill("SIGTERM")
      await Promise.race([exited, Bun.sleep(STOP_DEADLINE_MS)])
    }
    const leftRunning = this.#killGroup()
    const leftMounted = readFileSync("/proc/self/mountinfo", "utf8").includes(` ${this.fuseDir} `)
    if (leftMounted) limited("umount", "-l", this.fuseDir)
    if (leftRunning) throw new Error("it was still running, killed it")
    if (leftMounted) throw new Error("it left its mount behind, detached that")
  }

  #spawn(primary: DemoNode | undefined): ChildProcess {
    const role = primary === undefined ? ["--primary"] : ["--primary-url", primary.apiUrl]
    const args = [
      ["mount", ...role],
      ["--fuse-dir", this.fuseDir, "--data-dir", this.dataDir],
      // What replicas find in `.primary`: here it is where the application listens.
      ["--hostname", this.#appAddress],
      ["--http-addr", this.#apiAddress, "--advertise-url", this.apiUrl],
      ["--proxy-addr", this.#proxyAddress, "--proxy-target", this.#appAddress],
      ["--proxy-db", "notes.db"],
      ["--", "node", "scripts/demo-app/server.mjs"],
    ].flat()
    const port = this.#appAddress.split(":")[1]
    const log = openSync(this.logPath, "a")
    const child = spawn("dist/litefs", args, {
      // A group of its own: Ctrl-C reaches the demo only, which then ends the nodes in order.
      detached: true,
      env: { ...process.env, PORT: port, DATABASE: this.databasePath },
      stdio: ["ignore", log, log],
    })
    closeSync(log)
    return child
  }

  /** Kills what is left of LiteFS and its application; false when nothing is. */
  #killGroup(): boolean {
    const { pid } = this.#process
    if (pid === undefined) return false
    try {
      return process.kill(-pid, "SIGKILL")
    } catch {
      return false
    }
  }
}

/** What it says will not come true any more. */
class Stop extends Error {}

/** Asks again and again until the answer is true; an error means "not yet". */
export async function eventually(
  what: string,
  ask: () => boolean | Promise<boolean>,
): Promise<void> {
  const end = performance.now() + DEADLINE_MS
  let reason: unknown = "it did not"
  while (performance.now() < end) {
    try {
      if (await ask()) return
    } catch (error) {
      if (error instanceof Stop) throw error
      reason = error
    }
    await Bun.sleep(50)
  }
  throw new Error(`Cannot go on: waited ${DEADLINE_MS / 1000} s until ${what}, ${reason}`)
}

/** The output of a program that may have to look at a mount. */
export function limited(...command: string[]): string {
  return execFileSync("timeout", ["-k", "1", "5", ...command], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
  })
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  const address = server.address()
  await new Promise<void>((resolve) => server.close(() => resolve()))
  if (address === null || typeof address === "string") throw new Error("Cannot find a free port")
  return address.port
}
