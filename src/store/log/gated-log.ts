/**
 * A transaction log that can be exchanged and shut. A shut log takes no transaction from anybody.
 *
 *   open ── shut(): nothing is added from here on ──▶ shut ── open(log) ──▶ open
 *
 * It takes none either while the node may not commit: a lease ends at a time, whether or not anybody is there to shut
 * the log.
 */
import { LitefsError } from "../../lib/errors.ts"
import type { Txid } from "../../ltx/pos.ts"
import type { TransactionLog, TransactionWriter } from "./commit-log.ts"

export class GatedLog implements TransactionLog {
  #log: TransactionLog | undefined
  #isShut = true
  readonly #mayCommit: () => boolean

  constructor(mayCommit: () => boolean = () => true) {
    this.#mayCommit = mayCommit
  }

  /** False when a transaction would be refused. */
  get isOpen(): boolean {
    return !this.#isShut && this.#mayCommit()
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

  sync(database: string): void {
    this.#log?.sync(database)
  }

  clear(): void {
    this.#log?.clear()
  }

  begin(database: string, txid: Txid, path: string): TransactionWriter {
    if (this.#log === undefined || this.#isShut) return refusing(database, HANDING_OVER)
    const writer = this.#log.begin(database, txid, path)
    const commit = () => {
      if (!this.#mayCommit()) throw refusal(database, LEASE_OVER)
      writer.commit()
    }
    return { append: writer.append, commit, discard: () => writer.discard() }
  }
}

const HANDING_OVER = "this node is handing its role of primary over"
const LEASE_OVER = "the lease of this node has run out"

function refusal(database: string, why: string): LitefsError {
  return new LitefsError("no-primary", `Cannot commit to database "${database}": ${why}`)
}

/** Not before a commit: a client may roll back. */
function refusing(database: string, why: string): TransactionWriter {
  const commit = () => {
    throw refusal(database, why)
  }
  return { append() {}, commit, discard() {} }
}
