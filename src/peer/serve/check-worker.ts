/** The thread that checks a file and prepares its import, as seen from the main thread. */
import { callOnce } from "../../lib/port.ts"

export interface CheckRequest {
  readonly dataDir: string
  readonly database: string
  /** DataDir.importPath() */
  readonly file: number
  /** Whether SQLite should check the whole file, not only its header. */
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
