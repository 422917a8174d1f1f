import type { BackedFile } from "../../store/backed-file.ts"
import type { Bypass } from "../bypass.ts"
import type { MountedDatabase } from "../databases/mounted-database.ts"
import { UsedEntry } from "./used-entry.ts"

/**
 * A file beside a database that clients may read, write and map past the daemon (mount/bypass.ts). Whoever opens it first
 * decides how everybody has it open until nobody has. Only SQLite passes: whoever else writes to the file does so through
 * the daemon, which refuses it, or not at all.
 */
export abstract class PassedEntry extends UsedEntry {
  protected readonly database: MountedDatabase
  #backingId = 0

  constructor(nodeId: number, name: string, database: MountedDatabase, file: BackedFile) {
    super(nodeId, name, file)
    this.database = database
  }

  /** The other one of the WAL and its wal-index: clients have both past the daemon, or none. */
  protected abstract readonly other: PassedEntry | undefined
  protected abstract openBacking(bypass: Bypass): number

  /** Clients have it open past the daemon. */
  get isPassed(): boolean {
    return this.#backingId > 0
  }

  override get backingId(): number {
    return this.#backingId
  }

  override opened(thread: number, isToWrite: boolean): void {
    const { database } = this
    if (this.isPassed) {
      if (isToWrite && !this.#isClient(thread)) database.refuseForeign(this.name)
      return super.opened(thread, isToWrite)
    }
    const { bypass } = database
    const isFirst = !this.hasUsers
    super.opened(thread, isToWrite)
    if (bypass === undefined || !isFirst || !this.#isClient(thread)) return
    const { other } = this
    if (other === undefined || !other.hasUsers || other.isPassed) {
      this.#backingId = this.openBacking(bypass)
    }
  }

  override released(): void {
    super.released()
    if (this.hasUsers || !this.isPassed) return
    this.database.endPassing(this.#backingId)
    this.#backingId = 0
  }

  #isClient(thread: number): boolean {
    return this.database.isPeer(thread) || this.database.clients.has(thread)
  }
}
