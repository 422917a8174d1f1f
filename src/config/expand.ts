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
 */
const VARIABLE = /\$(?:\{(?<inner>[^}]*)(?<end>\}?)|(?<name>[A-Za-z_]\w*)|[\d*#$@!?-])/g

const COMPARISON =
  /^(?<left>\w+)\s*(?<operator>[=!]=)\s*(?:'(?<single>[^']*)'|"(?<double>[^"]*)"|(?<right>\w+))$/

/** Throws a SyntaxError that says what is wrong and where. */
export function expandVariables(
  text: string,
  env: Readonly<Record<string, string | undefined>>,
): string {
  return text.replace(VARIABLE, (whole: string, ...rest) => {
    const groups = rest.at(-1) as Record<string, string | undefined>
    const offset = rest.at(-3) as number
    if (groups.inner === undefined) return variable(groups.name, env)
    const expanded = groups.end === "" ? undefined : expression(groups.inner.trim(), env)
    if (expanded !== undefined) return expanded
    const line = text.slice(0, offset).split("\n").length
    const [first] = whole.split("\n")
    throw new SyntaxError(
      `line ${line}: "${first}" should be \${NAME}, \${NAME == 'text'} or \${NAME != OTHER}`,
    )
  })
}

/** Undefined when it is no expression. */
function expression(
  inner: string,
  env: Readonly<Record<string, string | undefined>>,
): string | undefined {
  if (/^\w+$/.test(inner)) return variable(inner, env)
  const groups = COMPARISON.exec(inner)?.groups
  if (groups === undefined) return undefined
  const { left, operator, single, double, right } = groups
  const other = single ?? double ?? variable(right, env)
  return String((variable(left, env) === other) === (operator === "=="))
}

function variable(
  name: string | undefined,
  env: Readonly<Record<string, string | undefined>>,
): string {
  return name === undefined ? "" : (env[name] ?? "")
}
