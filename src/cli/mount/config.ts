/** `litefs config check`: what `litefs mount` would do with these words, this environment and this file. */
import { commandOptions } from "../settings/mount-commands.ts"
import { MOUNT_FLAGS, type MountFlags } from "../settings/mount-flags.ts"
import { mountOptions } from "../settings/mount-options.ts"
import { openSecrets } from "../terminal/access.ts"
import { withoutPassword } from "../terminal/argv.ts"
import { type Command, group, subcommand } from "../terminal/command.ts"
import { environmentName, type FlagTable } from "../terminal/flags.ts"
import type { CliIo } from "../terminal/io.ts"
import { paintOf } from "../terminal/screen.ts"
import { onOneLine, table } from "../terminal/table.ts"
import { type MountArgs, mountArgs, UNKNOWN_VARIABLES } from "./mount-args.ts"
import { misspelledRole } from "./variables.ts"

/** `otherFlags` as those of mountCommand(). */
export function configCommand(otherFlags: () => Promise<readonly FlagTable[]>): Command {
  return group({
    name: "config",
    about: `The config command will check a configuration: it shows every setting that
litefs mount would use, and where it comes from, and starts nothing.`,
    usage: "litefs config check [flags of litefs mount] [-- COMMAND ARGS...]",
    helpFlags: {},
    notes: `It takes the flags of litefs mount, reads the same variables, and finds the same
litefs.yml. Tokens and passwords are not shown. Whether the directories can be
used and the ports are free, only a start shows.

The exit code is 0 if all is well, 1 if there are variables LITEFS_... that
nobody reads, and 2 if litefs mount would not start: for an unknown flag or key,
a value of the wrong kind, or settings that contradict each other.`,
    examples: `# what litefs mount would do here
litefs config check

# before a deploy
litefs config check --config litefs.yml && systemctl restart litefs`,
    commands: [
      subcommand({
        ...{ name: "config check", flags: MOUNT_FLAGS, takesCommand: true },
        runWords: (words, io) => check(words, io, otherFlags),
      }),
    ],
  })
}

async function check(
  words: readonly string[],
  io: CliIo,
  otherFlags: () => Promise<readonly FlagTable[]>,
): Promise<number> {
  const given = mountArgs(words, io.env)
  mountOptions(given.args, misspelledRole(io.env))
  const { before, command } = commandOptions(given.args, given.file?.exec ?? [])
  const commands = [...(before ?? []), ...(command === undefined ? [] : [command])]
  const rows = settings(given)
  const paint = paintOf(io.screen(1))
  const [head = "", ...lines] = table(["setting", "value", "from"], rows).trimEnd().split("\n")
  io.stdout(`${paint("bold", head)}\n`)
  for (const line of lines) io.stdout(`${/ default$/.test(line) ? paint("dim", line) : line}\n`)
  for (const [index, { words: each }] of commands.entries()) {
    const isLast = command !== undefined && index === commands.length - 1
    io.stdout(`${isLast ? "it runs" : "first it runs"}: ${onOneLine(each.join(" "))}\n`)
  }

  const remarks = await given.remarks(otherFlags)
  const secrets = openSecrets(given.args).map((file) => `every user can read "${file}"`)
  const said = remarks
    .filter(({ level, msg }) => level === "warn" || msg !== "configured")
    .map(({ level, msg, fields }) => {
      const sign = level === "warn" ? paint("yellow", "WARNING") : "note"
      return `${sign}: ${msg}: ${Object.values(fields).map(onOneLine).join(", ")}`
    })
  const warnings = secrets.map((text) => `${paint("yellow", "WARNING")}: ${onOneLine(text)}`)
  for (const line of [...said, ...warnings]) io.stdout(`${line}\n`)
  return remarks.some(({ msg }) => msg === UNKNOWN_VARIABLES) ? 1 : 0
}

/** Those that were given first, then the defaults. */
function settings({ args }: MountArgs): string[][] {
  const names = Object.keys(MOUNT_FLAGS) as (keyof MountFlags)[]
  const rows = names.map((name) => {
    const spelling = args.spelling(name)
    const isGiven = args.isGiven(name)
    const isSecret = name === "auth-token"
    const isSwitch = (MOUNT_FLAGS as FlagTable)[name]?.kind === "boolean"
    const texts = isSwitch && !isGiven ? [String(args.values[name])] : args.texts(name)
    const value = isSecret && isGiven ? "***" : texts.map(withoutPassword).join(" ") || "-"
    const source = spelling.startsWith("--") ? "command line" : spelling
    const from = isGiven
      ? spelling === environmentName(name)
        ? `$${spelling}`
        : source
      : "default"
    return { isGiven, row: [`--${name}`, value, from] }
  })
  return [true, false].flatMap((isGiven) =>
    rows.filter((each) => each.isGiven === isGiven).map(({ row }) => row),
  )
}
