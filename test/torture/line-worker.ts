/**
 * The client process of a sweep (programs/faulty.mjs). One that dies, as clients do whose daemon is killed while they
 * read what is mapped (SIGBUS), is started again; what it has told of its steps is its answer.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { join } from "node:path"
import { createInterface } from "node:readline"
import type { Scope } from "../support/node.ts"
import { StuckError, within } from "./client.ts"

export type Step = readonly [what: string, n: number, problem: string | null]

export interface Answer {
  readonly steps: Step[]
  readonly rows: number[]
  readonly problems: string[]
  readonly pos: string
  readonly held?: { readonly rows: number[]; readonly problems: string[] }[]
  readonly problem?: string
}

/** For many small pages and a busy machine. */
export const ANSWER_MS_MAX = 120_000

const DIED = "the client has died"
const NO_ANSWER: Answer = { steps: [], rows: [], problems: [], pos: "" }

export class LineWorker {
  readonly #scope: Scope
  #child: ChildProcess | undefined
  #onLine: (line: string) => void = () => {}
  #onDeath: () => void = () => {}

  constructor(scope: Scope) {
    this.#scope = scope
  }

  async ask(request: object): Promise<Answer> {
    const child = this.#child ?? this.#start()
    const { promise, resolve } = Promise.withResolvers<Answer>()
    const steps: Step[] = []
    this.#onLine = (line) => {
      const { begins, ended, ...answer } = JSON.parse(line)
      if (begins !== undefined) steps.push([begins[0], begins[1], DIED])
      else if (ended === undefined) resolve({ ...NO_ANSWER, ...answer })
      else steps.push([...(steps.pop() as Step).slice(0, 2), ended] as unknown as Step)
    }
    this.#onDeath = () => resolve({ ...NO_ANSWER, steps, problem: DIED })
    child.stdin?.write(`${JSON.stringify(request)}\n`)
    if (!(await within(ANSWER_MS_MAX, promise))) {
      throw new StuckError(`client at ${JSON.stringify(request)}`, child.pid as number)
    }
    return promise
  }

  #start(): ChildProcess {
    const path = join(import.meta.dir, "programs", "faulty.mjs")
    const child = spawn("node", [path], { stdio: ["pipe", "pipe", "inherit"] })
    child.stdin?.on("error", () => {}) // it has died, which is told below
    createInterface({ input: child.stdout as NodeJS.ReadableStream }).on("line", (line) =>
      this.#onLine(line),
    )
    child.once("close", () => {
      this.#child = undefined
      this.#onDeath()
    })
    this.#scope.defer(() => void child.kill("SIGKILL"))
    this.#child = child
    return child
  }
}
