/** What the two threads of a simulated node share: memory, the disk, the locks of clients, and frozen databases. */

import type { HistoryState } from "../../src/capture/history.ts"
import { PageChecksums } from "../../src/capture/page-checksums.ts"
import { sleep } from "../../src/lib/clock.ts"
import { LitefsError } from "../../src/lib/errors.ts"
import { Gate } from "../../src/lib/gate.ts"
import type { Pos } from "../../src/ltx/pos.ts"
import type { Databases } from "../../src/node/storage/databases.ts"
import type { Canary } from "./canaries.ts"
import type { Disk, Pages, StoredState } from "./disk.ts"
import type { Process } from "./scheduler.ts"

/** Who keeps account of what happens to databases. */
export interface Account {
  /** A primary has it on its disk, and may end before it is there: the next start finds it. */
  made(step: Reached): void
  /** A database of the node is at the position from here on. */
  reached(node: string, step: Reached): void
  /** A client's transaction is durable on a primary. */
  committed(node: string, database: string, pos: Pos): void
}

export interface Reached {
  readonly database: string
  /** Undefined after a snapshot. */
  readonly before: Pos | undefined
  readonly after: Pos
  readonly pages: Pages
  /** It was made here, or by who has borrowed the database from here. */
  readonly isNew: boolean
}

export interface SharedByThreads {
  readonly process: Process
  readonly databases: Databases
  readonly disk: Disk
  readonly locks: WriteLocks
  readonly frozen: Map<number, StoredState>
  readonly account: Account
  readonly canary: Canary | undefined
  readonly nodeId: () => bigint
}

/** SQLite's WRITE locks: a client has one while it commits, and the daemon takes them to keep clients from it. */
export class WriteLocks {
  readonly #process: Process
  readonly #writing = new Set<string>()
  readonly #held = new Map<number, readonly string[]>()
  readonly #news = new Gate()
  #last = 0

  constructor(process: Process) {
    this.#process = process
  }

  /** False: SQLITE_BUSY. */
  beginWriting(database: string): boolean {
    if (this.#writing.has(database) || this.#isHeld(database)) return false
    this.#writing.add(database)
    return true
  }

  endWriting(database: string): void {
    this.#writing.delete(database)
    this.#news.open()
  }

  #isHeld(database: string): boolean {
    return [...this.#held.values()].some((names) => names.includes(database))
  }

  async lock(names: readonly string[], limitMs: number): Promise<number> {
    const { clock } = this.#process
    const isFree = () => names.every((name) => !this.#writing.has(name) && !this.#isHeld(name))
    const endMs = clock.monotonicMs() + limitMs
    while (!isFree()) {
      const leftMs = endMs - clock.monotonicMs()
      if (leftMs <= 0) throw new LitefsError("unavailable", `clients write to "${names.join()}"`)
      await Promise.race([this.#news.wait(), sleep(clock, Math.min(leftMs, 1000))])
    }
    this.#last += 1
    this.#held.set(this.#last, names)
    return this.#last
  }

  unlock(lock: number): void {
    this.#held.delete(lock)
    this.#news.open()
  }

  unlockAll(): void {
    this.#held.clear()
    this.#news.open()
  }
}

/** As recovery makes it of what is on the disk. */
export function historyStateOf({
  pos,
  pageSize,
  commit,
  timestampMs,
  pages,
}: StoredState): HistoryState {
  const sums = new PageChecksums(commit)
  for (const [pgno, page] of pages) sums.setPage(pgno, page)
  return { pos, pageSize, commit, sums, timestampMs }
}
