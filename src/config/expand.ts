/**
 * Variables in a configuration file, by the original's rules. They are replaced in the text, before it is YAML, in
 * comments too:
 *
 *   $NAME  ${NAME}          the variable; nothing when it is not set
 *   ${NAME == 'text'}       true or false; != as well
 *   ${NAME == OTHER}        the same, of two variables
 *   $$ $1 $* …              nothing: for the original these are variables that are never set
 *
 * There is no way to write a `$` that stays before a name, but --no-expand-env. A `${` that is none of these is an
 * error: the original takes it for a variable that is not set, and what was meant is lost.
 *
 * A variable that the text refers to belongs to whoever wrote it, whatever its name.
 */
const VARIABLE = /\$(?:\{(?<inner>[^}]*)(?<end>\}?)|(?<name>[A-Za-z_]\w*)|[\d*#$@!?-])/g

const COMPARISON =
  /^(?<left>\w+)\s*(?<operator>[=!]=)\s*(?:'(?<single>[^']*)'|"(?<double>[^"]*)"|(?<right>\w+))$/

type Variables = Readonly<Record<string, string | undefined>>

export interface Expanded {
  readonly text: string
  /** The variables that it refers to, but for those of comments. */
  readonly names: ReadonlySet<string>
}

/** Throws a SyntaxError that says what is wrong and where. */
export function expandVariables(text: string, env: Variables): Expanded {
  const names = new Set<string>()
  const expanded = text.replace(VARIABLE, (whole: string, ...rest) => {
    const groups = rest.at(-1) as Record<string, string | undefined>
    const offset = rest.at(-3) as number
    const found = isInComment(text, offset) ? new Set<string>() : names
    if (groups.inner === undefined) return variable(groups.name, env, found)
    const expanded = groups.end === "" ? undefined : expression(groups.inner.trim(), env, found)
    if (expanded !== undefined) return expanded
    const line = text.slice(0, offset).split("\n").length
    const [first] = whole.split("\n")
    throw new SyntaxError(
      `line ${line}: "${first}" should be \${NAME}, \${NAME == 'text'} or \${NAME != OTHER}`,
    )
  })
  return { text: expanded, names }
}

/** Whether a comment has begun before the offset, in its line. */
function isInComment(text: string, offset: number): boolean {
  const before = text.slice(text.lastIndexOf("\n", offset - 1) + 1, offset)
  // A quote that is still open goes on to the end.
  return /(^|\s)#/.test(before.replace(/"[^"]*("|$)|'[^']*('|$)/g, ""))
}

/** Undefined when it is no expression. */
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
