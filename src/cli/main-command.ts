/**
 * The command line: which command is meant, its help, and what to say and return when it fails.
 *
 * Exit codes: 0, 1 for a failure, 2 for a command line that is wrong, and what a command returns.
 */
import { type CommandDef, runCommand } from "citty"
import { assert } from "../lib/assert.ts"
import { LitefsError } from "../lib/errors.ts"
import { splitAtDoubleDash } from "./argv.ts"
import { DIVERGED_HELP, divergedCommand } from "./diverged.ts"
import { DOCTOR_HELP, doctorCommand } from "./doctor.ts"
import { EXPORT_HELP, exportCommand } from "./export.ts"
import { columns, indented } from "./help.ts"
import { IMPORT_HELP, importCommand } from "./import.ts"
import { INFO_HELP, infoCommand } from "./info.ts"
import { type CliIo, reportError } from "./io.ts"
import { LTX_HELP, ltxCommand } from "./ltx.ts"
import { mountCommand } from "./mount.ts"
import { MOUNT_HELP } from "./mount-flags.ts"
import { nearest } from "./nearest.ts"
import { PROMOTE_HELP, promoteCommand } from "./promote.ts"
import { litefsRunCommand, RUN_HELP } from "./run.ts"
import { SQL_HELP, sqlCommand } from "./sql.ts"
import { VERSION_HELP, versionCommand } from "./version.ts"
import { WAIT_HELP, waitCommand } from "./wait.ts"

interface Command {
  readonly about: string
  readonly help: string
  readonly define: (io: CliIo) => CommandDef
}

const COMMANDS: Readonly<Record<string, Command>> = {
  mount: {
    about: "mount the file system and run a command next to it",
    help: MOUNT_HELP,
    define: mountCommand,
  },
  info: {
    about: "show the databases of a node, its role and its lag",
    help: INFO_HELP,
    define: infoCommand,
  },
  wait: {
    about: "wait until a node is in sync, has a transaction, or is the primary",
    help: WAIT_HELP,
    define: waitCommand,
  },
  run: {
    about: "run a command on the right node, at the right time",
    help: RUN_HELP,
    define: litefsRunCommand,
  },
  sql: {
    about: "run SQL on a database, where there is no sqlite3",
    help: SQL_HELP,
    define: sqlCommand,
  },
  promote: {
    about: "make a replica the primary",
    help: PROMOTE_HELP,
    define: promoteCommand,
  },
  import: {
    about: "put a database file in the place of a database",
    help: IMPORT_HELP,
    define: importCommand,
  },
  export: {
    about: "write a database to a file",
    help: EXPORT_HELP,
    define: exportCommand,
  },
  ltx: {
    about: "list, check, apply and compact LTX files",
    help: LTX_HELP,
    define: ltxCommand,
  },
  doctor: {
    about: "examine a data directory, and repair it",
    help: DOCTOR_HELP,
    define: doctorCommand,
  },
  diverged: {
    about: "show and extract what a replica kept that its primary lacks",
    help: DIVERGED_HELP,
    define: divergedCommand,
  },
  version: { about: "print the version", help: VERSION_HELP, define: versionCommand },
}

const EXAMPLES = `# one primary
litefs mount --primary --http-addr :20202 -- node server.js

# any number of replicas of it
litefs mount --primary-url http://10.0.0.1:20202 -- node server.js`

export const MAIN_HELP = `LiteFS replicates SQLite databases live from one primary to many replicas.

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
    io.stdout(helpOf(rest))
    return 0
  }
  if (name === "--version" || name === "-version") return dispatch(["version", ...rest], io)

  const command = find(name)
  if (splitAtDoubleDash(rest)[0].some(isHelpFlag)) {
    io.stdout(command.help)
    return 0
  }
  const { result } = await runCommand(command.define(io), { rawArgs: rest })
  assert(typeof result === "number", `litefs ${name} returns an exit code`)
  return result
}

function helpOf([name, stray]: readonly string[]): string {
  if (name === undefined) return MAIN_HELP
  if (stray === undefined) return find(name).help
  throw new LitefsError("usage", `Cannot show help: "${stray}" is one word too many`)
}

function find(name: string): Command {
  if (Object.hasOwn(COMMANDS, name)) return COMMANDS[name] as Command
  const guess = nearest(name, Object.keys(COMMANDS))
  const advice = guess === undefined ? "see litefs help" : `did you mean ${guess}?`
  throw new LitefsError("usage", `Cannot run litefs ${name}: there is no such command, ${advice}`)
}

function isHelpFlag(word: string): boolean {
  return word === "--help" || word === "-help" || word === "-h"
}
