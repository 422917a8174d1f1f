/**
 * Transactions of a database whose write lock is borrowed: another node has to take each one before it counts here.
 *
 *   append() ── Proposal is thrown ──▶ the other node is asked ── accept() ──▶ the same append() again: durable
 *                                              └── no ──▶ the client's request fails with the reason
 *
 * A Proposal is thrown where a transaction would become durable, and undoes what any failure would: nothing has
 * changed, and no recovery finds the commit (wal-tracker.ts). The client's request can therefore wait for its answer
 * while nothing else waits, and can be repeated from the start.
 */
import { LitefsError } from "../lib/errors.ts"
import { posEquals, type Txid } from "../ltx/pos.ts"
import { posAfter, posBefore, spanOf } from "../ltx/span.ts"
import { directLog, type TransactionLog, type TransactionWriter } from "../store/log/commit-log.ts"

/** A transaction that another node must take first. */
export class Proposal extends Error {
  readonly database: string
  readonly bytes: Uint8Array // of its LTX file
  readonly log: ProposingLog

  constructor(database: string, bytes: Uint8Array, log: ProposingLog) {
    super(`a transaction of "${database}" waits for the primary`)
    this.database = database
    this.bytes = bytes
    this.log = log
  }
}

export class ProposingLog implements TransactionLog {
  #accepted: Uint8Array | undefined
  #isShut = false

  materialize(): void {}
  sync(): void {}
  clear(): void {}

  /** The other node has it. `again` must append the same transaction, which becomes durable here. */
  accept({ bytes }: Proposal, again: () => void): void {
    this.#accepted = bytes
    try {
      again()
    } finally {
      this.#accepted = undefined
    }
  }

  /** No transaction is added any more. */
  shut(): void {
    this.#isShut = true
  }

  begin(database: string, txid: Txid, path: string): TransactionWriter {
    const parts: Uint8Array[] = []
    const commit = () => {
      // Not earlier: a rollback writes nothing, and is always allowed.
      if (this.#isShut) {
        throw new LitefsError(
          "no-primary",
          `Cannot commit to database "${database}": its write lock is no longer borrowed`,
        )
      }
      const bytes = Buffer.concat(parts)
      const accepted = this.#accepted
      if (accepted === undefined) throw new Proposal(database, bytes, this)
      this.#accepted = undefined
      if (!isSame(accepted, bytes)) {
        throw new LitefsError(
          "position-mismatch",
          `Cannot commit to database "${database}": it was changed while its transaction was on its way to the primary`,
        )
      }
      const file = directLog.begin(database, txid, path)
      try {
        file.append(accepted)
        file.commit()
      } catch (error) {
        file.discard()
        throw error
      }
    }
    return { append: (bytes) => void parts.push(bytes.slice()), commit, discard() {} }
  }
}

/** Whether both begin and lead to the same positions. The repeated transaction has another timestamp. */
function isSame(one: Uint8Array, other: Uint8Array): boolean {
  const [a, b] = [spanOf(one), spanOf(other)]
  return (
    posEquals(posBefore(a.header), posBefore(b.header)) &&
    posEquals(posAfter(a), posAfter(b)) &&
    a.header.commit === b.header.commit
  )
}
