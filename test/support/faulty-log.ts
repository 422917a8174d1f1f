/**
 * A Worker in which system calls fail: `LITEFS_FAULTS` is read when a thread starts. It appends transactions to a
 * commit log and says what came of each.
 */
import { CommitLog } from "../../src/store/log/commit-log.ts"

export interface FaultyLogRequest {
  readonly root: string
  readonly paths: readonly string[] // of the LTX files of the transactions
  readonly bytes: Uint8Array // what each of them holds
}

declare const self: Worker

self.onmessage = ({ data }: MessageEvent<FaultyLogRequest>) => {
  const log = new CommitLog({
    root: data.root,
    nextSequence: 1n,
    isFree: () => true,
    onFull: () => {},
  })
  const outcomes = data.paths.map((path, index) => {
    const step = { made: "", materialized: "" }
    try {
      const writer = log.begin("app.db", BigInt(index + 1), path)
      writer.append(data.bytes)
      writer.commit()
      step.made = "ok"
      log.materialize("app.db")
      step.materialized = "ok"
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error)
      if (step.made === "") step.made = text
      else step.materialized = text
    }
    return step
  })
  log.close()
  postMessage(outcomes)
}

/** Runs the request in such a thread. */
export async function withFaults(faults: string, request: FaultyLogRequest) {
  const worker = new Worker(new URL(import.meta.url).href, {
    env: { ...process.env, LITEFS_FAULTS: faults } as Record<string, string>,
  })
  try {
    const { promise, resolve, reject } =
      Promise.withResolvers<{ readonly made: string; readonly materialized: string }[]>()
    worker.onmessage = ({ data }) => resolve(data)
    worker.onerror = (event) => reject(new Error(event.message))
    worker.postMessage(request)
    return await promise
  } finally {
    worker.terminate()
  }
}
