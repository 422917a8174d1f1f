import { UsedEntry } from "./used-entry.ts"

/**
 * A file that clients may read, write and map past the daemon (fuse/passthrough.ts). Which way they have it open is
 * decided by whoever opens it first, and holds until nobody has it open.
 */
export abstract class PassedEntry extends UsedEntry {
  #backingId = 0

  /** Whether clients that open it now may pass the daemon. */
  protected abstract readonly mayPass: boolean
  protected abstract openBacking(): number
  protected abstract closeBacking(number: number): void

  /** Clients have it open past the daemon. */
  get isPassed(): boolean {
    return this.#backingId > 0
  }

  override get backingId(): number {
    return this.#backingId
  }

  override opened(): void {
    const isFirst = !this.hasUsers
    super.opened()
    if (!isFirst || !this.mayPass) return
    this.#backingId = Math.max(0, this.openBacking())
  }

  override released(): void {
    super.released()
    if (this.hasUsers || !this.isPassed) return
    this.closeBacking(this.#backingId)
    this.#backingId = 0
  }
}
