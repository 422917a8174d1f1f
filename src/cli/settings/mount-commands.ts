/** The commands that a node runs: their flags, and how the flags become options of the supervisor. */
import type { ExecCommand } from "../../config/exec.ts"
import type { SupervisedCommand, SuperviseOptions } from "../command/supervisor-state.ts"
import { type ParsedArgs, readGiven } from "../terminal/argv.ts"
import { splitCommand } from "../terminal/command-words.ts"
import type { FlagTable } from "../terminal/flags.ts"

export const COMMAND_FLAGS = {
  exec: {
    kind: "special",
    isList: true,
    placeholder: "CMD",
    read: splitCommand,
    help: "run this before COMMAND, to its end; may be given several times",
  },
  "exec-if-candidate": {
    kind: "special",
    isList: true,
    placeholder: "CMD",
    read: splitCommand,
    help: "the same, on a node that is or may become the primary: also on a replica that is a candidate",
  },
  "stop-timeout": {
    kind: "duration",
    default: "8s",
    help: "kill a command that was told to stop after this long",
    more: "`docker stop` kills everything after 10 s; Ctrl-C in a terminal is left to the command",
  },
  "skip-sync": {
    kind: "boolean",
    help: "do not wait until this node is in sync with its primary",
    more: "before the commands are started",
  },
  "sync-timeout": {
    kind: "duration",
    help: "wait no longer than this, then start with what is here (default: wait)",
  },
  "exit-on-error": {
    kind: "boolean",
    default: true,
    help: "stay up for inspection when something fails at the start",
    more: "before the command runs, until a signal comes",
  },
} as const satisfies FlagTable

type CommandArgs = ParsedArgs<typeof COMMAND_FLAGS>

type Commands = Pick<
  SuperviseOptions,
  "before" | "command" | "graceMs" | "skipSync" | "syncTimeoutMs" | "exitOnError"
>

/** The commands of a file count when the command line and the environment have none at all. */
export function commandOptions(args: CommandArgs, fromFile: readonly ExecCommand[]): Commands {
  return {
    ...commands(args, fromFile),
    graceMs: args.values["stop-timeout"],
    skipSync: args.values["skip-sync"],
    syncTimeoutMs: args.values["sync-timeout"],
    exitOnError: args.values["exit-on-error"],
  }
}

function hasCommands(args: CommandArgs): boolean {
  return args.command !== undefined || args.isGiven("exec") || args.isGiven("exec-if-candidate")
}

function commands(
  args: CommandArgs,
  fromFile: readonly ExecCommand[],
): Pick<Commands, "before" | "command"> {
  if (!hasCommands(args)) {
    // As in the original: the last one stays.
    const all = fromFile.map(parse)
    return { before: all.slice(0, -1), command: all.at(-1) }
  }
  const before = args
    .inOrder("exec", "exec-if-candidate")
    .map(({ name, value }) => ({ words: value, isForCandidate: name === "exec-if-candidate" }))
  if (args.command === undefined) return { before, command: undefined }
  return { before, command: { words: args.command, isForCandidate: false } }
}

function parse({ text, isForCandidate, spelling }: ExecCommand): SupervisedCommand {
  if (typeof text !== "string") return { words: text, isForCandidate }
  return { words: readGiven("mount", { text, spelling }, splitCommand), isForCandidate }
}
