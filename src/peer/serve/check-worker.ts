/** The thread that checks a file before it is imported, and prepares the import, as the main thread sees it. */
import { callOnce } from "../../lib/port.ts"

export interface CheckRequest {
  readonly dataDir: string
  readonly database: string
  /** DataDir.importPath() */
  readonly file: number
  /** Whether SQLite is to check the whole of it, and not only what the header says. */
  readonly isThorough: boolean
}

export interface CheckThread {
  /** Fails when something keeps the file from being imported. */
  check(request: CheckRequest): void
}

/** Throws when the file cannot take the place of a database. Ends the worker. */
export function checkImport(worker: Worker, request: CheckRequest): Promise<void> {
  return callOnce<CheckThread, "check">(worker, "the thread that checks it", "check", request)
}
