/**
 * Nodes of the original, where its program is: LITEFS_ORIGINAL names it. It is not part of this repository; tests with
 * it are skipped without it (docs/contributing.md).
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { existsSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { freePort, type Scope } from "./node.ts"
import { until } from "./until.ts"

export const ORIGINAL = process.env.LITEFS_ORIGINAL ?? ""
export const hasOriginal = ORIGINAL !== "" && existsSync(ORIGINAL)

export interface OriginalOptions {
  /** The URL of the primary; undefined: it is that itself. */
  readonly follows?: string
  /** One that a node of either kind has left. */
  readonly directory?: string
  readonly port?: number
}

/** As far as clients of a TestNode need it. */
export class OriginalNode {
  readonly directory: string
  readonly mount: string
  readonly data: string
  readonly port: number
  readonly #child: ChildProcess
  #said = ""

  private constructor(directory: string, port: number, follows: string | undefined) {
    this.directory = directory
    this.mount = join(directory, "mnt")
    this.data = join(directory, "data")
    this.port = port
    mkdirSync(this.mount, { recursive: true })
    const config = join(directory, "original.yml")
    writeFileSync(config, configOf(this, follows))
    this.#child = spawn(ORIGINAL, ["mount", "-config", config], {
      stdio: ["ignore", "pipe", "pipe"],
    })
    const take = (text: Buffer) => {
      this.#said += text.toString()
    }
    this.#child.stdout?.on("data", take)
    this.#child.stderr?.on("data", take)
  }

  /** When it is connected, or the primary. Ends with the scope. */
  static async start(scope: Scope, options: OriginalOptions = {}): Promise<OriginalNode> {
    const directory = options.directory ?? mkdtempSync(join(scope.directory, "original-"))
    const node = new OriginalNode(directory, options.port ?? (await freePort()), options.follows)
    scope.defer(() => node.stop())
    await node.logged(/connected to cluster, ready/)
    await until("it is mounted", () => node.#isMounted, { context: () => node.#said })
    return node
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`
  }

  get #isMounted(): boolean {
    return readFileSync("/proc/self/mounts", "utf8").includes(` ${this.mount} `)
  }

  async logged(pattern: RegExp): Promise<void> {
    const context = () => this.#said
    await until(`the original has logged ${pattern}`, () => pattern.test(this.#said), { context })
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const exited = new Promise<void>((done) => this.#child.once("exit", () => done()))
      this.#child.kill("SIGTERM")
      const timer = setTimeout(() => this.#child.kill("SIGKILL"), 8000)
      await exited
      clearTimeout(timer)
    }
    spawnSync("umount", ["-f", "-l", this.mount], { stdio: "ignore", timeout: 5000 })
  }
}

function configOf({ mount, data, port, url }: OriginalNode, follows: string | undefined): string {
  return `fuse:
  dir: "${mount}"
data:
  dir: "${data}"
http:
  addr: "127.0.0.1:${port}"
lease:
  type: "static"
  hostname: "original-${port}"
  advertise-url: "${follows ?? url}"
  candidate: ${follows === undefined}
`
}
