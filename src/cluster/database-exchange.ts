/**
 * Has one database change hands between the two threads, under the clients of the mount: what role-switch.ts does
 * for all of them when the role of the node changes.
 *
 *   primary   lend: keep clients from writing ─▶ fs: gives up ─▶ peer: takes, and applies what the borrower commits
 *             take back: peer: gives up ─▶ fs: takes, and captures ─▶ clients may write
 *   replica   borrow: peer: gives up ─▶ fs: takes, and proposes what clients commit to the primary
 *             give back: keep clients from writing ─▶ fs: gives up ─▶ peer: takes, and applies what comes
 */
import { messageOf } from "../lib/errors.ts"
import { logger } from "../lib/log.ts"
import type { FsWorker } from "../mount/fs-worker.ts"
import type { PeerWorker } from "../peer/peer-worker.ts"

const log = logger("halt")

/** What the exchange needs of the two threads. */
export type ExchangeFs = Pick<FsWorker, "lend" | "takeBack" | "borrow" | "giveBack">
export type ExchangePeer = Pick<
  PeerWorker,
  "lockWrites" | "unlockWrites" | "give" | "letGoOf" | "take"
>

export class DatabaseExchange {
  readonly #fs: ExchangeFs
  readonly #peer: ExchangePeer
  /** Databases that the other thread has than the one that has them by the role of the node. */
  readonly #exchanged = new Set<string>()

  constructor(fs: ExchangeFs, peer: ExchangePeer) {
    this.#fs = fs
    this.#peer = peer
  }

  isExchanged(database: string): boolean {
    return this.#exchanged.has(database)
  }

  /** Resolves with how to take it back. Rejects, and nothing has changed, when clients do not stop writing in time. */
  async lend(database: string, limitMs: number): Promise<() => Promise<void>> {
    const lock = await this.#peer.lockWrites([database], limitMs, true)
    try {
      const handover = await this.#fs.lend(database)
      this.#exchanged.add(database)
      await this.#peer.take(handover, lock)
    } catch (error) {
      this.#peer.unlockWrites(lock)
      throw error
    }
    return async () => {
      await this.#fs.takeBack(await this.#peer.give(database))
      this.#exchanged.delete(database)
      await this.#peer.letGoOf(database)
      this.#peer.unlockWrites(lock)
    }
  }

  async borrow(database: string): Promise<void> {
    await this.#fs.borrow(await this.#peer.give(database))
    this.#exchanged.add(database)
    await this.#peer.letGoOf(database)
  }

  /** Clients that are in a write transaction are waited for; after the time they find it undone. */
  async giveBack(database: string, limitMs: number): Promise<void> {
    const lock = await this.#peer.lockWrites([database], limitMs).catch((error) => {
      log.warn("undid a write transaction", { db: database, problem: messageOf(error) })
      return undefined
    })
    await this.#peer.take(await this.#fs.giveBack(database))
    this.#exchanged.delete(database)
    if (lock !== undefined) this.#peer.unlockWrites(lock)
  }
}
