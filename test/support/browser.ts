/** A real browser for a test, if there is one: see browser-steps.mjs for what it does. */
import { type ChildProcess, spawn } from "node:child_process"
import { existsSync } from "node:fs"
import { join } from "node:path"
import { createInterface } from "node:readline"
import type { Scope } from "./node.ts"

const PROGRAM = join(import.meta.dir, "browser-steps.mjs")
const LIMIT_MS = 120_000

export const hasChromium = existsSync("/usr/bin/chromium")
if (!hasChromium)
  console.warn("left out: there is no /usr/bin/chromium, the Debian package is chromium")

export class Browser {
  readonly #child: ChildProcess
  readonly #answers: AsyncIterator<string>

  private constructor(child: ChildProcess) {
    this.#child = child
    const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream })
    this.#answers = lines[Symbol.asyncIterator]()
  }

  /** Closed with the scope. */
  static async open(scope: Scope): Promise<Browser> {
    const profile = join(scope.directory, `browser-${crypto.randomUUID()}`)
    const child = spawn("node", [PROGRAM, profile], { stdio: ["pipe", "pipe", "inherit"] })
    const exited = new Promise<void>((done) => child.once("exit", () => done()))
    scope.defer(async () => {
      child.stdin?.end()
      const timer = setTimeout(() => child.kill("SIGKILL"), 10_000)
      await exited
      clearTimeout(timer)
    })
    const browser = new Browser(child)
    await browser.#answer("open the browser")
    return browser
  }

  open(url: string): Promise<unknown> {
    return this.#step({ do: "open", url })
  }

  /** Resolves with the text of what the selector finds, when it matches. */
  async see(selector: string, pattern: RegExp): Promise<string> {
    return (await this.#step({ do: "see", selector, pattern: pattern.source })) as string
  }

  fill(selector: string, text: string): Promise<unknown> {
    return this.#step({ do: "fill", selector, text })
  }

  press(selector: string, key: string): Promise<unknown> {
    return this.#step({ do: "press", selector, key })
  }

  async texts(selector: string): Promise<string[]> {
    return (await this.#step({ do: "texts", selector })) as string[]
  }

  async count(selector: string): Promise<number> {
    return (await this.#step({ do: "count", selector })) as number
  }

  evaluate(code: string): Promise<unknown> {
    return this.#step({ do: "evaluate", code })
  }

  /** What went wrong in its pages since the last call. */
  async problems(): Promise<string[]> {
    return (await this.#step({ do: "problems" })) as string[]
  }

  /** Of the whole page. */
  async shot(
    path: string,
    { width = 1200, height = 800, scheme = "light" as "light" | "dark" } = {},
  ): Promise<void> {
    await this.#step({ do: "size", width, height })
    await this.#step({ do: "scheme", scheme })
    await this.#step({ do: "shot", path })
  }

  async #step(step: { readonly do: string; readonly [key: string]: unknown }): Promise<unknown> {
    this.#child.stdin?.write(`${JSON.stringify(step)}\n`)
    return this.#answer(JSON.stringify(step))
  }

  async #answer(what: string): Promise<unknown> {
    const late = Promise.withResolvers<never>()
    const timer = setTimeout(() => late.reject(new Error(`no answer to ${what}`)), LIMIT_MS)
    const { value, done } = await Promise.race([this.#answers.next(), late.promise])
    clearTimeout(timer)
    if (done) throw new Error(`the browser has ended, before ${what}`)
    const { problem, seen } = JSON.parse(value)
    if (problem !== undefined) throw new Error(`${what}: ${problem}`)
    return seen
  }
}
