/**
 * A transaction log that can be exchanged and shut. A shut log takes no transaction from anybody.
 *
 *   open ── shut(): nothing is added from here on ──▶ shut ── open(log) ──▶ open
 */
import { LitefsError } from "../../lib/errors.ts"
import type { Txid } from "../../ltx/pos.ts"
import type { TransactionLog, TransactionWriter } from "./commit-log.ts"

export class GatedLog implements TransactionLog {
  #log: TransactionLog | undefined
  #isShut = true

  /** False when a transaction would be refused. */
  get isOpen(): boolean {
    return !this.#isShut
  }

  open(log: TransactionLog | undefined = this.#log): void {
    this.#log = log
    this.#isShut = log === undefined
  }

  shut(): void {
    this.#isShut = true
  }

  materialize(database: string): void {
    this.#log?.materialize(database)
  }

  clear(): void {
    this.#log?.clear()
  }

  begin(database: string, txid: Txid, path: string): TransactionWriter {
    if (this.#log !== undefined && !this.#isShut) return this.#log.begin(database, txid, path)
    // Not before a commit: a client may roll back.
    const commit = () => {
      throw new LitefsError(
        "no-primary",
        `Cannot commit to database "${database}": this node is handing its role of primary over`,
      )
    }
    return { append() {}, commit, discard() {} }
  }
}
