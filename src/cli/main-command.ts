/**
 * The command line: which command is meant, its help, and what to say and return when it fails.
 *
 * Exit codes: 0, 1 for a failure, 2 for a command line that is wrong, and what a command returns.
 */
import { type CommandDef, runCommand } from "citty"
import { assert } from "../lib/assert.ts"
import { LitefsError } from "../lib/errors.ts"
import { splitAtDoubleDash } from "./terminal/argv.ts"
import { columns, indented } from "./terminal/help.ts"
import { type CliIo, reportError } from "./terminal/io.ts"
import { nearest } from "./terminal/nearest.ts"

interface Command {
  readonly about: string
  /** Each is loaded when it is meant: most of a start is what is loaded. */
  load(): Promise<LoadedCommand>
}

interface LoadedCommand {
  readonly help: string
  readonly define: (io: CliIo) => CommandDef
}

const COMMANDS: Readonly<Record<string, Command>> = {
  mount: {
    about: "mount the file system and run a command next to it",
    load: async () => ({
      help: (await import("./settings/mount-flags.ts")).MOUNT_HELP,
      define: (await import("./mount/mount.ts")).mountCommand,
    }),
  },
  info: {
    about: "show the databases of a node, its role and its lag",
    load: async () => {
      const { INFO_HELP, infoCommand } = await import("./node/info.ts")
      return { help: INFO_HELP, define: infoCommand }
    },
  },
  wait: {
    about: "wait until a node is in sync, has a transaction, or is the primary",
    load: async () => {
      const { WAIT_HELP, waitCommand } = await import("./node/wait.ts")
      return { help: WAIT_HELP, define: waitCommand }
    },
  },
  run: {
    about: "run a command on the right node, at the right time",
    load: async () => {
      const { RUN_HELP, litefsRunCommand } = await import("./node/run.ts")
      return { help: RUN_HELP, define: litefsRunCommand }
    },
  },
  sql: {
    about: "run SQL on a database, where there is no sqlite3",
    load: async () => {
      const { SQL_HELP, sqlCommand } = await import("./node/sql.ts")
      return { help: SQL_HELP, define: sqlCommand }
    },
  },
  promote: {
    about: "make a replica the primary",
    load: async () => {
      const { PROMOTE_HELP, promoteCommand } = await import("./node/promote.ts")
      return { help: PROMOTE_HELP, define: promoteCommand }
    },
  },
  import: {
    about: "put a database file in the place of a database",
    load: async () => {
      const { IMPORT_HELP, importCommand } = await import("./node/import.ts")
      return { help: IMPORT_HELP, define: importCommand }
    },
  },
  export: {
    about: "write a database to a file",
    load: async () => {
      const { EXPORT_HELP, exportCommand } = await import("./node/export.ts")
      return { help: EXPORT_HELP, define: exportCommand }
    },
  },
  ltx: {
    about: "list, check, apply and compact LTX files",
    load: async () => {
      const { LTX_HELP, ltxCommand } = await import("./ltx/ltx.ts")
      return { help: LTX_HELP, define: ltxCommand }
    },
  },
  doctor: {
    about: "examine a data directory, and repair it",
    load: async () => {
      const { DOCTOR_HELP, doctorCommand } = await import("./doctor/doctor.ts")
      return { help: DOCTOR_HELP, define: doctorCommand }
    },
  },
  diverged: {
    about: "show and extract what a replica kept that its primary lacks",
    load: async () => {
      const { DIVERGED_HELP, divergedCommand } = await import("./node/diverged.ts")
      return { help: DIVERGED_HELP, define: divergedCommand }
    },
  },
  version: {
    about: "print the version",
    load: async () => {
      const { VERSION_HELP, versionCommand } = await import("./version.ts")
      return { help: VERSION_HELP, define: versionCommand }
    },
  },
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
    io.stdout(await helpOf(rest))
    return 0
  }
  if (name === "--version" || name === "-version") return dispatch(["version", ...rest], io)

  const command = await find(name).load()
  if (splitAtDoubleDash(rest)[0].some(isHelpFlag)) {
    io.stdout(command.help)
    return 0
  }
  const { result } = await runCommand(command.define(io), { rawArgs: rest })
  assert(typeof result === "number", `litefs ${name} returns an exit code`)
  return result
}

async function helpOf([name, stray]: readonly string[]): Promise<string> {
  if (name === undefined) return MAIN_HELP
  if (stray === undefined) return (await find(name).load()).help
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
