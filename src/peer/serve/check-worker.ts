/** The thread that checks a file before it is imported, and prepares the import, as the main thread sees it. */
import { type ErrorCode, LitefsError } from "../../lib/errors.ts"

export interface CheckRequest {
  readonly dataDir: string
  readonly database: string
  /** DataDir.importPath() */
  readonly file: number
  /** Whether SQLite is to check the whole of it, and not only what the header says. */
  readonly isThorough: boolean
}

/** What keeps the file from being imported. */
export type CheckResult = { readonly code: ErrorCode; readonly problem: string } | undefined

/** Throws when the file cannot take the place of a database. Ends the worker. */
export async function checkImport(worker: Worker, request: CheckRequest): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<CheckResult>()
  worker.onmessage = ({ data }: MessageEvent<CheckResult>) => resolve(data)
  worker.onerror = (event) => reject(new Error(event.message))
  worker.addEventListener("close", () => reject(new Error("the thread that checks it has ended")))
  worker.postMessage(request)
  try {
    const result = await promise
    if (result === undefined) return
    throw new LitefsError(result.code, `Cannot import "${request.database}": ${result.problem}`)
  } finally {
    worker.terminate()
  }
}
