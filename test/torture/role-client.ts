/** A client of a node in a process of its own, as the torture of roles has it: programs/role-client.mjs. */
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { join, resolve } from "node:path"
import { createInterface } from "node:readline"
import type { Scope, TestNode } from "../support/node.ts"

const ROOT = resolve(import.meta.dir, "../..")
const LIMIT_MS = 30_000

export interface RoleClientSettings {
  readonly path: string // of the database
  readonly writer: number
  readonly seed: number
  /** What look() asks. */
  readonly digest: string
}

export class RoleClient {
  readonly name: string
  readonly node: TestNode
  acknowledged = 0
  readonly #scope: Scope
  readonly #args: string
  #child: ChildProcess | undefined
  #problem: string | undefined
  #errors = ""
  #heard: (line: string) => void = () => {}

  constructor(scope: Scope, node: TestNode, settings: RoleClientSettings) {
    this.name = `client ${settings.writer} of ${node.mount}`
    this.node = node
    this.#scope = scope
    this.#args = JSON.stringify(settings)
  }

  start(): void {
    const program = join(import.meta.dir, "programs/role-client.mjs")
    const child = spawn("node", [program, this.#args], {
      cwd: ROOT,
      stdio: ["pipe", "pipe", "pipe"],
    })
    this.#child = child
    this.#scope.defer(() => void child.kill("SIGKILL"))
    child.stdin.on("error", () => {})
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      this.#errors += text
    })
    createInterface({ input: child.stdout }).on("line", (line) => this.#take(line))
    child.once("exit", () => this.#take(`ended ${this.#errors}`))
  }

  #take(line: string): void {
    if (line.startsWith("ack ")) {
      this.acknowledged += 1
      return
    }
    if (/^(fatal|ended)/.test(line)) this.#problem ??= line
    this.#heard(line)
  }

  async pause(): Promise<void> {
    await this.#ask("pause", "paused")
  }

  /** What its open connection reads, as JSON; nothing when none is open. */
  async look(): Promise<string> {
    return (await this.#ask("look", "sees")).slice("sees ".length)
  }

  go(closing: number): void {
    this.#child?.stdin?.write(`go ${closing}\n`)
  }

  async #ask(word: string, answer: string): Promise<string> {
    const { promise, resolve, reject } = Promise.withResolvers<string>()
    const late = setTimeout(() => reject(new Error(`${this.name} does not answer`)), LIMIT_MS)
    const check = (line: string) => {
      if (this.#problem !== undefined) reject(new Error(`${this.name}: ${this.#problem}`))
      else if (line.startsWith(answer)) resolve(line)
    }
    this.#heard = check
    check("")
    this.#child?.stdin?.write(`${word}\n`)
    return promise.finally(() => clearTimeout(late))
  }

  async end(): Promise<void> {
    const child = this.#child
    if (child === undefined || child.exitCode !== null) return
    const exited = once(child, "exit")
    child.stdin?.end()
    await exited
    if (this.#problem?.startsWith("fatal")) throw new Error(`${this.name}: ${this.#problem}`)
  }

  async kill(): Promise<void> {
    const child = this.#child
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    child.kill("SIGKILL")
  }
}
