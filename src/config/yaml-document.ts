/** A configuration file as a tree of values that know their lines. */
import { LitefsError, messageOf } from "../lib/errors.ts"
import { parseYaml } from "../sys/bun/yaml.ts"
import { keyLines } from "./key-lines.ts"

export type Mapping = Readonly<Record<string, unknown>>

export interface Setting {
  readonly text: string
  /** Its name in messages. */
  readonly spelling: string
}

export class YamlDocument {
  readonly path: string
  readonly root: unknown
  readonly #command: string
  readonly #lines = new Map<string, number>()

  /** The text has its variables already replaced. */
  constructor(path: string, text: string, command = "mount") {
    this.path = path
    this.#command = command
    this.root = this.#parse(text)
    for (const { path: key, line } of keyLines(text)) {
      const first = this.#lines.get(key)
      if (first !== undefined)
        throw this.problem(key, `is given twice, also in line ${first}`, line)
      this.#lines.set(key, line)
    }
  }

  /** `lease.hostname (/etc/litefs.yml:4)`. */
  spelling(key: string, line = this.#lineOf(key)): string {
    return `${key} (${this.path}${line === undefined ? "" : `:${line}`})`
  }

  problem(key: string, what: string, line?: number): LitefsError {
    return this.#error(`${this.spelling(key, line ?? this.#lineOf(key))} ${what}`)
  }

  /** An error about the file as a whole. */
  fault(what: string): LitefsError {
    return this.#error(`${this.path} ${what}`)
  }

  #error(what: string, cause?: unknown): LitefsError {
    return new LitefsError("usage", `Cannot run litefs ${this.#command}: ${what}`, { cause })
  }

  /** A value from an alias has no line of its own. */
  #lineOf(key: string): number | undefined {
    for (let path = key; path !== ""; path = path.slice(0, Math.max(0, path.lastIndexOf(".")))) {
      const line = this.#lines.get(path)
      if (line !== undefined) return line
    }
    return undefined
  }

  #parse(text: string): unknown {
    try {
      return parseYaml(text)
    } catch (error) {
      const isDeep = error instanceof RangeError // of the stack
      const what = isDeep
        ? "it is nested too deeply"
        : messageOf(error).replace(/^YAML Parse error: /, "")
      const line = badLine(text)
      const place = line === undefined ? this.path : `${this.path}:${line}`
      throw this.#error(`${place} is not YAML: ${what}`, error)
    }
  }
}

/** A number loses its spelling in YAML, unless it is a plain integer. */
export function textOf(value: unknown): string | undefined {
  if (typeof value === "string") return value
  return typeof value === "boolean" || Number.isSafeInteger(value) ? String(value) : undefined
}

const SHOWN_SIZE_MAX = 200

/** A value in a message: a line of its first letters. One that contains itself, by an alias, has no end. */
export function shown(value: unknown): string {
  try {
    return shortened(JSON.stringify(value) ?? String(value))
  } catch {
    return "a value that contains itself"
  }
}

/** A text in a message. */
export function shortened(text: string): string {
  return text.length > SHOWN_SIZE_MAX ? `${text.slice(0, SHOWN_SIZE_MAX)}…` : text
}

const TRIES = 200
const SEARCHED_SIZE_MAX = 64 * 1024

/**
 * The line after the longest readable beginning: the parser does not tell where it has stopped. Every beginning is read
 * anew, so in a long text only some are tried first, and then those after the longest of them.
 */
function badLine(text: string): number | undefined {
  if (text.length > SEARCHED_SIZE_MAX) return undefined
  const lines = text.split("\n")
  const step = Math.ceil(lines.length / TRIES)
  const longest = (from: number, to: number, by: number) => {
    for (let count = from; count > to; count -= by) if (canRead(lines.slice(0, count))) return count
    return to
  }
  const found = longest(lines.length - 1, 0, step)
  return (step === 1 ? found : longest(Math.min(found + step, lines.length) - 1, found, 1)) + 1
}

function canRead(lines: readonly string[]): boolean {
  try {
    parseYaml(lines.join("\n"))
    return true
  } catch {
    return false
  }
}
