/**
 * The snapshots of one database that are being read: whoever changes the database tells each of them first. The thread
 * that has the database keeps this.
 */
import { type FrozenFiles, FrozenView } from "./frozen-view.ts"
import type { HistoryState } from "./history.ts"
import { SideFile } from "./side-file.ts"
import type { WalFrames } from "./wal-frames.ts"

export class FrozenViews {
  readonly #views = new Set<FrozenView>()

  /** Where a view saves pages to, that is made now: as long as some are open, one file. */
  #side: SideFile | undefined

  /** The database as it is now. `sidePath` is for pages that are kept, if no other view has a file for them. */
  freeze(
    history: Omit<HistoryState, "sums">,
    frames: Pick<WalFrames, "entries">,
    files: FrozenFiles,
    sidePath: string,
  ): FrozenView {
    const { pageSize } = history
    if (this.#side?.pageSize !== pageSize) this.#side = new SideFile(sidePath, pageSize)
    const view = new FrozenView(history, frames, files, this.#side)
    this.#views.add(view)
    return view
  }

  /** Its reader is done with it. */
  thaw(view: FrozenView): void {
    this.#views.delete(view)
    if (view.close() && view.side === this.#side) this.#side = undefined
  }

  /** Before bytes of the database file change. */
  saveRange(offset: number, size: number): void {
    for (const view of this.#changing()) view.saveRange(offset, size)
  }

  /** Before the content of a page changes, in the WAL. */
  save(pgno: number): void {
    for (const view of this.#changing()) view.save(pgno)
  }

  /** Before the frames of the WAL go. */
  loseWal(): void {
    for (const view of this.#views) view.loseWal()
  }

  /** Another thread continues with the database and saves nothing: their readers fail. */
  break(): void {
    for (const view of this.#views) view.break()
  }

  /** Before another file takes the place of the database file. */
  leaveFile(): void {
    for (const view of this.#changing()) view.leaveFile()
    this.leave()
  }

  /** Their readers have the old file open, and nobody writes to it any more. */
  leave(): void {
    this.#views.clear()
    this.#side = undefined
  }

  /** The views, and what they have copied before is not what they copy next. */
  #changing(): ReadonlySet<FrozenView> {
    for (const { side } of this.#views) side.begin()
    return this.#views
  }
}
