import { MadeUpEntry } from "./entry.ts"
import type { Role } from "./role.ts"

/** `.primary`: on a replica the host name of the primary it follows. There is none on the primary. */
export class PrimaryEntry extends MadeUpEntry {
  readonly #role: Role

  constructor(nodeId: number, name: string, role: Role) {
    super(nodeId, name)
    this.#role = role
  }

  protected content(): string {
    return this.#role.primaryName === undefined ? "" : `${this.#role.primaryName}\n`
  }

  protected modifiedMs(): number {
    return this.#role.changedMs
  }
}
