/**
 * `litefs sql` at a terminal: statements over as many lines as they need, a history, dot commands.
 *
 * While a statement runs, the keyboard is not read: Ctrl-C then ends the program, as it does any other, and SQLite undoes
 * what was not committed. At the prompt it clears what was typed.
 */
import { appendFileSync, readFileSync, writeFileSync } from "node:fs"
import { homedir } from "node:os"
import { basename, join } from "node:path"
import { createInterface, type Interface } from "node:readline"
import { messageOf } from "../../lib/errors.ts"
import { isWholeSql, splitStatements } from "../../sqlite/statements.ts"
import type { SqlConnection } from "../../sys/bun/sqlite.ts"
import type { CliIo, Keyboard } from "../terminal/io.ts"
import { nearest } from "../terminal/nearest.ts"
import { type Paint, paintOf } from "../terminal/screen.ts"
import { onOneLine } from "../terminal/table.ts"
import { runStatement, type SqlFormat } from "./sql-output.ts"

const HISTORY_FILE = ".litefs_sql_history"
const HISTORY_SIZE = 1000
/** Names that Tab offers. */
const NAMES_MAX = 1000

const FORMATS: readonly SqlFormat[] = ["table", "json", "raw"]

const TABLES = `SELECT name, type FROM sqlite_schema
WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'`

interface DotCommand {
  readonly usage: string
  readonly about: string
  /** False: that was all. */
  run(word: string | undefined): Promise<boolean> | boolean
}

export interface SqlPromptOptions {
  readonly connection: SqlConnection
  readonly path: string
  readonly format: SqlFormat
  readonly io: CliIo
  readonly keyboard: Keyboard
  /** What to say of an error of SQLite's; throws any other. */
  explain(error: unknown): string
}

export class SqlPrompt {
  readonly #options: SqlPromptOptions
  readonly #paint: Paint
  readonly #historyPath: string | undefined
  readonly #name: string
  #format: SqlFormat
  #typed = "" // lines of a statement that is not whole

  constructor(options: SqlPromptOptions) {
    this.#options = options
    this.#format = options.format
    this.#paint = paintOf(options.io.screen(1))
    this.#name = onOneLine(basename(options.path))
    this.#historyPath = historyPath()
  }

  readonly #commands: Readonly<Record<string, DotCommand>> = {
    ".help": { usage: ".help", about: "this", run: () => this.#help() },
    ".tables": {
      usage: ".tables [PART]",
      about: "tables and views, those with PART in their names",
      run: (part = "") =>
        this.#query(`${TABLES} AND name LIKE ${quoted(`%${part}%`)} ORDER BY name`),
    },
    ".schema": {
      usage: ".schema [NAME]",
      about: "the statements that make a table, or all",
      run: (name) => {
        const which = name === undefined ? "" : ` AND tbl_name = ${quoted(name)} COLLATE NOCASE`
        return this.#schema(`SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL${which}`)
      },
    },
    ".mode": {
      usage: `.mode ${FORMATS.join("|")}`,
      about: "how rows are printed",
      run: (word) => this.#setMode(word),
    },
    ".quit": { usage: ".quit", about: "end; Ctrl-D, too", run: () => false },
  }

