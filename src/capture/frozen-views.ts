/**
 * The snapshots of one database that are being read: whoever changes the database tells each of them first. The thread
 * that has the database keeps this.
 */
import type { FrozenView } from "./frozen-view.ts"

export class FrozenViews {
  readonly #views = new Set<FrozenView>()

  add(view: FrozenView): FrozenView {
    this.#views.add(view)
    return view
  }

  /** Its reader is done with it. */
  thaw(view: FrozenView): void {
    this.#views.delete(view)
    view.close()
  }

  /** Before bytes of the database file change. */
  saveRange(offset: number, size: number): void {
    for (const view of this.#views) view.saveRange(offset, size)
  }

  /** Before the content of a page changes, in the WAL. */
  save(pgno: number): void {
    for (const view of this.#views) view.save(pgno)
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
    for (const view of this.#views) view.leaveFile()
    this.leave()
  }

  /** Their readers have the old file open, and nobody writes to it any more. */
  leave(): void {
    this.#views.clear()
  }
}
