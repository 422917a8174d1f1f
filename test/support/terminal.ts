/** A program on a terminal of its own, as a user has it: keys in, and what it prints. util-linux's script(1) has the terminal. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import { until } from "./until.ts"

export const hasTerminals = spawnSync("script", ["-qec", "true", "/dev/null"]).status === 0

export interface TerminalOptions {
  readonly columns?: number
  readonly rows?: number
  readonly env?: Record<string, string>
}

export class Terminal implements AsyncDisposable {
  readonly #process: ChildProcess
  readonly #ended: Promise<unknown[]>
  /** All that was printed, with its escapes. */
  raw = ""

  constructor(
    words: readonly string[],
    { columns = 80, rows = 24, env = {} }: TerminalOptions = {},
  ) {
    const command = words.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(" ")
    const script = `stty cols ${columns} rows ${rows}; exec ${command}`
    const { NO_COLOR: _, ...rest } = process.env
    this.#process = spawn("script", ["-qefc", script, "/dev/null"], {
      env: { ...rest, TERM: "xterm-256color", SHELL: "/bin/sh", ...env },
    })
    this.#ended = once(this.#process, "close")
    this.#process.stdout?.setEncoding("utf8").on("data", (text) => {
      this.raw += text
    })
    this.#process.stdin?.on("error", () => {}) // it has ended
  }

  /** As from the keyboard: "\r" is Enter, "\x03" Ctrl-C. */
  type(text: string): void {
    this.#process.stdin?.write(text)
  }

  async shows(text: string | RegExp): Promise<void> {
    const isThere = () => (typeof text === "string" ? this.raw.includes(text) : text.test(this.raw))
    await until(`it shows ${text}`, isThere, {
      context: () => JSON.stringify(this.raw.slice(-3000)),
    })
  }

  get hasEnded(): boolean {
    return this.#process.exitCode !== null
  }

  /** The exit code, when it has ended by itself. */
  async code(): Promise<number | null> {
    const [code] = (await this.#ended) as [number | null]
    return code
  }

  /** What is on the screen: lines without what was drawn over. */
  get lines(): string[] {
    return screenOf(this.raw)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#process.exitCode === null) this.#process.kill("SIGKILL")
    await this.#ended
  }
}

const ESC = "\u001b"
const PART = new RegExp([`${ESC}\\[([?\\d;]*)([A-Za-z])`, `${ESC}.`, `[^${ESC}]`].join("|"), "gsu")

/** As much of a terminal as litefs uses: the cursor to the beginning of the line, up, home; clear; colours. */
export function screenOf(raw: string): string[] {
  const lines: string[][] = [[]]
  let [row, column] = [0, 0]
  for (const [part, csi, final] of raw.matchAll(PART)) {
    const line = () => {
      while (lines.length <= row) lines.push([])
      return lines[row] as string[]
    }
    const count = Number(csi || 1)
    if (part === "\r") column = 0
    else if (part === "\n") row += 1
    else if (part === "\b") column = Math.max(0, column - 1)
    else if (final === "K") line().splice(column)
    else if (final === "A") row = Math.max(0, row - count)
    else if (final === "B") row += count
    else if (final === "C") column += count
    else if (final === "D") column = Math.max(0, column - count)
    else if (final === "G") column = count - 1
    else if (final === "H") [row, column] = [0, 0]
    else if (final === "J") {
      line().splice(csi === "2" ? 0 : column)
      lines.splice(csi === "2" ? 0 : row + 1)
    } else if (!part.startsWith("\x1b") && part >= " ") {
      const here = line()
      while (here.length < column) here.push(" ")
      here[column] = part
      column += 1
    }
  }
  return lines.map((line) => line.join("").trimEnd())
}
