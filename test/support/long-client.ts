/**
 * A client that keeps its connection: a Node process with better-sqlite3, which is told what to do in JSON lines
 * over stdin and answers each with one over stdout.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { cpSync, mkdtempSync } from "node:fs"
import { join, resolve } from "node:path"
import { createInterface } from "node:readline"
import { run } from "./client.ts"
import type { Scope, TestNode } from "./node.ts"

const ROOT = resolve(import.meta.dir, "../..")
const LIMIT_MS = 30_000

export type Row = readonly (string | number | null)[]

const PROGRAM = `
  const Database = require("better-sqlite3")
  const { createInterface } = require("node:readline")

  const db = new Database(process.argv[1], { timeout: 20000 })
  const rows = (sql, ...values) => {
    const statement = db.prepare(sql)
    return statement.reader ? statement.raw().all(...values) : (statement.run(...values), [])
  }
  createInterface({ input: process.stdin }).on("line", (line) => {
    const { id, source } = JSON.parse(line)
    try {
      const value = new Function("db", "rows", source)(db, rows)
      console.log(JSON.stringify({ id, value: value ?? null }))
    } catch (error) {
      console.log(JSON.stringify({ id, problem: error.message, code: error.code }))
    }
  })
`

interface Answer {
  readonly id: number
  readonly value?: unknown
  readonly problem?: string
  readonly code?: string
}

export class LongClient {
  readonly #process: ChildProcess
  readonly #waiting = new Map<number, (answer: Answer) => void>()
  readonly #exited: Promise<unknown>
  #errors = ""
  #nextId = 1

  /**
   * Opens the database of the node's mount and ends with the scope. `through` is a command that runs it: setpriv.
   * `packages` is where that may read its packages (readablePackages()).
   */
  constructor(
    scope: Scope,
    node: TestNode,
    database: string,
    through: readonly string[] = [],
    packages = ROOT,
  ) {
    const path = `${node.mount}/${database}`
    const words = [...through, "node", "-e", PROGRAM, "--", path]
    this.#process = spawn(words[0] as string, words.slice(1), {
      stdio: ["pipe", "pipe", "pipe"],
      cwd: packages,
    })
    this.#exited = once(this.#process, "exit").then(() => this.#end())
    this.#process.stdin?.on("error", () => {}) // it has ended; the answer says so
    this.#process.stderr?.on("data", (text) => {
      this.#errors += text
    })
    const lines = createInterface({ input: this.#process.stdout as NodeJS.ReadableStream })
    lines.on("line", (line) => {
      const answer: Answer = JSON.parse(line)
      this.#waiting.get(answer.id)?.(answer)
    })
    scope.defer(() => this.close())
  }

  get pid(): number {
    return this.#process.pid as number
  }

  /** The rows of a statement; of one that returns none, an empty list. */
  async rows(sql: string, ...values: Row): Promise<Row[]> {
    const list = JSON.stringify(values)
    return (await this.run(`return rows(${JSON.stringify(sql)}, ...${list})`)) as Row[]
  }

  /** The first column of the first row. */
  async value(sql: string): Promise<string | number | null | undefined> {
    return (await this.rows(sql))[0]?.[0]
  }

  async exec(sql: string): Promise<void> {
    await this.run(`db.exec(${JSON.stringify(sql)})`)
  }

  /** Runs JavaScript that has `db` and `rows(sql, ...values)`; returns what it returns. */
  async run(source: string, limitMs = LIMIT_MS): Promise<unknown> {
    if (this.#process.exitCode !== null) throw new Error(`the client has ended: ${this.#errors}`)
    const id = this.#nextId++
    const { promise, resolve } = Promise.withResolvers<Answer>()
    this.#waiting.set(id, resolve)
    const timer = setTimeout(() => resolve({ id, problem: `no answer in ${limitMs} ms` }), limitMs)
    this.#process.stdin?.write(`${JSON.stringify({ id, source })}\n`)
    const answer = await promise.finally(() => clearTimeout(timer))
    this.#waiting.delete(id)
    if (answer.problem === undefined) return answer.value
    throw Object.assign(new Error(answer.problem), { code: answer.code })
  }

  /** Closes the connection as a program does that ends, or, with SIGKILL, as one that crashes. */
  async close(signal?: NodeJS.Signals): Promise<void> {
    if (signal === undefined) this.#process.stdin?.end()
    else this.#process.kill(signal)
    const timer = setTimeout(() => this.#process.kill("SIGKILL"), 5000)
    await this.#exited
    clearTimeout(timer)
  }

  #end(): void {
    const problem = `the client has ended: ${this.#errors}`
    for (const [id, answer] of this.#waiting) answer({ id, problem })
  }
}

/** A directory with what better-sqlite3 needs: other users may not be able to enter the one of the project. */
export function readablePackages(scope: Scope): string {
  const directory = mkdtempSync(join(scope.directory, "packages-"))
  const needed = [
    "better-sqlite3/package.json",
    "better-sqlite3/lib",
    "better-sqlite3/build/Release/better_sqlite3.node",
    "bindings",
    "file-uri-to-path",
  ].map((path) => join("node_modules", path))
  for (const path of needed) {
    cpSync(join(ROOT, path), join(directory, path), { recursive: true })
  }
  run(["chmod", "-R", "a+rX", directory])
  return directory
}
