/** All commands, in the order of the help text. Each is loaded on use: most of a start goes into loading. */
import packageJson from "../../package.json" with { type: "json" }
import type { DescribedCommand } from "./shell/described.ts"
import type { Command } from "./terminal/command.ts"
import type { FlagTable } from "./terminal/flags.ts"

export interface LazyCommand {
  readonly about: string
  load(): Promise<Command>
}

export const COMMANDS: Readonly<Record<string, LazyCommand>> = {
  mount: {
    about: "mount the file system and run a command next to it",
    load: async () => (await import("./mount/mount.ts")).mountCommand(otherFlags),
  },
  info: {
    about: "show the databases of a node, its role and its lag",
    load: async () => (await import("./node/info.ts")).INFO,
  },
  wait: {
    about: "wait until a node is in sync, has a transaction, or is the primary",
    load: async () => (await import("./node/wait.ts")).WAIT,
  },
  run: {
    about: "run a command on the right node, at the right time",
    load: async () => (await import("./node/run.ts")).RUN,
  },
  sql: {
    about: "run SQL on a database, where there is no sqlite3",
    load: async () => (await import("./sql/sql.ts")).SQL,
  },
  promote: {
    about: "make a replica the primary",
    load: async () => (await import("./node/promote.ts")).PROMOTE,
  },
  import: {
    about: "put a database file in the place of a database",
    load: async () => (await import("./node/import.ts")).IMPORT,
  },
  export: {
    about: "write a database to a file",
    load: async () => (await import("./node/export.ts")).EXPORT,
  },
  ltx: {
    about: "list, check, apply and compact LTX files",
    load: async () => (await import("./ltx/ltx.ts")).LTX,
  },
  doctor: {
    about: "examine a data directory, and repair it",
    load: async () => (await import("./doctor/doctor.ts")).DOCTOR,
  },
  diverged: {
    about: "show and extract what a replica kept that its primary lacks",
    load: async () => (await import("./node/diverged.ts")).DIVERGED,
  },
  config: {
    about: "show what a configuration means, and what is wrong with it",
    load: async () => (await import("./mount/config.ts")).configCommand(otherFlags),
  },
  completion: {
    about: "print a script that completes commands in your shell",
    load: async () => (await import("./shell/completion.ts")).completionCommand(allCommands),
  },
  man: {
    about: "print the manual page",
    load: async () => (await import("./shell/man.ts")).manCommand(allCommands, packageJson.version),
  },
  version: {
    about: "print the version",
    load: async () => (await import("./version.ts")).VERSION,
  },
}

async function allCommands(): Promise<readonly DescribedCommand[]> {
  return await Promise.all(
    Object.entries(COMMANDS).map(async ([name, { about, load }]) => {
      return { name, about, loaded: await load() }
    }),
  )
}

/** The flags of all commands except mount, whose config check has. */
export async function otherFlags(): Promise<readonly FlagTable[]> {
  const { mount: _, config: __, ...others } = COMMANDS
  const commands = await Promise.all(Object.values(others).map((each) => each.load()))
  return commands.map(({ flags }) => flags)
}
