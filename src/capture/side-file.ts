/**
 * Old pages that are kept for the snapshots of one database: all that are being read share it. What a client is about to
 * change is copied once, however many want it as it was, so they cost it no more than one does.
 *
 *   enter() ─▶ begin() ── slotOf()… ── begin() ── … ─▶ release() ─▶ the last one has left: the file is gone
 *
 * A slot is a page; who has got one keeps it until it leaves. One that nobody keeps is used again.
 */
import { BackedFile } from "../store/backed-file.ts"
import { unlinkFile } from "../sys/file.ts"
import type { Region } from "../sys/memory.ts"
import { threadId } from "../sys/thread.ts"

export class SideFile {
  /** Where any thread of this process finds it: it has no name, so that who is killed leaves nothing behind. */
  readonly path: string
  readonly pageSize: number
  readonly #file: BackedFile
  readonly #uses: number[] = [] // of each slot
  readonly #free: number[] = []
  /** What was copied of the pages that change now, by where it was read. */
  readonly #copied = new Map<number, number>()
  #userCount = 0

  /** Makes the file at `path`, for as long as it takes. */
  constructor(path: string, pageSize: number) {
    this.pageSize = pageSize
    this.#file = new BackedFile("snapshot", path)
    this.path = `/proc/self/task/${threadId()}/fd/${this.#file.create()}`
    try {
      unlinkFile("snapshot:unlink", path)
    } catch {
      // It is in nobody's way, and the next start removes it.
    }
  }

  enter(): void {
    this.#userCount += 1
  }

  /** Something is about to change, and nothing has yet. */
  begin(): void {
    this.#copied.clear()
  }

  /** The slot of a page. One that is read at the same place (the caller's number) as one just now is not copied anew. */
  slotOf(place: number | undefined, read: () => Region): number {
    const known = place === undefined ? undefined : this.#copied.get(place)
    if (known !== undefined) {
      this.#uses[known] = (this.#uses[known] ?? 0) + 1
      return known
    }
    const slot = this.#free.pop() ?? this.#uses.length
    this.#uses[slot] = 0
    try {
      this.#file.write(read().address, this.pageSize, slot * this.pageSize)
    } catch (error) {
      this.#free.push(slot)
      throw error
    }
    this.#uses[slot] = 1
    if (place !== undefined) this.#copied.set(place, slot)
    return slot
  }

  /** One who has entered leaves, and its slots with it. True when it was the last. Does not throw. */
  release(slots: readonly number[]): boolean {
    for (const slot of slots) {
      const uses = (this.#uses[slot] ?? 0) - 1
      this.#uses[slot] = uses
      if (uses === 0) this.#free.push(slot)
    }
    this.#copied.clear()
    this.#userCount -= 1
    if (this.#userCount > 0) return false
    this.#file.close()
    return true
  }
}
