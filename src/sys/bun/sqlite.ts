/** SQLite itself, for what only it can judge. Only this file knows bun:sqlite. */
import { constants, Database, SQLiteError, type Statement } from "bun:sqlite"

/**
 * What `PRAGMA integrity_check` says, at most `countMax` lines; nothing for an intact database.
 *
 * SQLite opens the file as one that nobody changes ("immutable"): it takes no locks, looks for no journal and no WAL
 * beside it, and writes nothing. The file alone has to be the database.
 */
export function integrityProblems(path: string, countMax: number): string[] {
  const uri = `file://${path.split("/").map(encodeURIComponent).join("/")}?immutable=1`
  try {
    using database = new Database(uri, constants.SQLITE_OPEN_READONLY | constants.SQLITE_OPEN_URI)
    const rows = database.query(`PRAGMA integrity_check(${countMax})`).values()
    return rows.map(([line]) => String(line)).filter((line) => line !== "ok")
  } catch (error) {
    if (error instanceof SQLiteError) return [error.message]
    throw error
  }
}

/** Integers are bigints, and a number is therefore a float. */
export type SqlValue = bigint | number | string | Uint8Array | null

export interface SqlResult {
  /** Empty for a statement that by its nature returns no rows. */
  readonly columns: readonly string[]
  /** Read while the statement runs; the caller must read to the end. */
  readonly rows: Iterable<readonly SqlValue[]>
}

export interface SqlOptions {
  readonly canCreate: boolean
  /** Milliseconds of waiting for a lock. */
  readonly busyMs: number
}

/** What SQLite says, with the name of its extended code, like `SQLITE_READONLY`. */
export class SqlError extends Error {
  override readonly name = "SqlError"
  readonly code: string

  constructor(message: string, code: string) {
    super(message)
    this.code = code
  }
}

/** A connection of an ordinary client. Throws SQLite's errors as SqlError. */
export class SqlConnection implements Disposable {
  readonly #database: Database

  constructor(path: string, { canCreate, busyMs }: SqlOptions) {
    const options = { readwrite: true, create: canCreate, safeIntegers: true }
    this.#database = asSqlError(() => new Database(path, options))
    this.#database.run(`PRAGMA busy_timeout = ${Math.round(busyMs)}`)
  }

  get isInTransaction(): boolean {
    return this.#database.inTransaction
  }

  /** Runs one statement, to its end unless it has columns. */
  run(sql: string): SqlResult {
    const statement = asSqlError(() => this.#database.prepare(sql))
    const columns = statement.columnNames
    if (columns.length > 0) return { columns, rows: rowsOf(statement, columns) }
    try {
      asSqlError(() => statement.run())
    } finally {
      statement.finalize()
    }
    return { columns, rows: [] }
  }

  /** Rolls back an open transaction. A statement that was left unread would keep the connection, and its locks. */
  [Symbol.dispose](): void {
    if (this.#database.inTransaction) this.#database.run("ROLLBACK")
    this.#database.close(true)
  }
}

type Row = Readonly<Record<string, SqlValue>>

function* rowsOf(statement: Statement, columns: readonly string[]): Generator<readonly SqlValue[]> {
  try {
    if (new Set(columns).size < columns.length) {
      // A row by names would lack columns with repeated names.
      yield* asSqlError(() => statement.values()) as SqlValue[][]
      return
    }
    const rows = statement.iterate() as IterableIterator<Row>
    for (;;) {
      const next = asSqlError(() => rows.next())
      if (next.done) return
      const row: Row = next.value
      yield columns.map((column) => row[column] ?? null)
    }
  } finally {
    statement.finalize()
  }
}

function asSqlError<T>(action: () => T): T {
  try {
    return action()
  } catch (error) {
    if (error instanceof SQLiteError)
      throw new SqlError(error.message, error.code ?? "SQLITE_ERROR")
    throw error
  }
}
