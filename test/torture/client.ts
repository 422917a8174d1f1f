/**
 * A process that uses a mount, with a bound on everything: it is started, listened to, killed and waited for
 * without ever trusting that it ends.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { closeSync, existsSync, openSync, readdirSync, readFileSync, readlinkSync } from "node:fs"
import { join, resolve } from "node:path"

const ROOT = resolve(import.meta.dir, "../..")

/** A killed process that is still there after this is stuck in the kernel. */
const DEATH_MS_MAX = 10_000

export class Client {
  readonly lines: string[] = []
  readonly exited: Promise<number | null>
  readonly #child: ChildProcess
  readonly name: string
  #rest = ""
  #stderr = ""
  #hasEnded = false
  readonly #listeners = new Set<() => void>()

  constructor(name: string, command: readonly string[], stdin?: string) {
    const [program, ...args] = command as [string, ...string[]]
    this.name = name
    const input = stdin === undefined ? "ignore" : openSync(stdin, "r")
    this.#child = spawn(program, args, { cwd: ROOT, stdio: [input, "pipe", "pipe"] })
    if (typeof input === "number") closeSync(input)
    this.#child.stdout?.on("data", (bytes: Buffer) => {
      const lines = (this.#rest + bytes).split("\n")
      this.#rest = lines.pop() ?? ""
      this.lines.push(...lines)
      for (const listener of this.#listeners) listener()
    })
    this.#child.stderr?.on("data", (bytes: Buffer) => {
      this.#stderr += bytes
    })
    this.exited = new Promise((done) => {
      const end = (code: number | null) => {
        this.#hasEnded = true
        for (const listener of this.#listeners) listener()
        done(code)
      }
      this.#child.once("close", end) // its output is complete
      this.#child.once("error", (error) => {
        this.#stderr += error.message
        end(-1)
      })
    })
  }

  get pid(): number {
    return this.#child.pid as number
  }

  get hasEnded(): boolean {
    return this.#hasEnded
  }

  get stderr(): string {
    return this.#stderr
  }

  /** Resolves when it has printed a line that matches, has ended, or the time is over. */
  async heard(pattern: RegExp, limitMs: number): Promise<void> {
    let seen = 0
    const { promise, resolve } = Promise.withResolvers<void>()
    const listener = () => {
      const isHeard = this.lines.slice(seen).some((line) => pattern.test(line))
      seen = this.lines.length
      if (isHeard || this.#hasEnded) resolve()
    }
    this.#listeners.add(listener)
    listener()
    await within(limitMs, promise)
    this.#listeners.delete(listener)
  }

  /** True when the kill is what ended it. */
  async kill(): Promise<boolean> {
    if (this.#hasEnded) return false
    this.#child.kill("SIGKILL")
    if (!(await within(DEATH_MS_MAX, this.exited))) throw new StuckError(this.name, this.pid)
    return this.#child.signalCode === "SIGKILL"
  }

  /** What it prints; throws when it fails or takes too long. */
  async output(limitMs: number): Promise<string> {
    const hasEnded = await within(limitMs, this.exited)
    if (!hasEnded) {
      const where = stacksOf(this.pid)
      await this.kill()
      throw new Error(`${this.name} did not end in ${limitMs} ms\n${where}`)
    }
    const code = await this.exited
    if (code !== 0) {
      const how = code ?? this.#child.signalCode
      throw new Error(`${this.name} failed (${how}): ${this.#stderr}`)
    }
    return [...this.lines, this.#rest].join("\n")
  }
}

/** A process that SIGKILL does not end. */
export class StuckError extends Error {
  constructor(name: string, pid: number) {
    super(`STUCK: ${name} (pid ${pid}) survives SIGKILL\n${stacksOf(pid)}`)
  }
}

/** State and kernel stack of every thread of a process. */
export function stacksOf(pid: number): string {
  const tasks = `/proc/${pid}/task`
  if (!existsSync(tasks)) return "(gone)"
  const read = (path: string) => {
    try {
      return readFileSync(path, "utf8").trim()
    } catch {
      return "(gone)"
    }
  }
  return readdirSync(tasks)
    .map((task) => {
      const state = /State:\s*(.*)/.exec(read(join(tasks, task, "status")))?.[1] ?? "?"
      const call = read(join(tasks, task, "syscall"))
      return `thread ${task} ${state}, call ${call}\n${read(join(tasks, task, "stack"))}`
    })
    .join("\n")
}

/** Whether a process has files open below a directory that is a mount still, and not one that was there before. */
export function usesMount(pid: number, directory: string): boolean {
  const mounts = readFileSync("/proc/self/mountinfo", "utf8").split("\n")
  const ids = new Set(mounts.filter((line) => line.split(" ")[4] === directory).map(idOf))
  const files = `/proc/${pid}/fd`
  try {
    return readdirSync(files).some((fd) => {
      if (!readlinkSync(join(files, fd)).startsWith(`${directory}/`)) return false
      const info = readFileSync(`/proc/${pid}/fdinfo/${fd}`, "utf8")
      return ids.has(/^mnt_id:\s*(\d+)/m.exec(info)?.[1] ?? "")
    })
  } catch {
    return false // it has ended
  }
}

function idOf(line: string): string {
  return line.split(" ")[0] as string
}

/** Whether the promise settles in time. */
export async function within(limitMs: number, promise: Promise<unknown>): Promise<boolean> {
  let timer: Timer | undefined
  const late = new Promise<boolean>((done) => {
    timer = setTimeout(() => done(false), limitMs)
  })
  const settled = promise.then(() => true)
  try {
    return await Promise.race([settled, late])
  } finally {
    clearTimeout(timer)
  }
}

export function program(name: string, argument: object): string[] {
  return ["node", join(import.meta.dir, "programs", `${name}.mjs`), JSON.stringify(argument)]
}
