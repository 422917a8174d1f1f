/** `litefs ltx`: looks at LTX files, and makes databases and other LTX files of them. */
import {
  type CommandSyntax,
  type FlagTable,
  type ParsedArgs,
  parseArgs,
  usageError,
} from "../terminal/argv.ts"
import { helpText } from "../terminal/help.ts"
import type { CliIo } from "../terminal/io.ts"
import { groupCommand, type Subcommands } from "../terminal/subcommands.ts"

const JSON_FLAG = {
  json: { kind: "boolean", help: "print one JSON document" },
} as const satisfies FlagTable

export const LTX_DUMP_FLAGS = {
  ...JSON_FLAG,
  pages: { kind: "boolean", help: "with dump: a line for each page, with its checksum" },
} as const satisfies FlagTable

export const LTX_OUTPUT_FLAGS = {
  ...JSON_FLAG,
  output: {
    kind: "text",
    placeholder: "FILE",
    help: "with apply and compact: write this file, which must not exist",
  },
} as const satisfies FlagTable

const COMMANDS: Subcommands = {
  list: async (args, io) => {
    const { words, values } = parseArgs(syntax("list", JSON_FLAG), args, io.env)
    return (await import("./ltx-list.ts")).listLtx(words, values.json, io)
  },
  dump: async (args, io) => {
    const { words, values } = parseArgs(syntax("dump", LTX_DUMP_FLAGS), args, io.env)
    return (await import("./ltx-dump.ts")).dumpLtx(words, values, io)
  },
  verify: async (args, io) => {
    const { words, values } = parseArgs(syntax("verify", JSON_FLAG), args, io.env)
    return (await import("./ltx-verify.ts")).verifyLtx(words, values.json, io)
  },
  apply: async (args, io) => {
    const parsed = parseArgs(syntax("apply", LTX_OUTPUT_FLAGS), args, io.env)
    return (await import("./ltx-apply.ts")).applyLtx(
      parsed.words,
      outputOf("apply", parsed),
      parsed.values.json,
      io,
    )
  },
  compact: async (args, io) => {
    const parsed = parseArgs(syntax("compact", LTX_OUTPUT_FLAGS), args, io.env)
    return (await import("./ltx-compact.ts")).compactLtx(
      parsed.words,
      outputOf("compact", parsed),
      parsed.values.json,
      io,
    )
  },
}

export const LTX_HELP = helpText({
  about: `The ltx command will look at LTX files, which hold one or more transactions
each, and make databases and other LTX files of them. It needs no running node
and changes none of the files it is given.

The commands are:

	list     one line for each file: its position, pages, size and time
	dump     header, page numbers and trailer of each file
	verify   check every file, and in a directory that each follows on the last
	apply    replay files onto a new database file
	compact  make one LTX file of several that follow on each other`,
  usage: `litefs ltx list [--json] PATH...
litefs ltx dump [--json] [--pages] PATH...
litefs ltx verify [--json] PATH...
litefs ltx apply [--json] --output DATABASE PATH...
litefs ltx compact [--json] --output FILE PATH...`,
  flags: { ...LTX_DUMP_FLAGS, ...LTX_OUTPUT_FLAGS },
  notes: `PATH is an LTX file or a directory: one of LTX files, the directory of a
database (dbs/NAME), or a data directory, which stands for all its databases.
Apply and compact take the files of one database.

The exit code is 0, 1 if a file is damaged or does not follow on the last, and
2 if the command line is wrong.`,
  examples: `# what happened to a database lately
litefs ltx list /var/lib/litefs/dbs/app.db

# which pages a transaction changed
litefs ltx dump --pages /var/lib/litefs/dbs/app.db/ltx/0000000000000002-0000000000000002.ltx

# check every database of a node, in a script
litefs ltx verify --json /var/lib/litefs | jq .ok

# the database as it was after its third transaction
litefs ltx apply --output /tmp/app.db /var/lib/litefs/dbs/app.db/ltx/000000000000000[123]-*.ltx

# one file for the archive
litefs ltx compact --output app.ltx /var/lib/litefs/dbs/app.db`,
})

export function ltxCommand(io: CliIo) {
  return groupCommand("ltx", COMMANDS, io)
}

function syntax<T extends FlagTable>(name: string, flags: T): CommandSyntax<T> {
  return {
    name: `ltx ${name}`,
    flags,
    takesCommand: false,
    words: { placeholder: "PATH", countMin: 1 },
  }
}

function outputOf(name: string, { values }: ParsedArgs<typeof LTX_OUTPUT_FLAGS>): string {
  if (values.output !== undefined) return values.output
  throw usageError(`ltx ${name}`, "no --output FILE is given")
}
