/**
 * The disk of a simulated machine: small files, and of each database its transactions as LTX files, in order. It can be
 * slow, and full. What is not durable yet is lost in a power cut, or is not; a process that is killed loses nothing.
 *
 * A database is a map of pages: the pages of its last transactions, by their numbers.
 */
import type { Checksum, Pos, Txid } from "../../src/ltx/pos.ts"
import { ZERO_POS } from "../../src/ltx/pos.ts"
import type { SmallFiles } from "../../src/store/small-files.ts"
import { Errno, SysError } from "../../src/sys/errno.ts"
import type { Random } from "../support/random.ts"
import type { Scheduler } from "./scheduler.ts"

export type Pages = ReadonlyMap<number, Uint8Array>

/** Of a database, after a transaction. */
export interface StoredState {
  readonly pos: Pos
  readonly pageSize: number
  readonly commit: number
  readonly timestampMs: number
  readonly pages: Pages
}

export interface StoredTransaction {
  readonly minTxid: Txid
  readonly before: Pos
  readonly after: StoredState
  readonly bytes: Uint8Array
  /** From when on no power cut takes it away. */
  readonly durableAtMs: number
  /** A snapshot: nothing before it counts. */
  readonly isWhole: boolean
}

/** A state that was set aside, and why. */
export interface Kept {
  readonly database: string
  readonly pos: Pos
  readonly reason: string
}

const NOTHING: StoredState = {
  pos: ZERO_POS,
  pageSize: 0,
  commit: 0,
  timestampMs: 0,
  pages: new Map(),
}

/** LTX files that are kept; retention removes those before, and remembers their checksums. */
const FILE_COUNT_MAX = 12

export class Disk {
  readonly kept: Kept[] = []
  isFull = false
  /** How long it takes to make something durable. */
  syncMs: readonly [least: number, most: number] = [0.1, 2]
  readonly #scheduler: Scheduler
  readonly #random: Random
  readonly #files = new Map<string, Uint8Array>()
  readonly #databases = new Map<string, StoredTransaction[]>()
  readonly #past = new Map<string, Map<Txid, Checksum>>()

  constructor(scheduler: Scheduler, random: Random) {
    this.#scheduler = scheduler
    this.#random = random
  }

  nextSyncMs(): number {
    const [least, most] = this.syncMs
    return least + ((most - least) * this.#random.u32()) / 2 ** 32
  }

  checkRoom(): void {
    if (this.isFull)
      throw new SysError(Errno.ENOSPC, "simulated:write", "write to the simulated disk")
  }

  /** A replaced file is durable at once. */
  readonly files: SmallFiles = {
    read: (_, path) => this.#files.get(path),
    replace: (_, path, bytes) => {
      this.checkRoom()
      this.#files.set(path, bytes.slice())
    },
  }

  /** Databases of which there is anything. */
  get names(): string[] {
    return [...this.#databases.keys()]
  }

  state(database: string): StoredState {
    return this.#databases.get(database)?.at(-1)?.after ?? NOTHING
  }

  /** The last position that no power cut takes away. */
  durablePos(database: string): Pos {
    const log = this.#databases.get(database) ?? []
    const isDurable = ({ durableAtMs }: StoredTransaction) => durableAtMs <= this.#scheduler.nowMs
    return log.findLast(isDurable)?.after.pos ?? ZERO_POS
  }

  append(database: string, transaction: StoredTransaction): void {
    const log = transaction.isWhole ? [] : (this.#databases.get(database) ?? [])
    log.push(transaction)
    this.#databases.set(database, log)
    const past = this.#past.get(database) ?? new Map<Txid, Checksum>()
    if (transaction.isWhole) past.clear()
    this.#past.set(database, past)
    const { txid, checksum } = transaction.after.pos
    past.set(txid, checksum)
    while (
      log.length > FILE_COUNT_MAX &&
      (log[1] as StoredTransaction).durableAtMs < this.#scheduler.nowMs
    ) {
      log.shift()
    }
  }

  /** The LTX file that follows on the position, if it is there and durable enough to be read. */
  following(database: string, known: Pos): StoredTransaction | undefined {
    return this.#databases
      .get(database)
      ?.find(
        ({ minTxid, before, isWhole }) =>
          !isWhole && minTxid === known.txid + 1n && before.checksum === known.checksum,
      )
  }

  checksumAt(database: string, txid: Txid): Checksum | undefined {
    return this.#past.get(database)?.get(txid)
  }

  keep(kept: Kept): void {
    this.kept.push(kept)
  }

  /** The machine has lost its power. */
  cutPower(): void {
    for (const [database, log] of this.#databases) {
      const first = log.findIndex(({ durableAtMs }) => durableAtMs > this.#scheduler.nowMs)
      if (first < 0) continue
      const left = first + this.#random.below(log.length - first + 1)
      for (const { after } of log.slice(left)) this.#past.get(database)?.delete(after.pos.txid)
      log.length = left
      if (left === 0) this.#databases.delete(database)
    }
  }
}
