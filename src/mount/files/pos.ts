import { formatPos } from "../../ltx/pos.ts"
import type { Positions } from "../../store/positions.ts"
import type { FileAccess } from "../../sys/file-access.ts"
import type { MountedDatabase } from "../databases/mounted-database.ts"
import { MadeUpEntry } from "./entry.ts"

/** `<db>-pos`: the position of the database, 34 bytes: `%016x/%016x\n`, TXID and checksum. */
export class PosEntry extends MadeUpEntry {
  readonly #positions: Positions
  readonly #database: MountedDatabase

  constructor(nodeId: number, name: string, positions: Positions, database: MountedDatabase) {
    super(nodeId, name)
    this.#positions = positions
    this.#database = database
  }

  protected content(): string {
    this.#database.follow()
    return `${formatPos(this.#positions.read(this.#database.slot).pos)}\n`
  }

  /** A user who may read the database may know its position. */
  protected access(): FileAccess {
    const { uid, gid, mode } = this.#database.access
    return { uid, gid, mode: mode & 0o444 }
  }

  /** When the last transaction was made. */
  protected modifiedMs(): number {
    return this.#positions.read(this.#database.slot).timestampMs
  }
}
