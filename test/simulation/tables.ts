/** Shared memory of simulated nodes: megabytes that are made once, and used again by the next run. */
import { newTables, type SharedTables } from "../../src/node/storage/databases.ts"
import { Counters } from "../../src/store/counters.ts"
import { RecentTransactions } from "../../src/store/ltx/recent-transactions.ts"
import { Positions } from "../../src/store/positions.ts"

const free: SharedTables[] = []

export class Tables {
  readonly #taken: SharedTables[] = []

  take(): SharedTables {
    const { positions, recent, counters } = free.pop() ?? newTables()
    clear(positions.memory)
    recent.clear()
    const tables = {
      positions: new Positions(positions.memory),
      recent: new RecentTransactions(recent.memory),
      counters: new Counters(counters.memory),
    }
    this.#taken.push(tables)
    return tables
  }

  /** Nobody uses them any more. */
  giveBack(): void {
    free.push(...this.#taken)
    this.#taken.length = 0
  }
}

/** The first slots, and the list of changes behind the last: a run has two databases. */
function clear(memory: SharedArrayBuffer): void {
  const bytes = new Uint8Array(memory)
  bytes.fill(0, 0, 16 * 1024)
  bytes.fill(0, bytes.length - 64 * 1024)
}
