/**
 * The command line: finds the command, prints help, and decides what to say and return on a failure.
 *
 * Exit codes: 0, 1 for a failure, 2 for a wrong command line, and what a command returns.
 */
import { LitefsError } from "../lib/errors.ts"
import { COMMANDS, type LazyCommand } from "./commands.ts"
import { splitAtDoubleDash } from "./terminal/argv.ts"
import { runWithCitty } from "./terminal/command.ts"
import { columns, indented } from "./terminal/help.ts"
import { type CliIo, reportError } from "./terminal/io.ts"
import { nearest } from "./terminal/nearest.ts"

const EXAMPLES = `# one primary
litefs mount --primary --http-addr :20202 -- node server.js

# any number of replicas of it
litefs mount --primary-url http://10.0.0.1:20202 -- node server.js`

const MAIN_HELP = `LiteFS replicates SQLite databases live from one primary to many replicas.

Usage:

	litefs <command> [arguments]

The commands are:

${columns(Object.entries(COMMANDS).map(([name, { about }]) => [name, about]))}

Use "litefs help <command>" for the flags of a command.

Examples:

${indented(EXAMPLES)}
`

/** Runs one command line and returns the exit code. It does not throw. */
export async function run(args: readonly string[], io: CliIo): Promise<number> {
  try {
    return await dispatch(args, io)
  } catch (error) {
    reportError(io, error)
    return error instanceof LitefsError && error.code === "usage" ? 2 : 1
  }
}

async function dispatch(args: readonly string[], io: CliIo): Promise<number> {
  const [name, ...rest] = args
  if (name === undefined) {
    io.stderr(MAIN_HELP)
    return 2
  }
  if (name === "help" || isHelpFlag(name)) {
    io.stdout(await helpOf(rest))
    return 0
  }
  if (["--version", "-version", "-v"].includes(name)) return dispatch(["version", ...rest], io)

  const command = await find(name).load()
  if (splitAtDoubleDash(rest)[0].some(isHelpFlag)) {
    io.stdout(command.help)
    return 0
  }
  return runWithCitty(command, rest, io)
}

async function helpOf([name, stray]: readonly string[]): Promise<string> {
  if (name === undefined || isHelpFlag(name)) return MAIN_HELP
  if (stray === undefined) return (await find(name).load()).help
  throw new LitefsError("usage", `Cannot show help: "${stray}" is one word too many`)
}

const UNMOUNT =
  "LiteFS unmounts when it is told to stop (kill, systemctl stop), and umount DIR removes the mount of one that has died"

/** What other programs call it, and what is done without a command. */
const ELSEWHERE = new Map([
  ["umount", UNMOUNT],
  ["unmount", UNMOUNT],
  ["stop", UNMOUNT],
  ...["start", "serve", "replicate"].map((name) => [name, "litefs mount starts a node"] as const),
  ...["status", "ls", "list", "databases"].map(
    (name) => [name, "litefs info shows a node, its databases and its replicas"] as const,
  ),
  ["backup", "litefs export writes a database to a file"],
  ["restore", "litefs import makes a database of a file, or replaces it"],
  ["failover", "litefs promote makes a node the primary"],
])

function find(name: string): LazyCommand {
  if (Object.hasOwn(COMMANDS, name)) return COMMANDS[name] as LazyCommand
  const guess = nearest(name, Object.keys(COMMANDS))
  const advice =
    ELSEWHERE.get(name) ?? (guess === undefined ? "see litefs help" : `did you mean ${guess}?`)
  throw new LitefsError("usage", `Cannot run litefs ${name}: there is no such command, ${advice}`)
}

function isHelpFlag(word: string): boolean {
  return word === "--help" || word === "-help" || word === "-h"
}
