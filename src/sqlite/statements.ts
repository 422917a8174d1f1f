/**
 * Splits SQL text into statements at the semicolons that end one, not at those in quotes, in comments, or in the body
 * of a trigger. It follows SQLite's own rules (complete.c, sqlite3_complete):
 *
 *            CREATE           TRIGGER            ;             END            ;
 *   start ───────────▶ create ───────▶ trigger ─────▶ semicolon ───▶ end ─────────▶ start
 *     │ other            │ ▲ TEMP       ▲  ▲ other        │           │ other
 *     ▼                  ▼              │  └──────────────┘           │
 *   normal ── ; ──▶ start               └─────────────────────────────┘
 *
 * EXPLAIN (QUERY PLAN) may stand before CREATE.
 */
export interface SqlStatement {
  /** With its semicolon, without leading blanks and comments. */
  readonly text: string
  /** Line of its beginning, from 1. */
  readonly line: number
}

type State = "start" | "normal" | "explain" | "create" | "trigger" | "semicolon" | "end"
type Token = "semicolon" | "other" | "explain" | "create" | "temp" | "trigger" | "end"

const NEXT: Readonly<Record<State, Partial<Record<Token, State>> & { readonly other: State }>> = {
  start: { semicolon: "start", explain: "explain", create: "create", other: "normal" },
  normal: { semicolon: "start", other: "normal" },
  explain: { semicolon: "start", create: "create", other: "explain" },
  create: { semicolon: "start", temp: "create", trigger: "trigger", other: "normal" },
  trigger: { semicolon: "semicolon", other: "trigger" },
  semicolon: { semicolon: "semicolon", end: "end", other: "trigger" },
  end: { semicolon: "start", other: "trigger" },
}

/** Blanks and comments, then text that holds no semicolon that counts, then words, then any other letter. */
const TOKEN =
  /(?<blank>\s+|--[^\n]*|\/\*.*?(?:\*\/|$))|'[^']*(?:'|$)|"[^"]*(?:"|$)|`[^`]*(?:`|$)|\[[^\]]*(?:\]|$)|(?<word>[\w$\u0080-\uffff]+)|./gs

const WORDS: Readonly<Record<string, Token>> = {
  explain: "explain",
  create: "create",
  temp: "temp",
  temporary: "temp",
  trigger: "trigger",
  end: "end",
}

export function splitStatements(sql: string): readonly SqlStatement[] {
  return scan(sql).statements
}

/** Whether nothing is missing at its end: neither a semicolon, nor a quote, nor the END of a trigger. */
export function isWholeSql(sql: string): boolean {
  return scan(sql).isWhole
}

function scan(sql: string): { statements: SqlStatement[]; isWhole: boolean } {
  const statements: SqlStatement[] = []
  let state: State = "start"
  let begin: number | undefined
  let line = 1
  let counted = 0
  const add = (end: number) => {
    if (begin === undefined) return
    line += countLines(sql, counted, begin)
    counted = begin
    statements.push({ text: sql.slice(begin, end), line })
    begin = undefined
  }
  for (const { 0: text, index, groups } of sql.matchAll(TOKEN)) {
    if (groups?.blank !== undefined) continue
    const token = tokenOf(text, groups?.word)
    if (begin === undefined && token !== "semicolon") begin = index
    state = NEXT[state][token] ?? NEXT[state].other
    if (token === "semicolon" && state === "start") add(index + 1)
  }
  const isWhole = begin === undefined
  add(sql.length)
  return { statements, isWhole }
}

function tokenOf(text: string, word: string | undefined): Token {
  if (text === ";") return "semicolon"
  const known = word?.toLowerCase() ?? ""
  return Object.hasOwn(WORDS, known) ? (WORDS[known] as Token) : "other"
}

function countLines(text: string, from: number, to: number): number {
  let count = 0
  for (let at = text.indexOf("\n", from); at >= 0 && at < to; at = text.indexOf("\n", at + 1))
    count++
  return count
}
