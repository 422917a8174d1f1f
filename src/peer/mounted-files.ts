/**
 * The files of one database as opened through our own mount, to take part in SQLite's locking there.
 *
 *   detached ── attach() ──▶ attached (in WAL mode with SHARED and DMS) ── detach() ──▶ detached
 *
 * Whoever holds one of these must not be the fs thread, which answers the opens.
 */
import { join } from "node:path"
import type { Clock } from "../lib/clock.ts"
import { sleep } from "../lib/clock.ts"
import type { Logger } from "../lib/log.ts"
import {
  closeFile,
  emptyStatus,
  type Fd,
  O_CREAT,
  O_RDONLY,
  O_RDWR,
  openFile,
  statusOf,
} from "../sys/file.ts"
import * as access from "./exclusive-access.ts"

/** The kernel's node of a file of the mount. */
export function nodeIdOf(directory: string, name: string): number {
  const fd = openFile("mount:open", join(directory, name), O_RDONLY)
  try {
    const status = emptyStatus()
    statusOf("mount:stat", fd, status)
    return status.inode
  } finally {
    closeFile(fd)
  }
}

/** From here on new readers are kept out until the old ones are done. */
const PATIENCE_MS = 100
const COMPLAINT_MS = 5000
const WAIT_MS_MAX = 10

export class MountedFiles {
  readonly #name: string
  readonly #directory: string
  readonly #clock: Clock
  readonly #log: Logger
  #database: Fd | undefined
  #shm: Fd | undefined
  #nodeId = 0

  constructor(name: string, directory: string, clock: Clock, log: Logger) {
    this.#name = name
    this.#directory = directory
    this.#clock = clock
    this.#log = log
  }

  /** The kernel's node of the database file. */
  get nodeId(): number {
    return this.#nodeId
  }

  /** The wal-index, when the database is in WAL mode. */
  get shm(): Fd | undefined {
    return this.#shm
  }

  async attach(isWalMode: boolean): Promise<void> {
    if (this.#database === undefined) {
      const path = join(this.#directory, this.#name)
      const database = openFile("mount:open", path, O_RDWR)
      const status = emptyStatus()
      statusOf("mount:stat", database, status)
      this.#database = database
      this.#nodeId = status.inode
    }
    if (!isWalMode) this.#leaveWalMode()
    if (isWalMode && this.#shm === undefined) {
      const path = join(this.#directory, `${this.#name}-shm`)
      const database = this.#database
      await this.#until("share the database", () => access.tryShare(database))
      const shm = openFile("mount:open", path, O_RDWR | O_CREAT)
      await this.#until("share the wal-index", () => access.tryShareWalIndex(shm))
      this.#shm = shm
    }
  }

  #leaveWalMode(): void {
    if (this.#shm === undefined) return
    closeFile(this.#shm)
    this.#shm = undefined
    if (this.#database !== undefined) access.releaseFile(this.#database)
  }

  /** Gives up all locks with the files. */
  detach(): void {
    if (this.#shm !== undefined) closeFile(this.#shm)
    if (this.#database !== undefined) closeFile(this.#database)
    this.#shm = undefined
    this.#database = undefined
  }

  /** Runs `write` while no client is in a transaction. */
  async exclusively(isWalMode: boolean, write: () => void): Promise<void> {
    const { database, shm } = this.#open()
    if (isWalMode && shm !== undefined) {
      await this.#until("write the wal-index", () => access.tryLockWalIndex(shm))
      try {
        write()
      } finally {
        access.releaseWalIndex(shm)
      }
      return
    }
    await this.#until("write the database", (isLate) => access.tryLockFile(database, isLate))
    try {
      write()
    } finally {
      access.releaseFile(database)
    }
  }

  #open(): { database: Fd; shm: Fd | undefined } {
    if (this.#database === undefined) throw new Error(`"${this.#name}" is not attached`)
    return { database: this.#database, shm: this.#shm }
  }

  async #until(what: string, attempt: (isLate: boolean) => boolean): Promise<void> {
    const start = this.#clock.monotonicMs()
    let waitMs = 0
    let hasComplained = false
    for (;;) {
      const waitedMs = this.#clock.monotonicMs() - start
      if (attempt(waitedMs > PATIENCE_MS)) return
      if (waitedMs > COMPLAINT_MS && !hasComplained) {
        hasComplained = true
        this.#log.warn(`waiting for readers to ${what}`, { db: this.#name })
      }
      await sleep(this.#clock, waitMs)
      waitMs = Math.min(waitMs === 0 ? 1 : waitMs * 2, WAIT_MS_MAX)
    }
  }
}
