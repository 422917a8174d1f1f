/**
 * The last minutes of this node, for plots: what came in, and how far it or its replicas are behind.
 *
 * A sample costs what has changed since the last one, not what exists: the positions tell which databases have.
 */
import { type Positions, SLOT_COUNT_MAX, type Slot, slotIndex } from "../../store/positions.ts"

const SAMPLE_COUNT_MAX = 160
const AGE_MS_MAX = 5 * 60_000

export interface Sample {
  readonly wallMs: number
  /** Transactions of all databases, a second: commits on a primary, what was applied on a replica. */
  readonly rate: number
  /** Of this node; null while it is unknown. */
  readonly lagMs: number | null
  /** Transactions that the replica furthest behind has not been sent; null without replicas. */
  readonly unsent: number | null
}

export class History {
  readonly #transactions: Transactions
  readonly #samples: Sample[] = []
  #monotonicMs: number

  constructor(positions: Positions, monotonicMs: number) {
    this.#transactions = new Transactions(positions)
    this.#transactions.take() // what is there was not made now
    this.#monotonicMs = monotonicMs
  }

  get samples(): readonly Sample[] {
    return this.#samples
  }

  /** `monotonicMs` says how long the transactions took to come. */
  add(monotonicMs: number, measured: Omit<Sample, "rate">): void {
    const seconds = Math.max(0.001, (monotonicMs - this.#monotonicMs) / 1000)
    this.#monotonicMs = monotonicMs
    const rate = Math.round((this.#transactions.take() / seconds) * 10) / 10
    this.#samples.push({ ...measured, rate })
    const oldestMs = measured.wallMs - AGE_MS_MAX
    while (this.#samples.length > SAMPLE_COUNT_MAX || (this.#samples[0]?.wallMs ?? 0) < oldestMs) {
      this.#samples.shift()
    }
  }
}

/** Counts transactions by their TXIDs. A database that arrives, or goes back, has made none. */
class Transactions {
  readonly #positions: Positions
  readonly #slots = new Float64Array(SLOT_COUNT_MAX)
  readonly #txids = new Float64Array(SLOT_COUNT_MAX) // by the index of the slot
  #seen: number | undefined // the count of changes

  constructor(positions: Positions) {
    this.#positions = positions
  }

  /** Since the last call. */
  take(): number {
    const positions = this.#positions
    const { changeCount } = positions
    if (changeCount === this.#seen) return 0
    const changed = this.#seen === undefined ? undefined : positions.changedSince(this.#seen)
    this.#seen = changeCount
    let count = 0
    if (changed === undefined) {
      for (const [, slot] of positions.entries()) count += this.#look(slot)
      return count
    }
    for (const name of changed) {
      const slot = positions.find(name)
      if (slot !== undefined) count += this.#look(slot)
    }
    return count
  }

  #look(slot: Slot): number {
    const index = slotIndex(slot)
    const txid = Number(this.#positions.read(slot).pos.txid)
    const before = this.#slots[index] === slot ? (this.#txids[index] as number) : 0
    this.#slots[index] = slot
    this.#txids[index] = txid
    return before > 0 && txid > before ? txid - before : txid === 1 && before === 0 ? 1 : 0
  }
}
