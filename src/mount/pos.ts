import { formatPos } from "../ltx/pos.ts"
import type { Positions, Slot } from "../store/positions.ts"
import { MadeUpEntry } from "./entry.ts"

/** `<db>-pos`: the position of the database, 34 bytes: `%016x/%016x\n`, TXID and checksum. */
export class PosEntry extends MadeUpEntry {
  readonly #positions: Positions
  readonly #slot: Slot

  constructor(nodeId: number, name: string, positions: Positions, slot: Slot) {
    super(nodeId, name)
    this.#positions = positions
    this.#slot = slot
  }

  protected content(): string {
    return `${formatPos(this.#positions.read(this.#slot).pos)}\n`
  }

  /** When the last transaction was made. */
  protected modifiedMs(): number {
    return this.#positions.read(this.#slot).timestampMs
  }
}