  async run(): Promise<number> {
    const { io, keyboard, connection } = this.#options
    const lines = createInterface({
      ...{ input: keyboard.input, output: keyboard.output, terminal: true },
      ...{ history: this.#history(), historySize: HISTORY_SIZE, removeHistoryDuplicates: true },
      completer: (line: string) => this.#complete(line),
    })
    lines.on("SIGINT", () => this.#interrupt(lines))
    const given = new LineQueue(lines)
    io.stdout(
      `${onOneLine(this.#options.path)}: SQL ends with ";", .help shows what else there is\n`,
    )
    try {
      for (;;) {
        const line = await this.#read(lines, given)
        if (line === undefined) {
          io.stdout("\n")
          break
        }
        if (!(await this.#take(line))) break
      }
    } finally {
      lines.close()
      keyboard.input.setRawMode?.(false)
    }
    if (connection.isInTransaction) io.stderr("The open transaction is rolled back\n")
    return 0
  }

  /** Undefined at the end of the input. Several lines may come at once: pasted ones. */
  async #read(lines: Interface, given: LineQueue): Promise<string | undefined> {
    lines.setPrompt(this.#promptText)
    if (given.isEmpty) lines.prompt()
    return await given.next()
  }

  get #promptText(): string {
    const state = this.#options.connection.isInTransaction ? "*" : ""
    const text = `${this.#name}${state}> `
    return this.#typed === "" ? text : `${"...> ".padStart(text.length)}`
  }

  #interrupt(lines: Interface): void {
    const { io } = this.#options
    const isEmpty = lines.line === "" && this.#typed === ""
    this.#typed = ""
    io.stdout(isEmpty ? "\r\nCtrl-D or .quit ends\r\n" : "^C\r\n")
    lines.write(null, { ctrl: true, name: "e" }) // to its end, from where "u" removes all of it
    lines.write(null, { ctrl: true, name: "u" })
    lines.setPrompt(this.#promptText)
    lines.prompt()
  }

  async #take(line: string): Promise<boolean> {
    if (this.#typed === "" && line.trim() === "") return true
    this.#remember(line)
    try {
      if (this.#typed === "" && line.trimStart().startsWith("."))
        return await this.#dot(line.trim())
      this.#typed += this.#typed === "" ? line : `\n${line}`
      if (!isWholeSql(this.#typed)) return true
      const text = this.#typed
      this.#typed = ""
      for (const { text: statement } of splitStatements(text)) await this.#query(statement)
    } catch (error) {
      this.#say(this.#options.explain(error))
    }
    return true
  }

  #say(problem: string): void {
    this.#options.io.stderr(`${this.#paint("red", "ERROR")}: ${onOneLine(problem)}\n`)
  }

  async #query(statement: string): Promise<boolean> {
    const { connection, io, keyboard } = this.#options
    keyboard.input.setRawMode?.(false)
    try {
      await runStatement(connection, statement, this.#format, io)
    } finally {
      keyboard.input.setRawMode?.(true)
    }
    return true
  }

  #dot(line: string): Promise<boolean> | boolean {
    const [name = "", word, stray] = line.replace(/;$/, "").split(/\s+/)
    const command = this.#commands[name === ".exit" ? ".quit" : name]
    if (command !== undefined && stray === undefined) return command.run(word)
    const guess = nearest(name, Object.keys(this.#commands))
    const advice = guess === undefined ? "see .help" : `did you mean ${guess}?`
    this.#say(command === undefined ? `there is no ${name}, ${advice}` : `write ${command.usage}`)
    return true
  }

  #help(): boolean {
    const rows = Object.values(this.#commands).map(({ usage, about }) => [usage, about] as const)
    const width = Math.max(...rows.map(([usage]) => usage.length))
    const { io } = this.#options
    for (const [usage, about] of rows) io.stdout(`${usage.padEnd(width)}  ${about}\n`)
    return true
  }

  #schema(statement: string): boolean {
    const { connection, io } = this.#options
    for (const [sql] of connection.run(statement).rows) {
      io.stdout(`${String(sql).split("\n").map(onOneLine).join("\n")};\n`)
    }
    return true
  }

  #setMode(word: string | undefined): boolean {
    const format = FORMATS.find((each) => each === word)
    if (format === undefined)
      this.#say(`the mode is ${this.#format}, it should be ${FORMATS.join(", ")}`)
    else this.#format = format
    return true
  }

  #complete(line: string): [string[], string] {
    const word = /[.\w]*$/.exec(line)?.[0] ?? ""
    if (word === "") return [[], word]
    const names = word.startsWith(".") ? Object.keys(this.#commands) : this.#names()
    const matching = names.filter((name) => name.toLowerCase().startsWith(word.toLowerCase()))
    return [matching, word]
  }

  #names(): string[] {
    try {
      const { rows } = this.#options.connection.run(`${TABLES} LIMIT ${NAMES_MAX}`)
      return [...rows].map(([name]) => String(name)).filter((name) => name === onOneLine(name))
    } catch {
      return [] // somebody has it locked
    }
  }

  /** The newest first, as readline wants it. */
  #history(): string[] {
    if (this.#historyPath === undefined) return []
    try {
      const lines = readFileSync(this.#historyPath, "utf8").trimEnd().split("\n")
      const kept = lines.slice(-HISTORY_SIZE)
      if (lines.length > 2 * HISTORY_SIZE) writeFileSync(this.#historyPath, `${kept.join("\n")}\n`)
      return kept.reverse()
    } catch (error) {
      const isNew = (error as NodeJS.ErrnoException).code === "ENOENT"
      if (!isNew) this.#say(`the history cannot be read: ${messageOf(error)}`)
      return []
    }
  }

  /** Readable by its user alone: there may be secrets in it. A line that begins with a blank is not kept. */
  #remember(line: string): void {
    if (this.#historyPath === undefined || /^\s/.test(line)) return
    try {
      appendFileSync(this.#historyPath, `${line}\n`, { mode: 0o600 })
    } catch {
      // It is a convenience: a home that cannot be written to is no reason to complain at each line.
    }
  }
}

/** Lines as they come, until they are asked for. */
class LineQueue {
  readonly #lines: string[] = []
  #isEnded = false
  #wake = () => {}

  constructor(lines: Interface) {
    lines.on("line", (line) => {
      this.#lines.push(line)
      this.#wake()
    })
    lines.once("close", () => {
      this.#isEnded = true
      this.#wake()
    })
  }

  get isEmpty(): boolean {
    return this.#lines.length === 0
  }

  /** Undefined at the end. */
  async next(): Promise<string | undefined> {
    if (this.isEmpty && !this.#isEnded) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
    return this.#lines.shift()
  }
}

function historyPath(): string | undefined {
  try {
    const home = homedir()
    return home === "" ? undefined : join(home, HISTORY_FILE)
  } catch {
    return undefined
  }
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "''")}'`
}
