/**
 * Databases that one thread of this node has lent the other (capture/ownership.ts), because nodes lend each other their
 * write locks. What role-switch.ts does for all databases, this does for one, under the clients of the mount:
 *
 *   primary   lend        lockWrites ─▶ fs: lend ─▶ peer: borrow             applies what the other node commits
 *             take back                 peer: giveBack ─▶ fs: takeBack ─▶ peer: letGo ─▶ unlockWrites
 *   replica   borrow      lockWrites ─▶ peer: lend ─▶ fs: borrow ─▶ unlockWrites ─▶ peer: letGo
 *             give back   lockWrites ─▶ fs: giveBack ─▶ peer: takeBack ─▶ unlockWrites
 *
 * When the other thread cannot borrow a database, the lender takes it back: one of the two always has it.
 *
 * When a replica borrows, a client of it may be in a write transaction that is older than what has been applied since.
 * The loan waits for that client, which must not write.
 */

import type { DatabaseHandover } from "../../capture/handover.ts"
import { LitefsError, messageOf } from "../../lib/errors.ts"
import { logger } from "../../lib/log.ts"
import type { Sender } from "../../lib/port.ts"
import type { FsThread } from "../../mount/contract.ts"
import type { PeerThread } from "../../peer/contract.ts"

const log = logger("halt")

export class DatabaseLoans {
  readonly #fs: Sender<FsThread>
  readonly #peer: Sender<PeerThread>
  /** Databases that are away from home. */
  readonly #lent = new Set<string>()
  /** Databases in transit. */
  readonly #moving = new Set<string>()
  /** The number of moves that have begun. */
  moveCount = 0
  /** Databases that the fs thread has given back, and the peer thread could not take back yet. */
  readonly #untaken = new Map<string, DatabaseHandover>()

  constructor(fs: Sender<FsThread>, peer: Sender<PeerThread>) {
    this.#fs = fs
    this.#peer = peer
  }

  /** Whether the thread has it that does not have it by the role of the node. */
  isLent(database: string): boolean {
    return this.#lent.has(database)
  }

  isMoving(database: string): boolean {
    return this.#moving.has(database)
  }

  /**
   * Resolves with how to take the database back. Rejects without any change when clients do not stop writing in time.
   */
  async lend(database: string, limitMs: number): Promise<() => Promise<void>> {
    const takeBack = await this.#move(database, () => this.#lend(database, limitMs))
    return () => this.#move(database, takeBack)
  }

  /** Rejects without any change when a client stays in a write transaction for that long. */
  borrow(database: string, limitMs: number): Promise<void> {
    return this.#move(database, () => this.#borrow(database, limitMs))
  }

  /** Waits for clients in a write transaction. After the limit they find it undone. */
  giveBack(database: string, limitMs: number): Promise<void> {
    return this.#move(database, () => this.#giveBack(database, limitMs))
  }

  async #move<T>(database: string, act: () => Promise<T>): Promise<T> {
    this.#moving.add(database)
    this.moveCount += 1
    try {
      return await act()
    } finally {
      this.#moving.delete(database)
    }
  }

  async #lend(database: string, limitMs: number): Promise<() => Promise<void>> {
    this.#fs.tell("lending", database, true)
    const lock = await this.#peer
      .call("lockWrites", [database], limitMs, true)
      .finally(() => this.#fs.tell("lending", database, false))
    try {
      const handover = await this.#fs.call("lend", database)
      this.#lent.add(database)
      try {
        await this.#peer.call("borrow", handover, lock)
      } catch (error) {
        await this.#fs.call("takeBack", handover)
        this.#lent.delete(database)
        throw error
      }
    } catch (error) {
      this.#peer.tell("unlockWrites", lock)
      throw error
    }
    let isBack = false
    return async () => {
      if (!isBack) await this.#fs.call("takeBack", await this.#peer.call("giveBack", database))
      isBack = true
      this.#lent.delete(database)
      await this.#peer.call("letGo", database)
      this.#peer.tell("unlockWrites", lock)
    }
  }

  async #borrow(database: string, limitMs: number): Promise<void> {
    const lock = await this.#peer.call("lockWrites", [database], limitMs, true)
    try {
      const handover = await this.#peer.call("lend", database)
      this.#lent.add(database)
      try {
        await this.#fs.call("borrow", handover)
      } catch (error) {
        this.#lent.delete(database)
        await this.#peer.call("takeBack", handover)
        throw error
      }
    } finally {
      this.#peer.tell("unlockWrites", lock)
    }
    // The lock must be gone when this is answered: otherwise the client that borrowed the database would find it in the
    // way.
    await this.#peer.call("letGo", database).catch((error) => {
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
      await this.#takeBack(database, handover, lock)
      this.#untaken.delete(database)
      this.#lent.delete(database)
    } finally {
      if (lock !== undefined) this.#peer.tell("unlockWrites", lock)
    }
  }

  /** Nobody can take a damaged database: the log says so, and the next start tells more. */
  async #takeBack(
    database: string,
    handover: DatabaseHandover,
    lock: number | undefined,
  ): Promise<void> {
    try {
      await this.#peer.call("takeBack", handover, lock)
    } catch (error) {
      if (!(error instanceof LitefsError && error.code === "damaged")) throw error
      log.error("cannot go on with a database", { db: database, problem: error.message })
    }
  }
}
