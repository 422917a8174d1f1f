/**
 * The account of a run: which transactions were made, what follows on what, who was told that a transaction is
 * committed; and what is wrong with that.
 */
import { formatPos, type Pos, ZERO_POS } from "../../src/ltx/pos.ts"
import type { Pages } from "./disk.ts"
import type { Account, Reached } from "./shared.ts"

interface Known {
  readonly before: string
  readonly pages: Pages
}

/** A client was told that its transaction is committed. */
export interface Answered {
  readonly database: string
  readonly pos: Pos
  readonly node: string
  readonly atMs: number
  /** Whether it may not be lost: enough replicas have acknowledged it, no more nodes fail, and nobody used force. */
  isSafe: boolean
}

export interface LedgerContext {
  nowMs(): number
  /** Nodes that would commit now. */
  committing(): readonly string[]
  /** The epoch of the node's record. */
  epoch(node: string): number
  /** Whether only a lease decides who commits: then one node at most does, at every moment. */
  readonly isElected: boolean
}

const START = "start"

export class Ledger implements Account {
  readonly violations: string[] = []
  readonly answered: Answered[] = []
  #committedCount = 0
  readonly #context: LedgerContext
  readonly #transactions = new Map<string, Known>()
  /** Who has committed in an epoch. */
  readonly #writers = new Map<number, string>()

  constructor(context: LedgerContext) {
    this.#context = context
  }

  get committedCount(): number {
    return this.#committedCount
  }

  made({ database, before = ZERO_POS, after, pages }: Reached): void {
    const key = keyOf(database, after)
    if (this.#transactions.has(key)) return
    this.#transactions.set(key, { before: keyOf(database, before), pages })
  }

  reached(node: string, { database, before, after, pages, isNew }: Reached): void {
    const key = keyOf(database, after)
    const known = this.#transactions.get(key)
    const where = `${node} ${key}`
    const from = before === undefined ? undefined : keyOf(database, before)
    if (from !== undefined && from !== START && !this.#transactions.has(from)) {
      return this.violation(`${where} follows on what nobody has made`)
    }
    if (known === undefined) {
      if (!isNew || from === undefined) return this.violation(`${where} was made by nobody`)
      this.#transactions.set(key, { before: from, pages })
      return
    }
    if (from !== undefined && known.before !== from) {
      return this.violation(`${where} follows on ${from}, where it was made on ${known.before}`)
    }
    for (const [pgno, page] of known.pages) {
      const here = pages.get(pgno)
      if (here === undefined || Buffer.compare(here, page) !== 0) {
        return this.violation(`${where} has another page ${pgno} than where it was made`)
      }
    }
  }

  committed(node: string, database: string, pos: Pos): void {
    this.#committedCount += 1
    const { committing, epoch, isElected } = this.#context
    const others = committing().filter((name) => name !== node)
    const what = `${node} has committed ${keyOf(database, pos)}`
    if (isElected && others.length > 0) this.violation(`${what} while ${others} may commit, too`)
    const number = epoch(node)
    const writer = this.#writers.get(number)
    if (isElected && writer !== undefined && writer !== node) {
      this.violation(`${what} in epoch ${number}, which is that of ${writer}`)
    }
    this.#writers.set(number, node)
  }

  answer(answered: Answered): void {
    this.answered.push(answered)
  }

  /** Somebody has chosen a primary with these positions, and that what it lacks may be lost. */
  forced(positionOf: (database: string) => Pos | undefined): void {
    for (const answered of this.answered) {
      const history = this.historyOf(answered.database, positionOf(answered.database) ?? ZERO_POS)
      if (!this.isIn(history, answered)) answered.isSafe = false
    }
  }

  violation(text: string): void {
    this.violations.push(`${(this.#context.nowMs() / 1000).toFixed(3)} s: ${text}`)
  }

  /** All transactions that lead to the position. */
  historyOf(database: string, pos: Pos): Set<string> {
    const history = new Set<string>()
    let key = keyOf(database, pos)
    while (key !== START && !history.has(key)) {
      history.add(key)
      key = this.#transactions.get(key)?.before ?? START
    }
    return history
  }

  isIn(history: ReadonlySet<string>, { database, pos }: Answered): boolean {
    return history.has(keyOf(database, pos))
  }
}

export function keyOf(database: string, pos: Pos): string {
  return pos.txid === 0n ? START : `${database} ${formatPos(pos)}`
}
