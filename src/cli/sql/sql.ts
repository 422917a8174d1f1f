/** `litefs sql`: SQL on a database, where there is no sqlite3. It is a client like any other. */
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { LitefsError } from "../../lib/errors.ts"
import { type SqlStatement, splitStatements } from "../../sqlite/statements.ts"
import type { SqlError } from "../../sys/bun/sqlite.ts"
import { databasePath, deathOfMount, fuseDirOf, misplacement } from "../node/database-path.ts"
import { takeHaltLock } from "../node/halt-lock.ts"
import type { ParsedArgs } from "../terminal/argv.ts"
import { command } from "../terminal/command.ts"
import type { FlagTable } from "../terminal/flags.ts"
import type { CliIo } from "../terminal/io.ts"
import { nearest } from "../terminal/nearest.ts"
import { runStatement } from "./sql-output.ts"

const FLAGS = {
  "fuse-dir": {
    kind: "text",
    placeholder: "DIR",
    default: "/litefs",
    help: "where LiteFS is mounted",
  },
  json: { kind: "boolean", help: "print JSON, one array of objects for each query" },
  raw: { kind: "boolean", help: "print the values only, with tabs between them" },
  "read-only": { kind: "boolean", help: "refuse statements that would change the database" },
  "with-halt-lock": {
    kind: "boolean",
    hasNoVariable: true,
    help: "write, also on a replica: borrow the primary's write lock",
  },
  create: { kind: "boolean", help: "make the database if there is none" },
  "busy-timeout": {
    kind: "duration",
    default: "5s",
    help: "wait this long for locks of other clients",
  },
} as const satisfies FlagTable

type SqlArgs = ParsedArgs<typeof FLAGS>

export const SQL = command({
  name: "sql",
  flags: FLAGS,
  words: { placeholder: "DB", countMin: 1, countMax: 2 },
  about: `The sql command will run SQL on a database, for images that have no sqlite3. It
is a client of the database like any other.`,
  usage: "litefs sql [flags] DB [SQL]",
  notes: `DB is the name of a database in the mount, or the path of any database: a word
with a slash in it. Without SQL a terminal gets a prompt, with a history, Tab for
names, and .help; else the standard input is read. It may be several statements; at the first one that fails, the others are not run, and a
transaction that is open is rolled back.

In JSON a BLOB is its bytes in hexadecimal; --raw prints the bytes as they are,
and nothing for NULL.

The exit code is 0, 1 for a failure, and 2 if the command line is wrong.`,
  examples: `# a look
litefs sql app.db 'SELECT * FROM users LIMIT 10'

# a prompt
litefs sql app.db

# a schema, where the primary is
litefs run --if-primary -- litefs sql --create app.db < schema.sql

# on a replica, while nobody else writes
litefs sql --with-halt-lock app.db "UPDATE jobs SET state = 'new'"

# one value, in a script
count=$(litefs sql --raw app.db 'SELECT count(*) FROM users')

# for jq
litefs sql --json app.db 'SELECT id, name FROM users' | jq -r '.[].name'`,
  run: sql,
})

/** The exit code of a program whose reader has gone: 128 and SIGPIPE. */
const NO_READER = 141

async function sql(args: SqlArgs, io: CliIo): Promise<number> {
  const { values, words } = args
  if (values.json && values.raw) {
    throw args.usageError("both --json and --raw are given, give one of them")
  }
  const format = values.json ? "json" : values.raw ? "raw" : "table"
  const busyMs = values["busy-timeout"]
  const path = existingPath(words[0] ?? "", args)
  const keyboard = words[1] === undefined ? io.keyboard?.() : undefined
  const text = words[1] ?? (keyboard === undefined ? await readText(io) : "")

  const sqlite = await import("../../sys/bun/sqlite.ts")
  using _lock = values["with-halt-lock"]
    ? await takeHaltLock(words[0] ?? "", path, io.clock, busyMs)
    : undefined
  let at: SqlStatement | undefined
  try {
    using connection = new sqlite.SqlConnection(path, { canCreate: values.create, busyMs })
    if (values["read-only"]) connection.run("PRAGMA query_only = ON")
    if (keyboard !== undefined) {
      const { SqlPrompt } = await import("./sql-prompt.ts")
      const explain = (error: unknown) => explained(error, path, sqlite.SqlError)
      return await new SqlPrompt({ connection, path, format, io, keyboard, explain }).run()
    }
    const statements = splitStatements(text)
    for (at of statements) await runStatement(connection, at.text, format, io)
    if (!connection.isInTransaction) return 0
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EPIPE") return NO_READER
    if (!(error instanceof sqlite.SqlError)) throw error
    const doing = at === undefined ? `open "${path}"` : `run the statement in line ${at.line}`
    const isDotted = at?.text.startsWith(".") === true
    const advice = isDotted ? "; what begins with a dot is for the prompt, without SQL" : ""
    const message = `Cannot ${doing}: ${explained(error, path, sqlite.SqlError)}${advice}`
    throw new LitefsError("io", message, { cause: error })
  }
  throw new LitefsError(
    "io",
    "Cannot end: a transaction is open and was rolled back, the last statement should be COMMIT",
  )
}

/** What SQLite says, and why it may say so here; other errors are not ours to tell. */
function explained(error: unknown, path: string, kind: typeof SqlError): string {
  if (!(error instanceof kind)) throw error
  return `${error.message}${hint(error.code, path)}`
}

function existingPath(name: string, args: SqlArgs): string {
  const { values } = args
  if (name === "" || name.includes("\0")) throw args.usageError(`"${name}" is not a database`)
  const path = databasePath(name, fuseDirOf(args))
  const isThere = existsSync(path)
  // What is made beneath a mount that is not there yet, nobody replicates, and nobody sees once it is.
  if (isThere || (values.create && misplacement(name, path) === undefined)) return path
  throw new LitefsError("not-found", `Cannot open "${name}": ${missing(name, path)}`)
}

function missing(name: string, path: string): string {
  const elsewhere = misplacement(name, path)
  if (elsewhere !== undefined) return elsewhere
  const dir = dirname(path)
  const guess = nearest(path.slice(dir.length + 1), readdirSync(dir))
  const advice = guess === undefined ? "--create makes it" : `did you mean ${guess}?`
  return `there is no such file in "${dir}", ${advice}`
}

/** On a replica the mount refuses, and SQLite's message does not say why. */
function hint(code: string, path: string): string {
  if (!/^SQLITE_(READONLY|IOERR|CANTOPEN|PERM)/.test(code)) return ""
  const death = deathOfMount(dirname(path)) // the kernel may have let us find the file
  if (death !== undefined) return `; ${death}`
  const primary = contentBeside(path, ".primary")
  if (primary !== undefined) {
    const where = `; this node is a replica, writes belong on the primary, ${primary}`
    return code.startsWith("SQLITE_CANTOPEN") ? where : `${where}, or need --with-halt-lock`
  }
  const lagMs = Number(contentBeside(path, ".lag") ?? 0)
  return lagMs === 0 ? "" : "; this node is a replica, and not connected to its primary"
}

/** Of a file that a mount has; undefined when there is none. */
function contentBeside(path: string, name: string): string | undefined {
  try {
    return readFileSync(join(dirname(path), name), "utf8").trim()
  } catch {
    return undefined
  }
}

async function readText(io: CliIo): Promise<string> {
  const parts: Uint8Array[] = []
  for await (const part of io.stdin()) parts.push(part)
  return Buffer.concat(parts).toString()
}
