/** `litefs man`: the manual page, in the language of man(7), made of the same texts as `--help`. */
import { LitefsError } from "../../lib/errors.ts"
import type { ParsedArgs } from "../terminal/argv.ts"
import { type Command, command } from "../terminal/command.ts"
import { EXIT_CODES } from "../terminal/exit-codes.ts"
import { type FlagTable, variableOf } from "../terminal/flags.ts"
import { textOfFlag, usageOfFlag } from "../terminal/help.ts"
import type { CliIo } from "../terminal/io.ts"
import type { DescribedCommand } from "./described.ts"

export function manCommand(
  all: () => Promise<readonly DescribedCommand[]>,
  version: string,
): Command {
  return command({
    name: "man",
    flags: {},
    words: { placeholder: "COMMAND", countMin: 0, countMax: 1 },
    about: `The man command will print a manual page for man(1): that of litefs, or of one of
its commands.`,
    usage: "litefs man [COMMAND]",
    examples: `# read it
litefs man | man -l -
litefs man mount | man -l -

# install it
litefs man > /usr/local/share/man/man1/litefs.1`,
    run: async ({ words: [name] }: ParsedArgs<Record<never, never>>, io: CliIo) => {
      const commands = await all()
      if (name === undefined) {
        io.stdout(mainPage(commands, version))
        return 0
      }
      const found = commands.find((each) => each.name === name)
      if (found === undefined) {
        throw new LitefsError(
          "usage",
          `Cannot show a page for "${name}": there is no such command, see litefs help`,
        )
      }
      io.stdout(`${title(`litefs-${name}`, version)}${sectionsOf(found, "SH")}`)
      return 0
    },
  })
}

function mainPage(commands: readonly DescribedCommand[], version: string): string {
  return [
    title("litefs", version),
    section("SH", "NAME", `litefs ${BACKSLASH}- replicate SQLite databases live`),
    section("SH", "SYNOPSIS", ".B litefs\n.I command\n[arguments]"),
    section(
      "SH",
      "COMMANDS",
      commands.map(({ name, about }) => item(name, escaped(about))).join("\n"),
    ),
    ...commands.map(
      (each) => `.SH ${quoted(`litefs ${each.name}`.toUpperCase())}\n${sectionsOf(each, "SS")}`,
    ),
    section(
      "SH",
      "EXIT STATUS",
      EXIT_CODES.map(([code, text]) => item(code, prose(text))).join("\n"),
    ),
  ].join("")
}

function sectionsOf(
  { name, about, loaded: { parts } }: DescribedCommand,
  level: "SH" | "SS",
): string {
  const variables = Object.entries(parts.flags).some(([flag, each]) => variableOf(flag, each))
  return [
    level === "SH" ? section(level, "NAME", `litefs-${name} ${BACKSLASH}- ${escaped(about)}`) : "",
    section(level, "SYNOPSIS", example(parts.usage)),
    section(level, "DESCRIPTION", paragraphs(parts.about)),
    Object.keys(parts.flags).length === 0 ? "" : section(level, "OPTIONS", options(parts.flags)),
    parts.notes === undefined ? "" : section(level, "NOTES", paragraphs(parts.notes)),
    section(level, "EXAMPLES", example(parts.examples)),
    level === "SH" && variables
      ? section(
          level,
          "ENVIRONMENT",
          prose("Each option with a variable in brackets can be set by it; the command line wins."),
        )
      : "",
  ].join("")
}

function options(flags: FlagTable): string {
  return Object.entries(flags)
    .map(([name, flag]) => {
      const fallback =
        flag.kind === "boolean" || flag.default === undefined ? "" : ` (default ${flag.default})`
      const variable = variableOf(name, flag)
      const text = `${textOfFlag(flag)}${fallback}${variable === undefined ? "" : ` [${variable}]`}`
      return item(usageOfFlag(name, flag), prose(text))
    })
    .join("\n")
}

const NOT_ASCII = /[\u0080-\uffff]/g
const BACKSLASH = "\\"

function title(name: string, version: string): string {
  return `.TH ${quoted(name.toUpperCase())} 1 "" ${quoted(`LiteFS ${version}`)}\n.nh\n`
}

function section(level: "SH" | "SS", name: string, text: string): string {
  return `.${level} ${quoted(name)}\n${text}\n`
}

function item(name: string, text: string): string {
  return `.TP\n.B ${quoted(escaped(name))}\n${text}`
}

function example(text: string): string {
  return `.nf\n${escaped(text)}\n.fi`
}

/** Lists, which are indented, keep their lines. */
function paragraphs(text: string): string {
  return text
    .split("\n\n")
    .map((each) => (each.includes("\n\t") || each.startsWith("\t") ? example(each) : escaped(each)))
    .join("\n.PP\n")
}

/** Text of documents has Markdown's backticks. */
function prose(text: string): string {
  return escaped(text.replaceAll("`", ""))
}

function quoted(text: string): string {
  return `"${text.replaceAll('"', '""')}"`
}

/** What begins a request at the beginning of a line, or an escape anywhere, and what is not ASCII. */
function escaped(text: string): string {
  const code = (letter: string) => letter.charCodeAt(0).toString(16).padStart(4, "0").toUpperCase()
  return text
    .replaceAll("\\", "\\e")
    .replaceAll("-", "\\-")
    .replace(/^(?=[.'])/gm, "\\&")
    .replace(NOT_ASCII, (letter) => `\\[u${code(letter)}]`)
}
