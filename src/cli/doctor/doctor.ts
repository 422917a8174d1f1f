/** `litefs doctor`: examines a data directory and says in sentences what it finds. */
import { existsSync } from "node:fs"
import { basename, join, resolve } from "node:path"
import { shellWord } from "../../lib/errors.ts"
import { type ParsedArgs, usageError } from "../terminal/argv.ts"
import { command } from "../terminal/command.ts"
import type { FlagTable } from "../terminal/flags.ts"
import type { CliIo } from "../terminal/io.ts"

const FLAGS = {
  "data-dir": {
    kind: "text",
    placeholder: "DIR",
    default: "/var/lib/litefs",
    help: "examine the databases that are kept here",
  },
  repair: { kind: "boolean", help: "repair what can be repaired without losing anything" },
  json: { kind: "boolean", help: "print one JSON document" },
} as const satisfies FlagTable

export const DOCTOR = command({
  name: "doctor",
  flags: FLAGS,
  words: { placeholder: "DATABASE", countMin: 0 },
  about: `The doctor command will examine the data directory of a node that is not running:
whether the LTX files of each database follow on each other, whether the
database is what they say it is, what is in its WAL and its journal, and what
SQLite itself finds. It explains each finding, and changes nothing unless
--repair is given.`,
  usage: "litefs doctor [flags] [DATABASE...]",
  notes: `A DATABASE is a name, like app.db. Without one all of them are examined.

With --repair it rolls back interrupted transactions, replays LTX files onto
database files, and sets aside what is torn or does not belong there. Whatever
it replaces or moves is kept in DIR/damaged, in a directory with the time and
the name of the database. What it cannot repair without losing something it
leaves as it is, and says what can be done.

The exit code is 0 if everything is healthy or has been repaired, else 1. Stop
LiteFS first: a data directory in use is refused.`,
  examples: `# what is wrong
litefs doctor

# one database of another directory
litefs doctor --data-dir /srv/litefs app.db

# mend what can be mended, and start only if all is well
litefs doctor --repair && litefs mount --primary -- node server.js

# the problems, for a script
litefs doctor --json | jq '.databases[].findings[] | select(.severity == "problem")'`,
  run: doctor,
})

async function doctor({ words, values }: ParsedArgs<typeof FLAGS>, io: CliIo): Promise<number> {
  for (const word of words) checkName(word)
  const dataDir = resolve(values["data-dir"])
  const options = { dataDir, databases: words, repairs: values.repair }
  // Loaded on use, so that `litefs --help` is quick.
  const { runDoctor } = await import("./doctor-report.ts")
  return runDoctor(options, values.json, io)
}

/** People who know other checkers give a directory here. */
function checkName(word: string): void {
  const isDataDir = existsSync(join(word, "dbs"))
  if (isDataDir) {
    const advice = `the data directory is given as --data-dir ${shellWord(word)}`
    throw usageError("doctor", `"${word}" is a directory, not the name of a database; ${advice}`)
  }
  if (!word.includes("/")) return
  const advice = `it should be the name of a database, like ${basename(word) || "app.db"}`
  const problem = `"${word}" is a path, ${advice}; the data directory is given as --data-dir DIR`
  throw usageError("doctor", problem)
}
