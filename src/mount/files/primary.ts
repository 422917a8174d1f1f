import type { FileAccess } from "../../sys/file-access.ts"
import { MadeUpEntry } from "./entry.ts"
import type { Role } from "./role.ts"
import type { Root } from "./root.ts"

/** `.primary`: on a replica the host name of the primary it follows. There is none on the primary. */
export class PrimaryEntry extends MadeUpEntry {
  readonly #role: Role
  readonly #root: Root

  constructor(nodeId: number, name: string, root: Root, role: Role) {
    super(nodeId, name)
    this.#root = root
    this.#role = role
  }

  protected access(): FileAccess {
    return { ...this.#root.access, mode: 0o444 }
  }

  protected content(): string {
    return this.#role.primaryName === undefined ? "" : `${this.#role.primaryName}\n`
  }

  protected modifiedMs(): number {
    return this.#role.changedMs
  }
}
