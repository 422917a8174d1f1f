/**
 * The databases that a replica wants: names in which a `*` stands for any characters, separated by commas.
 *
 *     app.db,log-*.db
 *
 * In an HTTP header each name is percent-encoded.
 */
import { LitefsError } from "../lib/errors.ts"
import { databaseNameProblem } from "./database-name.ts"

const PATTERN_COUNT_MAX = 100

export class DatabaseFilter {
  /** Wants every database. */
  static readonly all = new DatabaseFilter(["*"])

  readonly patterns: readonly string[]

  private constructor(patterns: readonly string[]) {
    this.patterns = patterns
  }

  /** Throws when a pattern can match no name of a database. */
  static of(patterns: readonly string[]): DatabaseFilter {
    if (patterns.length === 0 || patterns.length > PATTERN_COUNT_MAX) {
      const is = `there are ${patterns.length} names`
      throw problem(`${is}, 1 to ${PATTERN_COUNT_MAX} are allowed`)
    }
    for (const pattern of patterns) {
      // The pattern matches a name if it is one with an x for each star.
      const what = databaseNameProblem(pattern.replaceAll("*", "x"))
      if (what !== undefined) throw problem(`${JSON.stringify(pattern.slice(0, 80))}: ${what}`)
    }
    return new DatabaseFilter(patterns)
  }

  static parse(text: string): DatabaseFilter {
    return DatabaseFilter.of(text.split(",").map((name) => name.trim()))
  }

  static decode(header: string): DatabaseFilter {
    return DatabaseFilter.of(
      header.split(",").map((text) => {
        try {
          return decodeURIComponent(text.trim())
        } catch {
          throw problem(`${JSON.stringify(text.slice(0, 80))} is not percent-encoded`)
        }
      }),
    )
  }

  encode(): string {
    return this.patterns.map(encodeURIComponent).join(",")
  }

  get isAll(): boolean {
    return this.patterns.includes("*")
  }

  /** The names, when none has a star: LiteFS's `?filter=` can express these. */
  get names(): readonly string[] | undefined {
    return this.patterns.some((pattern) => pattern.includes("*")) ? undefined : this.patterns
  }

  matches(name: string): boolean {
    return this.patterns.some((pattern) => matchesPattern(pattern, name))
  }
}

/** In time proportional to both sizes, whatever the pattern: it may come from somebody else. */
function matchesPattern(pattern: string, name: string): boolean {
  let [at, p] = [0, 0]
  let star = -1 // the last star, and the position from which it takes characters
  let mark = 0
  while (at < name.length) {
    if (pattern[p] === "*") {
      star = p++
      mark = at
    } else if (pattern[p] === name[at]) {
      p += 1
      at += 1
    } else if (star >= 0) {
      p = star + 1
      at = ++mark
    } else {
      return false
    }
  }
  while (pattern[p] === "*") p += 1
  return p === pattern.length
}

function problem(what: string): LitefsError {
  return new LitefsError("name-invalid", `Cannot select databases: ${what}`)
}
