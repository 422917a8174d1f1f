/** `litefs ltx`: looks at LTX files, and makes databases and other LTX files of them. */
import type { ParsedArgs } from "../terminal/argv.ts"
import { group, type Subcommand, subcommand } from "../terminal/command.ts"
import type { FlagTable } from "../terminal/flags.ts"
import type { CliIo } from "../terminal/io.ts"
import { readUntil } from "./ltx-until.ts"

const JSON_FLAG = {
  json: { kind: "boolean", help: "print one JSON document" },
} as const satisfies FlagTable

const DUMP_FLAGS = {
  ...JSON_FLAG,
  pages: { kind: "boolean", help: "with dump: a line for each page, with its checksum" },
} as const satisfies FlagTable

const OUTPUT_FLAGS = {
  ...JSON_FLAG,
  output: {
    kind: "text",
    placeholder: "FILE",
    isRequired: true,
    help: "with apply and compact: write this file, which must not exist",
  },
} as const satisfies FlagTable

const APPLY_FLAGS = {
  ...OUTPUT_FLAGS,
  onto: {
    kind: "text",
    placeholder: "FILE",
    help: "with apply: begin with this database, which litefs export has written",
  },
  until: {
    kind: "special",
    placeholder: "TXID|TIME",
    read: readUntil,
    help: "with apply: stop there; a time is like 2026-11-30T17:39:33Z",
  },
} as const satisfies FlagTable

function onPaths<const T extends FlagTable>(
  name: string,
  flags: T,
  run: (args: ParsedArgs<T>, io: CliIo) => Promise<number>,
): Subcommand {
  return subcommand({
    name: `ltx ${name}`,
    flags,
    words: { placeholder: "PATH", countMin: 1 },
    run,
  })
}

export const LTX = group({
  name: "ltx",
  about: `The ltx command will look at LTX files, which hold one or more transactions
each, and make databases and other LTX files from them. It needs no running node
and changes none of the files it is given.

The commands are:

	list     one line for each file: its position, pages, size and time
	dump     header, page numbers and trailer of each file
	verify   check every file, and in a directory that each follows on the last
	apply    replay files onto a new database file
	compact  make one LTX file from several that follow on each other`,
  usage: `litefs ltx list [--json] PATH...
litefs ltx dump [--json] [--pages] PATH...
litefs ltx verify [--json] PATH...
litefs ltx apply [--json] [--onto FILE] [--until TXID|TIME] --output DATABASE PATH...
litefs ltx compact [--json] --output FILE PATH...`,
  notes: `PATH is an LTX file or a directory: one of LTX files, the directory of a
database (dbs/NAME), or a data directory, which stands for all its databases.
Apply and compact take the files of one database. Apply needs all of them from
the first on, which is a snapshot, or with --onto all since the export; a node
keeps those of --retention. With --until TXID it stops after that transaction,
with a time after the last one that was committed by then, by the clock of its
primary: list prints both.

The exit code is 0, 1 if a file is damaged or does not follow on the last, and
2 if the command line is wrong.`,
  examples: `# what happened to a database lately
litefs ltx list /var/lib/litefs/dbs/app.db

# which pages a transaction changed
litefs ltx dump --pages /var/lib/litefs/dbs/app.db/ltx/0000000000000002-0000000000000002.ltx

# check every database of a node, in a script
litefs ltx verify --json /var/lib/litefs | jq .ok

# the database as it was after its third transaction
litefs ltx apply --until 3 --output /tmp/app.db /var/lib/litefs/dbs/app.db

# from a backup, up to the last of the copied LTX files
litefs ltx apply --onto /backup/app.db --output /tmp/app.db /backup/app.ltx

# from a backup, to a point in time
litefs ltx apply --onto /backup/app.db --until 2026-11-30T17:39:33Z --output /tmp/app.db /backup/app.ltx

# one file for the archive
litefs ltx compact --output app.ltx /var/lib/litefs/dbs/app.db`,
  // Their code is loaded on use, so that `litefs --help` is quick.
  commands: [
    onPaths("list", JSON_FLAG, async ({ words, values }, io) =>
      (await import("./ltx-list.ts")).listLtx(words, values.json, io),
    ),
    onPaths("dump", DUMP_FLAGS, async ({ words, values }, io) =>
      (await import("./ltx-dump.ts")).dumpLtx(words, values, io),
    ),
    onPaths("verify", JSON_FLAG, async ({ words, values }, io) =>
      (await import("./ltx-verify.ts")).verifyLtx(words, values.json, io),
    ),
    onPaths("apply", APPLY_FLAGS, async ({ words, values: { output, onto, until, json } }, io) =>
      (await import("./ltx-apply.ts")).applyLtx(words, { output, onto, until, asJson: json }, io),
    ),
    onPaths("compact", OUTPUT_FLAGS, async ({ words, values: { output, json } }, io) =>
      (await import("./ltx-compact.ts")).compactLtx(words, output, json, io),
    ),
  ],
})
