/**
 * A Worker that looks at one database file and says whether it can be imported. It is a thread of its own since
 * SQLite's integrity check takes as long as the file is large, and nobody else should wait for it.
 */
import { messageOf } from "../lib/errors.ts"
import {
  DATABASE_HEADER_SIZE,
  decodeDatabaseHeader,
  trustedPageCount,
} from "../sqlite/database-header.ts"
import { FileSource } from "../store/file-source.ts"
import { integrityProblems } from "../sys/sqlite.ts"
import type { CheckRequest, CheckResult } from "./check-worker.ts"

declare const self: Worker

/** What is wrong with the file, as the end of a sentence; undefined when nothing is. */
function problemOf({ path, isThorough }: CheckRequest): string | undefined {
  using file = FileSource.open(path)
  if (file === undefined) return "it is gone"
  const bytes = new Uint8Array(DATABASE_HEADER_SIZE)
  const header = decodeDatabaseHeader(bytes.subarray(0, file.readAt(0, bytes)))
  if (header === undefined) return "it does not start like a SQLite database"
  const { pageSize } = header
  const pageCount = trustedPageCount(header) ?? Math.ceil(file.size / pageSize)
  if (file.size !== pageCount * pageSize) {
    return `it has ${file.size} bytes, its header says ${pageCount} pages of ${pageSize}`
  }
  const [problem] = isThorough ? integrityProblems(path, 1) : []
  return problem === undefined ? undefined : `it is corrupt: ${problem.replaceAll("\n", ", ")}`
}

self.onmessage = ({ data }: MessageEvent<CheckRequest>) => {
  let result: CheckResult
  try {
    result = { problem: problemOf(data) }
  } catch (error) {
    result = { problem: `it cannot be read: ${messageOf(error)}` }
  }
  self.postMessage(result)
}
