/** `litefs diverged`: the histories that a replica has kept because its primary does not have them. */
import { group, subcommand } from "../terminal/command.ts"
import type { FlagTable } from "../terminal/flags.ts"
import { directoryOf, runningNodes } from "./running-nodes.ts"

const DATA_DIR_FLAG = {
  "data-dir": {
    kind: "text",
    placeholder: "DIR",
    default: "/var/lib/litefs",
    help: "look in the data directory of this node",
  },
} as const satisfies FlagTable

/** The directory that `--data-dir` names or, when it is not given, that of the only node that runs. */
function dataDirOf({ values, isGiven }: DataDirArgs): string {
  return directoryOf(values["data-dir"], isGiven("data-dir"), runningNodes().dataDirs)
}

interface DataDirArgs {
  readonly values: { readonly "data-dir": string }
  isGiven(name: "data-dir"): boolean
}

const LIST_FLAGS = {
  ...DATA_DIR_FLAG,
  json: { kind: "boolean", help: "with list: print one JSON document" },
} as const satisfies FlagTable

const EXPORT_FLAGS = {
  ...DATA_DIR_FLAG,
  ltx: { kind: "boolean", help: "with export: its LTX files, to a directory" },
} as const satisfies FlagTable

export const DIVERGED = group({
  name: "diverged",
  about: `The diverged command will show what a replica has kept because its primary does
not have it: a database that was ahead of the primary's, or went another way,
when the primary's took its place. It reads the data directory; the node may
be running.

The commands are:

	list     one line for each history that is kept
	export   write the database as it was to a new file`,
  usage: `litefs diverged list [--json] [--data-dir DIR]
litefs diverged export [--ltx] [--data-dir DIR] NAME OUT`,
  notes: `NAME is what list shows, or enough of its beginning to tell it from the others.
OUT must not exist; what is written is checked against the position.

LiteFS never removes what it has kept. When it is of no more use, remove its
directory, DIR/diverged/NAME. Its transactions are ordinary LTX files:
litefs ltx list DIR/diverged/NAME.

The exit code is 0, 1 for a failure, and 2 if the command line is wrong.`,
  examples: `# is there anything
litefs diverged list

# the database as it was, to compare or to merge by hand
litefs diverged export 2026-11-23T06-41 /tmp/app-diverged.db
sqlite3 /tmp/app-diverged.db .schema

# its transactions
litefs diverged export --ltx 2026-11-23T06-41 /tmp/app-ltx

# in a script: fail if something is kept
litefs diverged list --json | jq -e '.histories == []'`,
  commands: [
    subcommand({
      name: "diverged list",
      flags: LIST_FLAGS,
      run: async (args, io) =>
        (await import("./diverged-list.ts")).listDiverged(dataDirOf(args), args.values.json, io),
    }),
    subcommand({
      name: "diverged export",
      flags: EXPORT_FLAGS,
      words: { placeholder: "NAME OUT", countMin: 2, countMax: 2 },
      run: async (args, io) => {
        const { words, values } = args
        const [name = "", output = ""] = words
        const options = { dataDir: dataDirOf(args), name, output, asLtx: values.ltx }
        return (await import("./diverged-export.ts")).exportDiverged(options, io)
      },
    }),
  ],
})
