/** Clients that write to the WAL of a database past the daemon, and what their wal-index says that is published. */
import type { WritersPast } from "../../capture/capture.ts"
import type { Published } from "../../capture/wal-tracker.ts"
import {
  barWalIndexHeader,
  decodeWalIndexHeader,
  readWalIndexHeader,
  WAL_INDEX_HEAD_SIZE,
  WAL_INDEX_HEADER_SIZE,
} from "../../sqlite/wal-index.ts"
import { allocate } from "../../sys/memory.ts"
import { processOfThread } from "../../sys/process/process.ts"
import type { MountedDatabase } from "./mounted-database.ts"

/** A writer changes the header within a microsecond, unless it is stopped there. */
const TRIES = 10

const head = allocate(4096)

export class IndexedWriters implements WritersPast {
  readonly #database: MountedDatabase

  constructor(database: MountedDatabase) {
    this.#database = database
  }

  get areThere(): boolean {
    return this.#database.log?.isPassed === true
  }

  isWriter(thread: number): boolean {
    const owner = this.#database.writer
    return owner !== undefined && owner === processOfThread(thread)
  }

  /** Nobody goes on with the wal-index, until the next daemon makes another one. The peer thread holds WRITE. */
  bar(): void {
    const { shm } = this.#database
    shm.readPadded(head, WAL_INDEX_HEADER_SIZE, 0)
    const header = head.bytes.slice(0, WAL_INDEX_HEADER_SIZE)
    if (decodeWalIndexHeader(header) === undefined) return // its clients have to recover it first, and cannot
    const barred = barWalIndexHeader(header, true)
    for (const offset of [WAL_INDEX_HEADER_SIZE, 0]) shm.writeBytes(barred, offset)
  }

  published(): Published | "changing" | undefined {
    const { shm, index } = this.#database
    // In locking_mode=EXCLUSIVE its only client has it in its memory.
    if (index?.isPassed !== true) return undefined
    for (let left = TRIES; left > 0; left--) {
      shm.readPadded(head, WAL_INDEX_HEAD_SIZE, 0)
      const header = readWalIndexHeader(head.bytes)
      if (header !== undefined) return header
    }
    return "changing"
  }
}
