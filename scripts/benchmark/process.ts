/** Processes of a benchmark: clients that are told what to do by lines, and what a process has taken. */
import { dlopen } from "bun:ffi"
import { type ChildProcess, spawn } from "node:child_process"
import { readFileSync } from "node:fs"
import { createInterface } from "node:readline"

const LIMIT_MS = 3_600_000

const CPUCLOCK_SCHED = 2
const { clock_gettime } = dlopen("libc.so.6", {
  clock_gettime: { args: ["i32", "ptr"], returns: "i32" },
}).symbols

/** A program of Node, by its arguments. It prints a line when it is ready for one. */
export class Client implements AsyncDisposable {
  readonly #child: ChildProcess
  readonly #lines: AsyncIterator<string>
  readonly #exited: Promise<unknown>

  constructor(args: readonly string[], env: Record<string, string> = {}) {
    const child = spawn("node", args, {
      stdio: ["pipe", "pipe", "inherit"],
      env: { ...process.env, ...env },
      timeout: LIMIT_MS,
      killSignal: "SIGKILL",
    })
    child.stdin.on("error", () => {}) // it has ended: line() tells
    this.#child = child
    this.#lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
    this.#exited = new Promise((done) => child.once("exit", done))
  }

  get pid(): number {
    return this.#child.pid as number
  }

  /** The next line that it prints; rejects when it ends before. */
  async line(): Promise<string> {
    const { done, value } = await this.#lines.next()
    if (done) throw new Error(`Cannot measure: ${this.#child.spawnargs.join(" ")} ended too early`)
    return value
  }

  tell(): void {
    this.#child.stdin?.write("\n")
  }

  /** Ends by the end of its input. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.stdin?.end()
    await this.#exited
  }
}

/** Of all its threads, also of those that have ended, to the nanosecond. NaN when the process has ended. */
export function cpuMsOf(pid: number): number {
  const time = new BigInt64Array(2) // struct timespec
  const clock = (~pid << 3) | CPUCLOCK_SCHED // as clock_getcpuclockid(3) makes it
  if (clock_gettime(clock, time) !== 0) return Number.NaN
  return Number(time[0]) * 1000 + Number(time[1]) / 1e6
}

/** Bytes. */
export interface Memory {
  readonly resident: number
  /** Of these, what is not pages of files. */
  readonly own: number
}

export function memoryOf(pid: number): Memory {
  const status = readFileSync(`/proc/${pid}/status`, "utf8")
  const bytes = (key: string) =>
    Number(new RegExp(`^${key}:\\s+(\\d+)`, "m").exec(status)?.[1]) * 1024
  return { resident: bytes("VmRSS"), own: bytes("RssAnon") + bytes("RssShmem") }
}
