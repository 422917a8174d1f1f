/** Help texts: laid out like the original's, with the flags taken from the table that is parsed. */
import { environmentName, type Flag, type FlagTable, placeholderOf, variableOf } from "./flags.ts"

export interface HelpParts {
  readonly about: string
  readonly usage: string
  readonly flags: FlagTable
  readonly notes?: string
  /** Commands a shell script can copy, each under a comment that says what it is for. */
  readonly examples: string
}

export function helpText(parts: HelpParts): string {
  const sections = [parts.about, `Usage:\n\n${indented(parts.usage)}`]
  const [example] = Object.keys(parts.flags)
  if (example !== undefined) {
    sections.push(`Flags:\n\n${flagLines(parts.flags)}`)
    const without = Object.entries(parts.flags)
      .filter(([name, flag]) => variableOf(name, flag) === undefined)
      .map(([name], index) => `${index === 0 ? " but" : " and"} --${name}`)
    sections.push(
      `Every flag${without.join("")} can be set in the environment too: --${example} is ` +
        `${environmentName(example)}.\nA flag on the command line wins.`,
    )
  }
  if (parts.notes !== undefined) sections.push(parts.notes)
  sections.push(`Examples:\n\n${indented(parts.examples)}`)
  return `${sections.join("\n\n")}\n`
}

export function indented(text: string): string {
  return text.replace(/^(?=.)/gm, "\t")
}

/** Two columns. */
export function columns(rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(...rows.map(([left]) => left.length))
  return rows.map(([left, right]) => `\t${left.padEnd(width)}  ${right}`).join("\n")
}

function flagLines(flags: FlagTable): string {
  return columns(
    Object.entries(flags).map(([name, flag]) => [usageOfFlag(name, flag), aboutOf(flag)]),
  )
}

export function usageOfFlag(name: string, flag: Flag): string {
  if (flag.kind !== "boolean") return `--${name} ${placeholderOf(name, flag)}`
  return flag.default === true ? `--${name}=false` : `--${name}`
}

function aboutOf(flag: Flag): string {
  const fallback = flag.kind === "boolean" ? undefined : flag.default
  return `${flag.help}${choicesOf(flag)}${fallback === undefined ? "" : ` (default ${fallback})`}`
}

/** The whole text about a flag, without its default. */
export function textOfFlag(flag: Flag): string {
  const { help, more } = flag
  const link = /^[A-Z`]/.test(more ?? "") ? ". " : "; "
  return `${help}${choicesOf(flag)}${more === undefined ? "" : link + more}`
}

function choicesOf(flag: Flag): string {
  return flag.kind === "choice" ? `: ${flag.choices.join(", ")}` : ""
}
