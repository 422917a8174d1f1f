/**
 * Where the keys of a YAML text stand, for messages: the parser tells no lines.
 *
 *   lease:                      lease            1
 *     type: static              lease.type       2
 *   exec:                       exec             3
 *     - cmd: "a"                exec.0.cmd       4
 *     - { cmd: b }              exec.1.cmd       5
 *
 * It reads what the parser has accepted and judges nothing: it follows the columns, and skips text that may look like a
 * key but is none, which is in block scalars, quoted texts and comments.
 */
import { parseYaml } from "../sys/bun/yaml.ts"

export interface KeyLine {
  /** The keys that lead to it, and the indices in lists, joined by dots. */
  readonly path: string
  /** From 1. */
  readonly line: number
}

/** A mapping or a list in block style. */
interface Block {
  readonly kind: "mapping" | "list"
  /** The column of its entries. */
  readonly column: number
  /** The beginning of its entries' paths. */
  readonly prefix: string
  /** The number of entries so far. */
  count: number
  /** The path of the last entry. */
  last: string
}

/** A mapping or a list in braces or brackets. */
interface Flow {
  readonly closing: "}" | "]"
  readonly prefix: string
  count: number
  last: string
}

const KEY =
  /^(?:"(?<double>(?:[^"\\]|\\.)*)"|'(?<single>(?:[^']|'')*)'|(?<plain>[^\s"'#{}[\],&*!|>%@`](?:[^#:]|:(?=\S)|(?<=\S)#)*?))\s*:(?=\s|$)/

/** As in JSON, a value may follow on a quoted key without a space. */
const FLOW_KEY =
  /^(?:(?:"(?<double>(?:[^"\\]|\\.)*)"|'(?<single>(?:[^']|'')*)')\s*:|(?<plain>[^\s"'#{}[\],:][^#{}[\],:]*?)\s*:(?=[\s,}]|$))/

/** Before a key: the mark of one, anchors and tags. */
const BEFORE_KEY = /^(?:\?\s+)?(?:[&!]\S*\s+)*/
const BEFORE_FLOW_KEY = /^(?:\?\s+)?(?:[&!][^\s,{}[\]]*\s+)*/

export function keyLines(text: string): KeyLine[] {
  return new Scanner(text).scan()
}

class Scanner {
  readonly #lines: readonly string[]
  readonly #found: KeyLine[] = []
  readonly #blocks: Block[] = []
  #row = 0

  constructor(text: string) {
    this.#lines = text.split(/\r?\n/)
  }

