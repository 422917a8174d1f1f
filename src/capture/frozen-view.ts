/**
 * The database as it is at one position, kept readable while clients go on writing: copy on write.
 *
 * The peer thread reads the pages of a snapshot at its own speed. Before the fs thread lets a client overwrite a page
 * that has not been read yet, it saves the old content to a side file. It takes no lock, no client waits, and the WAL
 * is not pinned either.
 *
 * 1. A page of the frozen state is in the side file if it is marked, else in the WAL frame that held it when the
 *    view was made, else in the database file.
 * 2. Views of one database share the side file (side-file.ts): of what several want, one copy is made.
 * 3. A checkpoint overwrites the page in the database file, so it saves the page first. When the WAL is
 *    restarted, every page that was in it has been checkpointed: before the view was made, then the database
 *    file holds it, or after, then it is marked.
 */
import { lockPgno } from "../ltx/checksum.ts"
import type { Pos } from "../ltx/pos.ts"
import { disguiseHeader } from "../sqlite/header-disguise.ts"
import { WAL_FRAME_HEADER_SIZE, walFrameOffset } from "../sqlite/wal.ts"
import type { BackedFile } from "../store/backed-file.ts"
import { allocate, type Region } from "../sys/memory.ts"
import { FrozenPages } from "./frozen-pages.ts"
import type { HistoryState } from "./history.ts"
import type { SideFile } from "./side-file.ts"
import type { WalFrames } from "./wal-frames.ts"

/** What the reader needs to know; it can be sent between threads. */
export interface FrozenState {
  readonly pos: Pos
  readonly pageSize: number
  readonly commit: number
  readonly timestampMs: number
  readonly pages: SharedArrayBuffer // FrozenPages
  readonly walOffsets: ReadonlyMap<number, number> // pgno → offset of its content in the WAL
  /**
   * The disguise in the header counters of page 1 in the WAL, which readers take out again: sqlite/header-disguise.ts.
   */
  readonly walDisguise: number
  readonly sidePath: string
}

export interface FrozenFiles {
  readonly database: BackedFile
  readonly wal: BackedFile
  readonly walDisguise: number
  /** This view no longer needs its pages. */
  closed?(): void
}

const page = allocate(65536)

export class FrozenView {
  readonly state: FrozenState
  readonly #pages: FrozenPages
  readonly #database: BackedFile
  readonly #wal: BackedFile
  readonly side: SideFile
  readonly #closed: FrozenFiles["closed"]
  readonly #slots: number[] = [] // of the side file

  constructor(
    history: Omit<HistoryState, "sums">,
    frames: Pick<WalFrames, "entries">,
    { database, wal, walDisguise, closed }: FrozenFiles,
    side: SideFile,
  ) {
    const { pos, pageSize, commit, timestampMs } = history
    this.#database = database
    this.#wal = wal
    this.#closed = closed
    this.side = side
    this.#pages = FrozenPages.create(commit)
    this.#pages.nextToRead = 1
    const walOffsets = new Map<number, number>()
    for (const [pgno, frame] of frames.entries()) {
      walOffsets.set(pgno, walFrameOffset(frame, pageSize) + WAL_FRAME_HEADER_SIZE)
    }
    this.state = {
      pos,
      pageSize,
      commit,
      timestampMs,
      pages: this.#pages.memory,
      walOffsets,
      walDisguise,
      sidePath: side.path,
    }
    side.enter()
  }

  /** Nobody saves pages any more: the view's reader fails. */
  break(): void {
    this.#pages.break()
  }

  /** Before bytes of the database file change. The side file has been told that something will. */
  saveRange(offset: number, size: number): void {
    const { pageSize, commit } = this.state
    const first = Math.floor(offset / pageSize) + 1
    const last = Math.min(Math.floor((offset + size - 1) / pageSize) + 1, commit)
    for (let pgno = first; pgno <= last; pgno++) this.save(pgno)
  }

  /** Before the content of a page changes, in the database file or in the WAL. */
  save(pgno: number): void {
    const { pageSize, commit } = this.state
    if (pgno > commit || pgno === lockPgno(pageSize) || pgno < this.#pages.nextToRead) return
    if (this.#pages.slot(pgno) !== undefined) return
    if (this.#pages.isBroken) return
    try {
      this.#copy(pgno)
    } catch {
      // A full disk ends the snapshot, not the client's write.
      this.#pages.break()
    }
  }

  #copy(pgno: number): void {
    const { walOffsets, walDisguise } = this.state
    const walOffset = this.#pages.isWalGone ? undefined : walOffsets.get(pgno)
    // A page that is to be changed back is a view's own.
    const place = pgno === 1 && walDisguise !== 0 ? undefined : (walOffset ?? -pgno)
    const slot = this.side.slotOf(place, () => this.#read(pgno, walOffset))
    this.#slots.push(slot)
    this.#pages.save(pgno, slot)
  }

  #read(pgno: number, walOffset: number | undefined): Region {
    const { pageSize, walDisguise } = this.state
    if (walOffset === undefined) {
      this.#database.readPadded(page, pageSize, (pgno - 1) * pageSize)
    } else {
      this.#wal.read(page.address, pageSize, walOffset)
      if (pgno === 1) disguiseHeader(page.bytes, 0, -walDisguise)
    }
    return page
  }

  /**
   * Before another file takes the place of the database file, and the WAL is emptied. The reader has the old file open,
   * so only pages in the WAL have to be saved.
   */
  leaveFile(): void {
    for (const pgno of this.state.walOffsets.keys()) this.save(pgno)
    this.loseWal()
  }

  /** Before the frames of the WAL go. */
  loseWal(): void {
    this.#pages.loseWal()
  }

  /** True when the side file went with it. Does not throw. */
  close(): boolean {
    this.#closed?.()
    return this.side.release(this.#slots)
  }
}
