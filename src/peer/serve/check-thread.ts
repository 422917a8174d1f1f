/**
 * A Worker that checks one database file for an import, and prepares the import. It is a thread of its own because both
 * take time in proportion to the file's size, and nobody else should wait for it.
 */
import { type ErrorCode, LitefsError, messageOf } from "../../lib/errors.ts"
import { hostPort } from "../../lib/port.ts"
import {
  DATABASE_HEADER_SIZE,
  decodeDatabaseHeader,
  trustedPageCount,
} from "../../sqlite/database-header.ts"
import { DataDir } from "../../store/data-dir.ts"
import { FileSource } from "../../store/ltx/file-source.ts"
import { integrityProblems } from "../../sys/bun/sqlite.ts"
import { isNoSpace } from "../../sys/errno.ts"
import { freeMemory } from "../../sys/memory.ts"
import type { CheckRequest, CheckThread } from "./check-worker.ts"
import { prepareImport } from "./import-preparation.ts"

declare const self: Worker

/** What is wrong with the file, as the end of a sentence; undefined when nothing is. */
function problemOf(path: string, isThorough: boolean): string | undefined {
  using file = FileSource.open(path)
  if (file === undefined) return "it is gone"
  const bytes = new Uint8Array(DATABASE_HEADER_SIZE)
  const header = decodeDatabaseHeader(bytes.subarray(0, file.readAt(0, bytes)))
  if (header === undefined) return "it does not start like a SQLite database"
  const { pageSize } = header
  const pageCount = trustedPageCount(header) ?? Math.ceil(file.size / pageSize)
  // A file may be longer than its database (SQLITE_FCNTL_CHUNK_SIZE).
  if (file.size < pageCount * pageSize) {
    return `it has ${file.size} bytes, its header says ${pageCount} pages of ${pageSize}`
  }
  const [problem] = isThorough ? integrityProblems(path, 1) : []
  return problem === undefined ? undefined : `it is corrupt: ${problem.replaceAll("\n", ", ")}`
}

function check({ dataDir: root, database, file, isThorough }: CheckRequest): void {
  const dataDir = new DataDir(root)
  try {
    const problem = problemOf(dataDir.importPath(file), isThorough)
    if (problem !== undefined) {
      throw new LitefsError("usage", `the file is not usable, ${problem}`)
    }
    prepareImport(dataDir, database, file)
  } catch (error) {
    throw new LitefsError(codeOf(error), `Cannot import "${database}": ${messageOf(error)}`)
  } finally {
    freeMemory() // it ends after its answer
  }
}

function codeOf(error: unknown): ErrorCode {
  if (error instanceof LitefsError) return error.code
  return isNoSpace(error) ? "no-space" : "io"
}

hostPort<CheckThread, object>(self, { check })
