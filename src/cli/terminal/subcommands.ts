/** A command that is a group of others, like `litefs ltx list`. */
import { defineCommand } from "citty"
import { usageError } from "./argv.ts"
import type { CliIo } from "./io.ts"
import { nearest } from "./nearest.ts"

/** Their code is loaded when they run, so that `litefs --help` is quick. */
export type Subcommands = Readonly<Record<string, Subcommand>>

type Subcommand = (args: readonly string[], io: CliIo) => Promise<number>

export function groupCommand(group: string, commands: Subcommands, io: CliIo) {
  return defineCommand({
    meta: { name: group },
    run: ({ rawArgs: [name, ...args] }) => find(group, commands, name)(args, io),
  })
}

function find(group: string, commands: Subcommands, name: string | undefined): Subcommand {
  const help = `see litefs ${group} --help`
  if (name === undefined) throw usageError(group, `no command is given, ${help}`)
  if (Object.hasOwn(commands, name)) return commands[name] as Subcommand
  const guess = nearest(name, Object.keys(commands))
  const advice = guess === undefined ? help : `did you mean ${guess}?`
  throw usageError(group, `there is no command "${name}", ${advice}`)
}