  scan(): KeyLine[] {
    for (; this.#row < this.#lines.length; this.#row++) {
      const line = this.#line()
      if (!/^\s*(#|$)|^(---|\.\.\.|%)/.test(line)) this.#entry(columnOf(line))
    }
    return this.#found
  }

  #line(): string {
    return this.#lines[this.#row] ?? ""
  }

  /** Reads an entry of a list, of a mapping, or neither. */
  #entry(column: number): void {
    const rest = this.#line().slice(column)
    const dash = /^-(?:\s+|$)/.exec(rest)
    if (dash !== null) {
      const list = this.#block("list", column)
      list.last = list.prefix + list.count
      list.count += 1
      this.#value(column + dash[0].length, column, list.last)
      return
    }
    const colon = /^:(?:\s+|$)/.exec(rest)?.[0].length
    if (colon !== undefined) return this.#markedValue(column, column + colon)
    if (/^[{[]/.test(rest)) return this.#flow(column, this.#blocks.at(-1)?.last ?? "")
    const before = BEFORE_KEY.exec(rest)?.[0] ?? ""
    const after = rest.slice(before.length)
    const key = KEY.exec(after)
    // `? key`, whose value begins with a colon in one of the next lines.
    const marked = before.startsWith("?") ? KEY.exec(`${after.replace(/\s+#.*$/, "")}:`) : null
    const found = key ?? marked
    if (found === null) return
    const mapping = this.#block("mapping", column)
    mapping.last = mapping.prefix + nameOf(found)
    this.#found.push({ path: mapping.last, line: this.#row + 1 })
    if (key !== null) this.#value(column + before.length + key[0].length, column, mapping.last)
  }

  /** Reads what follows a colon that begins a line, below a key that is marked as such. */
  #markedValue(column: number, start: number): void {
    const { last } = this.#block("mapping", column)
    if (/^[{["'|>&!]/.test(this.#line().slice(start))) this.#value(start, column, last)
    else this.#entry(start)
  }

  /** The block with entries at the column, after those further in have ended. */
  #block(kind: Block["kind"], column: number): Block {
    for (;;) {
      const top = this.#blocks.at(-1)
      if (top !== undefined && top.column === column && top.kind === kind) return top
      // A list may stand below its key, at the key's column.
      const hasEnded =
        top && (top.column > column || (top.column === column && top.kind === "list"))
      if (!hasEnded) {
        const prefix = top === undefined ? "" : `${top.last}.`
        const block = { kind, column, prefix, count: 0, last: "" }
        this.#blocks.push(block)
        return block
      }
      this.#blocks.pop()
    }
  }

  /** Reads what follows a dash or a key at `column`. */
  #value(from: number, column: number, path: string): void {
    const start = from + (/^\s*(?:[&!]\S*\s+)*/.exec(this.#line().slice(from))?.[0].length ?? 0)
    const rest = this.#line().slice(start)
    if (/^[|>]/.test(rest)) this.#skipBlockScalar(column)
    else if (/^[{[]/.test(rest)) this.#flow(start, path)
    else if (/^["']/.test(rest) && !KEY.test(rest)) this.#skipQuoted(start)
    // `- cmd: x` and `- - x`: a block that begins in the line of its list.
    else if (/^-(\s|$)/.test(this.#line().slice(column))) this.#entry(start)
  }

  #skipBlockScalar(column: number): void {
    for (;;) {
      const next = this.#lines[this.#row + 1]
      if (next === undefined || (next.trim() !== "" && columnOf(next) <= column)) return
      this.#row += 1
    }
  }

  /** Stops in the row of the closing quote, and returns the column after it. */
  #skipQuoted(start: number): number {
    const quote = this.#line()[start]
    for (let column = start + 1; ; column++) {
      const letter = this.#line()[column]
      if (letter === undefined) {
        if (this.#row + 1 >= this.#lines.length) return column
        this.#row += 1
        column = -1
      } else if (letter === "\\" && quote === '"') column += 1
      else if (letter === quote) {
        if (quote === '"' || this.#line()[column + 1] !== "'") return column + 1
        column += 1
      }
    }
  }

  #flow(start: number, path: string): void {
    const stack: Flow[] = []
    let isStart = false // of an entry
    for (let column = start; this.#row < this.#lines.length; ) {
      const rest = this.#line().slice(column)
      const top = stack.at(-1)
      const [letter] = rest
      const isKey = top?.closing === "}" && isStart
      const before = isKey ? (BEFORE_FLOW_KEY.exec(rest)?.[0].length ?? 0) : 0
      const key = isKey ? FLOW_KEY.exec(rest.slice(before)) : null
      const isComment = letter === "#" && !/\S/.test(this.#line()[column - 1] ?? " ")
      if (letter === undefined || isComment) {
        this.#row += 1
        column = 0
      } else if (/\s/.test(letter)) column += 1
      else if (key !== null && top !== undefined) {
        top.last = top.prefix + nameOf(key)
        this.#found.push({ path: top.last, line: this.#row + 1 })
        isStart = false
        column += before + key[0].length
      } else if (letter === "{" || letter === "[") {
        if (top?.closing === "]") top.last = top.prefix + top.count
        const outer = top?.last ?? path
        const prefix = outer === "" ? "" : `${outer}.`
        stack.push({ closing: letter === "{" ? "}" : "]", prefix, count: 0, last: "" })
        isStart = true
        column += 1
      } else if (letter === top?.closing) {
        stack.pop()
        if (stack.length === 0) return
        isStart = false
        column += 1
      } else if (letter === ",") {
        if (top !== undefined) top.count += 1
        isStart = true
        column += 1
      } else if (letter === '"' || letter === "'") {
        isStart = false
        column = this.#skipQuoted(column)
      } else {
        isStart = false
        column += 1
      }
    }
  }
}

function columnOf(line: string): number {
  return line.length - line.trimStart().length
}

function nameOf(key: RegExpExecArray): string {
  const { double, single, plain } = key.groups ?? {}
  if (double?.includes("\\")) return String(parseYaml(`"${double}"`))
  return double ?? single?.replaceAll("''", "'") ?? plain ?? ""
}
