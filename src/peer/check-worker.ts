/** The thread that checks a file before it is imported, as the main thread sees it. */
import { LitefsError } from "../lib/errors.ts"

export interface CheckRequest {
  readonly path: string
  /** Whether SQLite is to check the whole of it, and not only what the header says. */
  readonly isThorough: boolean
}

export interface CheckResult {
  readonly problem: string | undefined
}

/** Throws when the file cannot take the place of a database. Ends the worker. */
export async function checkDatabaseFile(
  worker: Worker,
  name: string,
  request: CheckRequest,
): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<CheckResult>()
  worker.onmessage = ({ data }: MessageEvent<CheckResult>) => resolve(data)
  worker.onerror = (event) => reject(new Error(event.message))
  worker.postMessage(request)
  try {
    const { problem } = await promise
    if (problem === undefined) return
    throw new LitefsError("usage", `Cannot import "${name}": the file is not usable, ${problem}`)
  } finally {
    worker.terminate()
  }
}
