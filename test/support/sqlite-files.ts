import { Database } from "bun:sqlite"
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

/**
 * A database on disk with its side files, made by the SQLite that is in Bun. Removed when disposed.
 */
export class SqliteFiles implements Disposable {
  readonly #directory = mkdtempSync(join(tmpdir(), "litefs-sqlite-"))
  readonly path = join(this.#directory, "db")
  readonly database = new Database(this.path)

  constructor(...pragmas: readonly string[]) {
    for (const pragma of pragmas) this.run(`PRAGMA ${pragma}`)
  }

  run(sql: string): void {
    this.database.run(sql)
  }

  /** A copy of the file as it is now; a suffix such as "-wal" for a side file. */
  read(suffix = ""): Uint8Array<ArrayBuffer> {
    const path = this.path + suffix
    return new Uint8Array(existsSync(path) ? readFileSync(path) : [])
  }

  /** What SQLite calls its result: the value in the first column. */
  value(sql: string): unknown {
    return Object.values(this.database.query(sql).get() ?? {})[0]
  }

  [Symbol.dispose](): void {
    this.database.close()
    rmSync(this.#directory, { recursive: true })
  }
}
