/**
 * A command: its name, its flags, its words, its help text and what it does, declared in one place.
 *
 *   command({ name: "export", flags, words, about, …, run })
 *   group({ name: "ltx", commands: [subcommand({ name: "ltx list", … }), …], about, … })
 */
import { defineCommand, runCommand } from "citty"
import { assert } from "../../lib/assert.ts"
import {
  type CommandSyntax,
  type Environment,
  type ParsedArgs,
  parseArgs,
  type Settings,
  usageError,
} from "./argv.ts"
import type { FlagTable } from "./flags.ts"
import { type HelpParts, helpText } from "./help.ts"
import type { CliIo } from "./io.ts"
import { nearest } from "./nearest.ts"

/** Returns the exit code. */
type Run<Args> = (args: Args, io: CliIo) => number | Promise<number>

export interface Subcommand {
  readonly name: string
  readonly flags: FlagTable
  /** Whether words may follow, which are most likely paths. */
  readonly words?: { readonly placeholder: string }
  /** Whether `-- COMMAND ARGS…` may follow. */
  readonly takesCommand?: boolean
  readonly run: Run<readonly string[]>
}

export interface Command extends Subcommand {
  readonly help: string
  /** What `help` is made of. */
  readonly parts: HelpParts
  /** The commands of a group; its own flags are all of theirs. */
  readonly commands?: readonly Subcommand[]
}

type Texts = Omit<HelpParts, "flags">

type Doing<T extends FlagTable> =
  | {
      /** Settings that a file among its flags makes for the others. */
      settings?(args: ParsedArgs<T>, env: Environment): Settings | undefined
      run(args: ParsedArgs<T>, io: CliIo): number | Promise<number>
    }
  /** A command that parses its words itself. */
  | { readonly runWords: Run<readonly string[]> }

/** Everything about a command except what it does. */
export type CommandForm<T extends FlagTable> = CommandSyntax<T> & Texts

export function command<const T extends FlagTable>(spec: CommandForm<T> & Doing<T>): Command {
  return { ...subcommand(spec), help: helpText(spec), parts: spec }
}

export function subcommand<const T extends FlagTable>(
  spec: CommandSyntax<T> & Doing<T>,
): Subcommand {
  const { name, flags, words: given, takesCommand = false } = spec
  const form = { name, flags, takesCommand, ...(given === undefined ? {} : { words: given }) }
  if ("runWords" in spec) return { ...form, run: spec.runWords }
  const run: Run<readonly string[]> = (words, io) => {
    const { env } = io
    const args = parseArgs(spec, words, env)
    const settings = spec.settings?.(args, env)
    return spec.run(settings === undefined ? args : parseArgs(spec, words, env, settings), io)
  }
  return { ...form, run }
}

/** A command that is a group of others, like `litefs ltx list`. */
export function group(
  spec: Texts & {
    readonly name: string
    readonly commands: readonly Subcommand[]
    /** For the help, in the place of all of theirs. */
    readonly helpFlags?: FlagTable
  },
): Command {
  const { name, commands } = spec
  const flags: FlagTable = Object.assign({}, ...commands.map((each) => each.flags))
  const run: Run<readonly string[]> = ([word, ...words], io) =>
    find(name, commands, word).run(words, io)
  const parts = { ...spec, flags: spec.helpFlags ?? flags }
  return { name, flags, run, commands, help: helpText(parts), parts }
}

function find(
  groupName: string,
  commands: readonly Subcommand[],
  word: string | undefined,
): Subcommand {
  const help = `see litefs ${groupName} --help`
  if (word === undefined) throw usageError(groupName, `no command is given, ${help}`)
  const found = commands.find(({ name }) => name === `${groupName} ${word}`)
  if (found !== undefined) return found
  const words = commands.map(({ name }) => name.slice(groupName.length + 1))
  const guess = nearest(word, words)
  const advice = guess === undefined ? help : `did you mean ${guess}?`
  throw usageError(groupName, `there is no command "${word}", ${advice}`)
}

/**
 * citty only runs a command. It would silently accept unknown flags, stray words, a repeated flag and one without its
 * value, and it drops the exit code of a command in a group.
 */
export async function runWithCitty(
  { name, run }: Command,
  rawArgs: readonly string[],
  io: CliIo,
): Promise<number> {
  const definition = defineCommand({ meta: { name }, run: ({ rawArgs: words }) => run(words, io) })
  const { result } = await runCommand(definition, { rawArgs: [...rawArgs] })
  assert(typeof result === "number", `litefs ${name} returns an exit code`)
  return result
}
