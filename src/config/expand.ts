/**
 * Variables in a configuration file, by the original's rules. They are replaced in the text, including comments, before
 * it is YAML:
 *
 *   $NAME  ${NAME}          the variable; nothing when it is not set
 *   ${NAME == 'text'}       true or false; != as well
 *   ${NAME == OTHER}        the same, of two variables
 *   $$ $1 $* …              nothing: for the original these are variables that are never set
 *
 * Only --no-expand-env keeps a `$` before a name. Any other `${` is an error: the original takes it for a variable that
 * is not set, and loses what was meant.
 *
 * A variable that the text refers to belongs to the author of the text, whatever its name.
 */
import { shortened } from "./yaml-document.ts"

const VARIABLE = /\$(?:\{(?<inner>[^}]*)(?<end>\}?)|(?<name>[A-Za-z_]\w*)|[\d*#$@!?-])/g

const COMPARISON =
  /^(?<left>\w+)\s*(?<operator>[=!]=)\s*(?:'(?<single>[^']*)'|"(?<double>[^"]*)"|(?<right>\w+))$/

type Variables = Readonly<Record<string, string | undefined>>

export interface Expanded {
  readonly text: string
  /** The variables that the text refers to, except those of comments. */
  readonly names: ReadonlySet<string>
  /** Those of them that are not set, and whose value is missing; what a comparison refers to may well not be set. */
  readonly unset: ReadonlySet<string>
}

/** Throws a SyntaxError that says what is wrong and where. */
export function expandVariables(text: string, env: Variables): Expanded {
  const names = new Set<string>()
  const values = new Set<string>() // not in comparisons
  const comments = new Comments(text)
  const expanded = text.replace(VARIABLE, (whole: string, ...rest) => {
    const groups = rest.at(-1) as Record<string, string | undefined>
    const offset = rest.at(-3) as number
    const found = comments.include(offset) ? new Set<string>() : names
    const single = /^\w+$/.exec(groups.inner?.trim() ?? groups.name ?? "")?.[0]
    if (found === names && groups.end !== "" && single !== undefined) values.add(single)
    if (groups.inner === undefined) return variable(groups.name, env, found)
    const expanded = groups.end === "" ? undefined : expression(groups.inner.trim(), env, found)
    if (expanded !== undefined) return expanded
    const line = text.slice(0, offset).split("\n").length
    const [first] = whole.split("\n")
    throw new SyntaxError(
      `line ${line}: "${shortened(first ?? "")}" should be \${NAME}, \${NAME == 'text'} or \${NAME != OTHER}`,
    )
  })
  return {
    text: expanded,
    names,
    unset: new Set([...values].filter((name) => env[name] === undefined)),
  }
}

/** Where comments are. It is asked with ascending offsets, and reads each letter once. */
class Comments {
  readonly #text: string
  #at = 0
  #quote = "" // that is open; it ends with its line
  #isComment = false

  constructor(text: string) {
    this.#text = text
  }

  /** Whether a comment has begun before the offset, in the same line. */
  include(offset: number): boolean {
    for (; this.#at < offset; this.#at++) {
      const letter = this.#text[this.#at] as string
      if (letter === "\n") {
        this.#quote = ""
        this.#isComment = false
      } else if (this.#quote !== "") {
        if (letter === this.#quote) this.#quote = ""
      } else if (letter === "'" || letter === '"') {
        if (!this.#isComment) this.#quote = letter
      } else if (letter === "#" && /^\s?$/.test(this.#text[this.#at - 1] ?? "")) {
        this.#isComment = true
      }
    }
    return this.#isComment
  }
}

/** Undefined when it is not an expression. */
function expression(inner: string, env: Variables, found: Set<string>): string | undefined {
  if (/^\w+$/.test(inner)) return variable(inner, env, found)
  const groups = COMPARISON.exec(inner)?.groups
  if (groups === undefined) return undefined
  const { left, operator, single, double, right } = groups
  const other = single ?? double ?? variable(right, env, found)
  return String((variable(left, env, found) === other) === (operator === "=="))
}

function variable(name: string | undefined, env: Variables, found: Set<string>): string {
  if (name === undefined) return ""
  found.add(name)
  return env[name] ?? ""
}
