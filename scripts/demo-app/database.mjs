/**
 * What the application keeps: notes, files, and who is signed in, so that every node knows them.
 *
 * All that LiteFS asks of it is to look at `.primary` beside the database before it writes: when the file is there,
 * this node is a replica and the file names the primary.
 */
import { createHash, randomUUID } from "node:crypto"
import { readFileSync } from "node:fs"
import { dirname, join } from "node:path"
import Database from "better-sqlite3"

const { DATABASE } = process.env

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS sessions (id TEXT PRIMARY KEY, name TEXT NOT NULL);
  CREATE TABLE IF NOT EXISTS notes
    (id INTEGER PRIMARY KEY, name TEXT NOT NULL, text TEXT NOT NULL, at TEXT NOT NULL);
  CREATE TABLE IF NOT EXISTS files
    (id INTEGER PRIMARY KEY, name TEXT NOT NULL, sha256 TEXT NOT NULL, content BLOB NOT NULL);
`

/** The host and port of the primary, or undefined when this node is the primary. */
export function primary() {
  try {
    return readFileSync(join(dirname(DATABASE), ".primary"), "utf8").trim()
  } catch (error) {
    if (error.code === "ENOENT") return undefined
    throw error
  }
}

let connection
let hasSchema = false

/** One connection for as long as the program runs, or undefined: a replica may have nothing yet. */
function database() {
  const isReplica = primary() !== undefined
  try {
    connection ??= new Database(DATABASE, { fileMustExist: isReplica, timeout: 5000 })
  } catch (error) {
    if (isReplica && error.code === "SQLITE_CANTOPEN") return undefined
    throw error
  }
  if (!isReplica && !hasSchema) {
    connection.pragma("journal_mode = WAL")
    connection.exec(SCHEMA)
    hasSchema = true
  }
  return connection
}

export function close() {
  connection?.close()
}

/** Rows, or none while the tables are still on their way. */
function rows(sql, ...values) {
  try {
    return (
      database()
        ?.prepare(sql)
        .all(...values) ?? []
    )
  } catch (error) {
    if (/no such table/.test(error.message)) return []
    throw error
  }
}

function write(sql, ...values) {
  database()
    .prepare(sql)
    .run(...values)
}

/** Changes with every transaction of anybody else: on a replica, with every one that comes. */
export function version() {
  return database()?.pragma("data_version", { simple: true })
}

export function notes() {
  return rows("SELECT id, name, text, at FROM notes ORDER BY id DESC LIMIT 50")
}

export function addNote(name, text) {
  const at = new Date().toISOString()
  write("INSERT INTO notes (name, text, at) VALUES (?, ?, ?)", name, text, at)
}

export function files() {
  return rows(
    "SELECT id, name, sha256, length(content) AS size FROM files ORDER BY id DESC LIMIT 50",
  )
}

export function file(id) {
  return rows("SELECT name, content FROM files WHERE id = ?", id)[0]
}

export function addFile(name, content) {
  const sha256 = createHash("sha256").update(content).digest("hex")
  write("INSERT INTO files (name, sha256, content) VALUES (?, ?, ?)", name, sha256, content)
}

/** The name of who is signed in with this session; undefined when nobody is. */
export function nameOf(session) {
  return rows("SELECT name FROM sessions WHERE id = ?", session ?? "")[0]?.name
}

export function signIn(name) {
  const id = randomUUID()
  write("INSERT INTO sessions (id, name) VALUES (?, ?)", id, name)
  return id
}

export function signOut(session) {
  write("DELETE FROM sessions WHERE id = ?", session ?? "")
}
