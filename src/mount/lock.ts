import { MadeUpEntry } from "./entry.ts"

/** `<db>-lock`: an empty file to put locks on. It is found by name, and not listed. */
export class LockEntry extends MadeUpEntry {
  readonly database: string
  readonly #startedMs: number

  constructor(nodeId: number, name: string, database: string, startedMs: number) {
    super(nodeId, name)
    this.database = database
    this.#startedMs = startedMs
  }

  protected content(): string {
    return ""
  }

  protected modifiedMs(): number {
    return this.#startedMs
  }
}
