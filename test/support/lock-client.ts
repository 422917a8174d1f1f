/** A process that has a file open and makes fcntl(2) locks on it: POSIX locks, and those of its open file. */
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { join } from "node:path"
import { createInterface } from "node:readline"
import type { Scope } from "./node.ts"

const PROGRAM = join(import.meta.dirname, "lock-program.ts")
const LIMIT_MS = 20_000

export interface LockCall {
  readonly owner: "posix" | "ofd"
  readonly command: "get" | "set" | "wait"
  readonly type: "shared" | "exclusive" | "unlock"
  readonly start: number | string
  readonly length: number | string
}

/** As struct flock has it. */
export interface FoundLock {
  readonly type: "shared" | "exclusive"
  readonly start: string
  readonly length: string
  readonly pid: number
}

type Answer = string | FoundLock

export class LockClient {
  readonly #process: ChildProcess
  readonly #exited: Promise<unknown>
  readonly #answers: ((answer: Answer) => void)[] = [] // in order
  #errors = ""

  /** Ends with the scope. */
  constructor(scope: Pick<Scope, "defer">, path: string) {
    this.#process = spawn(process.execPath, [PROGRAM, path], { stdio: "pipe" })
    this.#exited = once(this.#process, "exit").then(() => {
      for (const answer of this.#answers) answer(`ended ${this.#errors}`)
    })
    this.#process.stdin?.on("error", () => {}) // it has ended; the answer says so
    this.#process.stderr?.on("data", (text) => {
      this.#errors += text
    })
    const lines = createInterface({ input: this.#process.stdout as NodeJS.ReadableStream })
    lines.on("line", (line) => this.#answers.shift()?.(JSON.parse(line)))
    scope.defer(() => this.kill())
  }

  get pid(): number {
    return this.#process.pid as number
  }

  /** "ok", "free", the lock that was found, or the name of the error. */
  lock(
    owner: LockCall["owner"],
    command: LockCall["command"],
    type: LockCall["type"],
    start: LockCall["start"],
    length: LockCall["length"],
  ): Promise<Answer> {
    return this.#call({ owner, command, type, start, length })
  }

  /** Opens the file once more and closes that descriptor. */
  reopen(): Promise<Answer> {
    return this.#call("reopen")
  }

  async kill(): Promise<void> {
    this.#process.kill("SIGKILL")
    await this.#exited
  }

  #call(call: LockCall | "reopen"): Promise<Answer> {
    const { promise, resolve } = Promise.withResolvers<Answer>()
    this.#answers.push(resolve)
    const timer = setTimeout(() => resolve(`no answer in ${LIMIT_MS} ms`), LIMIT_MS)
    this.#process.stdin?.write(`${JSON.stringify({ call })}\n`)
    return promise.finally(() => clearTimeout(timer))
  }
}
