import { BackedEntry } from "./entry.ts"

/** A file of SQLite's that is not replicated: the super-journal of a transaction over several databases. */
export class SideFileEntry extends BackedEntry {
  override close(): void {
    this.file.close()
  }
}
