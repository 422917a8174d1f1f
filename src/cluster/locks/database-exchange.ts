/**
 * Has one database change hands between the two threads, under the clients of the mount: what role-switch.ts does
 * for all of them when the role of the node changes.
 *
 *   primary   lend        keep clients from writing ─▶ fs: gives up ─▶ peer: takes, applies what the borrower commits
 *             take back   peer: gives up ─▶ fs: takes, captures ─▶ clients may write
 *   replica   borrow      keep clients from writing ─▶ peer: gives up ─▶ fs: takes, proposes commits to the primary
 *             give back   keep clients from writing ─▶ fs: gives up ─▶ peer: takes, applies what comes
 *
 * Whoever has given up is given it back when the other one cannot take it: one of the two always has it.
 *
 * When a replica borrows, a client of it may be in a write transaction that is older than what has been applied since.
 * It is waited for, since it must not write.
 */

import type { DatabaseHandover } from "../../capture/handover.ts"
import { LitefsError, messageOf } from "../../lib/errors.ts"
import { logger } from "../../lib/log.ts"
import type { Sender } from "../../lib/port.ts"
import type { FsThread } from "../../mount/contract.ts"
import type { PeerThread } from "../../peer/contract.ts"

const log = logger("halt")

export class DatabaseExchange {
  readonly #fs: Sender<FsThread>
  readonly #peer: Sender<PeerThread>
  /** Databases that the other thread has than the one that has them by the role of the node. */
  readonly #exchanged = new Set<string>()
  /** Databases that change hands right now. */
  readonly #changing = new Set<string>()
  /** How often one of them began to. */
  changeCount = 0
  /** What the fs thread has given up, and the peer thread could not take yet. */
  readonly #untaken = new Map<string, DatabaseHandover>()

  constructor(fs: Sender<FsThread>, peer: Sender<PeerThread>) {
    this.#fs = fs
    this.#peer = peer
  }

  isExchanged(database: string): boolean {
    return this.#exchanged.has(database)
  }

  isChanging(database: string): boolean {
    return this.#changing.has(database)
  }

  /** Resolves with how to take it back. Rejects, and nothing has changed, when clients do not stop writing in time. */
  async lend(database: string, limitMs: number): Promise<() => Promise<void>> {
    const takeBack = await this.#change(database, () => this.#lend(database, limitMs))
    return () => this.#change(database, takeBack)
  }

  /** Rejects, and nothing has changed, when a client is in a write transaction for that long. */
  borrow(database: string, limitMs: number): Promise<void> {
    return this.#change(database, () => this.#borrow(database, limitMs))
  }

  /** Clients that are in a write transaction are waited for; after the time they find it undone. */
  giveBack(database: string, limitMs: number): Promise<void> {
    return this.#change(database, () => this.#giveBack(database, limitMs))
  }

  async #change<T>(database: string, act: () => Promise<T>): Promise<T> {
    this.#changing.add(database)
    this.changeCount += 1
    try {
      return await act()
    } finally {
      this.#changing.delete(database)
    }
  }

  async #lend(database: string, limitMs: number): Promise<() => Promise<void>> {
    this.#fs.tell("lending", database, true)
    const lock = await this.#peer
      .call("lockWrites", [database], limitMs, true)
      .finally(() => this.#fs.tell("lending", database, false))
    try {
      const handover = await this.#fs.call("lend", database)
      this.#exchanged.add(database)
      try {
        await this.#peer.call("take", handover, lock)
      } catch (error) {
        await this.#fs.call("takeBack", handover)
        this.#exchanged.delete(database)
        throw error
      }
    } catch (error) {
      this.#peer.tell("unlockWrites", lock)
      throw error
    }
    let isBack = false
    return async () => {
      if (!isBack) await this.#fs.call("takeBack", await this.#peer.call("give", database))
      isBack = true
      this.#exchanged.delete(database)
      await this.#peer.call("letGoOf", database)
      this.#peer.tell("unlockWrites", lock)
    }
  }

  async #borrow(database: string, limitMs: number): Promise<void> {
    const lock = await this.#peer.call("lockWrites", [database], limitMs, true)
    try {
      const handover = await this.#peer.call("give", database)
      this.#exchanged.add(database)
      try {
        await this.#fs.call("borrow", handover)
      } catch (error) {
        this.#exchanged.delete(database)
        await this.#peer.call("take", handover)
        throw error
      }
    } finally {
      this.#peer.tell("unlockWrites", lock)
    }
    // When this is answered that lock is gone: whoever it was borrowed for would find it in the way.
    await this.#peer.call("letGoOf", database).catch((error) => {
      log.warn("cannot close the files of a database", { db: database, problem: messageOf(error) })
    })
  }

  async #giveBack(database: string, limitMs: number): Promise<void> {
    const lock = await this.#peer.call("lockWrites", [database], limitMs, false).catch((error) => {
      log.warn("undid a write transaction", { db: database, problem: messageOf(error) })
      return undefined
    })
    try {
      const handover = this.#untaken.get(database) ?? (await this.#fs.call("giveBack", database))
      this.#untaken.set(database, handover)
      await this.#take(database, handover, lock)
      this.#untaken.delete(database)
      this.#exchanged.delete(database)
    } finally {
      if (lock !== undefined) this.#peer.tell("unlockWrites", lock)
    }
  }

  /** One that is damaged nobody can take: the log says so, and the next start tells more. */
  async #take(
    database: string,
    handover: DatabaseHandover,
    lock: number | undefined,
  ): Promise<void> {
    try {
      await this.#peer.call("take", handover, lock)
    } catch (error) {
      if (!(error instanceof LitefsError && error.code === "damaged")) throw error
      log.error("cannot go on with a database", { db: database, problem: error.message })
    }
  }
}
