/** `litefs mount` as a real process, with a node that does nothing (litefs-program.ts). */
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { refuseStackTrace } from "./stack-trace.ts"
import { until } from "./until.ts"

const PROGRAM = join(import.meta.dirname, "litefs-program.ts")

export interface LitefsOptions {
  /** A command that runs the program: unshare. */
  readonly through?: readonly string[]
  readonly logLevel?: string
}

/** With what it has printed. */
export class Litefs {
  readonly process: ChildProcess
  readonly #dir = mkdtempSync(join(tmpdir(), "litefs-process-"))
  readonly #mayCrash: boolean
  readonly #closed: Promise<unknown[]>
  readonly #waiting = { everyMs: 2, context: () => `${this.out}${this.err}` }
  out = ""
  err = ""

  constructor(
    words: readonly string[],
    env: Record<string, string> = {},
    { through = [], logLevel = "error" }: LitefsOptions = {},
  ) {
    this.#mayCrash = env.NODE_ERROR !== undefined
    mkdirSync(join(this.#dir, "mount"))
    const dirs = ["--fuse-dir", join(this.#dir, "mount"), "--data-dir", join(this.#dir, "data")]
    const args = ["mount", "--primary", "--log-level", logLevel, ...dirs, ...words]
    const [file, ...rest] = [...through, process.execPath, PROGRAM, ...args]
    this.process = spawn(file as string, rest, { env: { ...process.env, ...env } })
    this.#closed = once(this.process, "close")
    this.process.stdout?.setEncoding("utf8").on("data", (text) => {
      this.out += text
    })
    this.process.stderr?.setEncoding("utf8").on("data", (text) => {
      this.err += text
    })
  }

  async printed(text: string): Promise<void> {
    await until(`it prints ${text}`, () => this.out.includes(text), this.#waiting)
  }

  async logged(text: string): Promise<void> {
    await until(`it logs ${text}`, () => this.err.includes(text), this.#waiting)
  }

  signal(name: NodeJS.Signals): void {
    this.process.kill(name)
  }

  /** To the program when something else has started it, which would keep the signal: `unshare --fork`. */
  signalChild(name: NodeJS.Signals): void {
    const { pid } = this.process
    const [child = ""] = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ")
    process.kill(Number(child), name)
  }

  async outcome() {
    const [code] = await this.#closed
    rmSync(this.#dir, { recursive: true })
    if (!this.#mayCrash) refuseStackTrace(this.err, "litefs mount")
    return { code, out: this.out, err: this.err }
  }
}
