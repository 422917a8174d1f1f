/**
 * Writing to one database on a node that is not its primary, for a while: both sides of it.
 *
 *   a client of a replica ── flock(1) on `<db>-lock` ──▶ borrow() ──▶ POST /halt ──▶ the primary lends (halt-locks.ts)
 *                         ── a commit ──▶ propose() ──▶ POST /tx ──▶ it applies ──▶ the commit returns
 *                         ── the lock goes ──▶ giveBack() ──▶ DELETE /halt ──▶ it takes writes again
 */
import { type Owner, ownerOf } from "../../capture/ownership.ts"
import { type Clock, sleep } from "../../lib/clock.ts"
import { type ErrorCode, LitefsError, messageOf } from "../../lib/errors.ts"
import { LineLimit, logger } from "../../lib/log.ts"
import type { Pos } from "../../ltx/pos.ts"
import type { Borrower } from "../../mount/contract.ts"
import type { FrozenDatabase } from "../../mount/frozen-database.ts"
import type { FsWorker } from "../../mount/fs-worker.ts"
import type { PeerWorker } from "../../peer/peer-worker.ts"
import type { NodeAnswer } from "../node-client.ts"
import type { Member } from "../role/member.ts"
import type { SyncReplicas } from "../sync-replicas.ts"
import { BorrowedLocks } from "./borrowed-locks.ts"
import { DatabaseLoans } from "./database-loans.ts"
import { EchoFilter } from "./echo-filter.ts"
import { HaltLocks } from "./halt-locks.ts"

const log = logger("halt")

const LOCAL_WAIT_MS = 10_000
/** A writer in a rollback mode blocks what comes from the primary. */
const HURRY_MS = 30
/** Another writer may come after this one. */
const LINGER_MS = 5
/** SQLite asks again after 100 ms at the latest. */
const UNUSED_MS = 300
const FREEZE_RETRY_MS = 5

export interface HaltingContext {
  readonly clock: Clock
  readonly fs: FsWorker
  readonly peer: PeerWorker
  readonly hostname: string
  readonly sync: Pick<SyncReplicas, "before" | "after">
  member(): Pick<Member, "isPrimary" | "isHeld" | "state">
  callPrimary(method: "POST" | "DELETE", path: string, body?: Uint8Array): Promise<NodeAnswer>
  position(database: string): Pos | undefined
  onPositionChange(listener: () => void): () => void
  /** Connects to the primary anew. The primary then sends what is missing. */
  reconnect(): void
}

export class Halting {
  readonly locks: HaltLocks
  /** Stands between the stream of the primary and the peer thread. */
  readonly echoes: EchoFilter
  readonly #context: HaltingContext
  readonly #loans: DatabaseLoans
  readonly #borrowed: BorrowedLocks
  /** Locks that clients of this primary hold. */
  readonly #own = new Map<string, bigint>()
  readonly #limit: LineLimit
  /** Borrowed databases of which the primary has to be asked whether replicas have what it has taken. */
  readonly #unsynced = new Set<string>()
  #lastId = 0n
  #hasComplained = false // about writes that cannot be forwarded, since one was

  constructor(context: HaltingContext) {
    const { clock, fs, peer, position } = context
    this.#context = context
    this.#limit = new LineLimit(clock)
    this.#loans = new DatabaseLoans(fs, peer)
    this.locks = new HaltLocks({
      ...{ clock, position },
      checkPrimary: () => {
        const { isPrimary, isHeld } = context.member()
        if (!isPrimary || !isHeld) throw notPrimary()
      },
      lend: async (database, limitMs, node) => {
        // The holder makes the database, as in the original: its first transaction is the database's first.
        if (position(database) === undefined) {
          await peer.call("makeDatabase", database)
          const said = this.#limit.take(database)
          if (said !== undefined)
            log.info("made a database for a node", { db: database, for: node, ...said })
        }
        return this.#loans.lend(database, limitMs)
      },
      apply: (database, transaction) => peer.apply(database, transaction.parts()),
    })
    this.#borrowed = new BorrowedLocks({
      ...{ clock, position },
      call: context.callPrimary,
      onPositionChange: context.onPositionChange,
      checkReplica: () => {
        if (context.member().state === "replica") return
        throw new LitefsError("unavailable", "the role of this node is changing")
      },
      loans: this.#loans,
      closing: (database) => fs.tell("closing", database),
      shut: (database) => fs.tell("lost", database),
      resync: context.reconnect,
      taken: (database, isSynced) => {
        if (isSynced) this.#unsynced.delete(database)
        else this.#unsynced.add(database)
      },
    })
    this.echoes = new EchoFilter({
      sink: peer,
      isBorrowed: (database) => this.#borrowed.isHeld(database),
      lost: (database) =>
        this.#borrowed.lost(database, "the primary sends transactions of other nodes"),
    })
  }

  /** The thread of this node that has the database. */
  ownerOf(database: string): Owner {
    return ownerOf(this.#context.member().isPrimary, this.#loans.isLent(database))
  }

  /** The database as it is now, kept by the thread that has it; undefined when there is none. */
  async freeze(database: string): Promise<FrozenDatabase | undefined> {
    const { clock, fs, peer } = this.#context
    for (;;) {
      const { moveCount } = this.#loans
      const isMoving = this.#loans.isMoving(database)
      const frozen = await (this.ownerOf(database) === "fs" ? fs : peer).freeze(database)
      if (frozen !== undefined) return frozen
      // The thread that was asked may have given it up.
      if (!isMoving && moveCount === this.#loans.moveCount) return undefined
      await sleep(clock, FREEZE_RETRY_MS)
    }
  }

  /**
   * Runs what changes the database on the primary, while no other node has the lock or gets it. The request may come
   * from a command on this node that holds the lock.
   */
  async whileNotLent<T>(database: string, act: () => Promise<T>): Promise<T> {
    if (this.#own.has(database)) return act()
    const id = await this.#reserveOwn(database, LOCAL_WAIT_MS)
    try {
      return await act()
    } finally {
      await this.locks.release(database, id)
    }
  }

  /** flock(1) by a client of this node. Resolves with why it does not get the lock; undefined when it does. */
  async borrowForFlock(database: string, waits: boolean): Promise<ErrorCode | undefined> {
    try {
      if (this.#context.member().isPrimary) await this.#lockOwn(database, waits)
      else {
        await this.#borrowed.borrow(database, "flock", waits)
        log.info("borrowed the write lock of the primary", { db: database })
      }
      return undefined
    } catch (error) {
      const problem = messageOf(error)
      if (waits) log.warn("cannot borrow the write lock of the primary", { db: database, problem })
      return error instanceof LitefsError ? error.code : "io"
    }
  }

  /** A writer of this node with its own locks. Calls `late` when it takes longer than an impatient client can wait. */
  async borrowForWriter(
    database: string,
    isPatient: boolean,
    late: () => void,
  ): Promise<ErrorCode | undefined> {
    const cancel = isPatient ? () => {} : this.#context.clock.after(HURRY_MS, late)
    try {
      await this.#borrowed.borrow(database, "writer")
      this.#hasComplained = false
      return undefined
    } catch (error) {
      this.#complain(database, error)
      return error instanceof LitefsError ? error.code : "io"
    } finally {
      cancel()
    }
  }

  /** The lock was borrowed for a writer, and has one again. */
  inUse(database: string): void {
    this.#borrowed.use(database, "writer")
  }

  #complain(database: string, error: unknown): void {
    if (this.#hasComplained) return
    this.#hasComplained = true
    log.warn("cannot forward writes to the primary", { db: database, problem: messageOf(error) })
  }

  /** `isUnused`: the client that it was borrowed for is about to ask again. */
  async giveBack(database: string, user: Borrower, isUnused: boolean): Promise<void> {
    if (user === "writer") {
      return this.#borrowed.giveBack(database, user, isUnused ? UNUSED_MS : LINGER_MS)
    }
    const id = this.#own.get(database)
    this.#own.delete(database)
    if (id === undefined) await this.#borrowed.giveBack(database, user)
    else await this.locks.release(database, id)
  }

  /** A transaction of a client. Resolves with why the primary does not take it; undefined when it does. */
  async propose(database: string, bytes: Uint8Array): Promise<ErrorCode | undefined> {
    const forget = this.echoes.sent(database, bytes)
    const code = await this.#borrowed.propose(database, bytes)
    if (code !== undefined) forget()
    return code
  }

  /** Why a transaction of a client may not be made here; undefined when it may. A borrowed database is not asked for. */
  mayCommit(database: string, isPatient: boolean): Promise<ErrorCode | undefined> {
    return this.#context.sync.before(database, isPatient)
  }

  /**
   * A transaction of a client is durable here. Resolves when enough replicas have it; with a code when nobody knows what
   * becomes of it.
   */
  async acknowledged(
    database: string,
    pos: Pos,
    isBorrowed: boolean,
  ): Promise<ErrorCode | undefined> {
    if (!isBorrowed) return this.#context.sync.after(database, pos)
    if (!this.#unsynced.has(database)) return undefined
    return (await this.#borrowed.synced(database, pos)) ? undefined : "unavailable"
  }

  /** The primary has taken a transaction that was not, or could not be, made here. */
  behind(database: string): void {
    if (!this.#borrowed.isHeld(database)) return this.#context.reconnect()
    void this.#borrowed.lost(database, "a transaction could not be written on this node")
  }

  /** Before this node becomes the primary. */
  async endBorrowing(): Promise<void> {
    await this.#borrowed.endAll()
  }

  /** The node stops. */
  async close(): Promise<void> {
    await this.#borrowed.close()
    await this.locks.revokeAll()
  }

  async #lockOwn(database: string, waits: boolean): Promise<void> {
    this.#own.set(database, await this.#reserveOwn(database, waits ? LOCAL_WAIT_MS : 0))
  }

  async #reserveOwn(database: string, waitMs: number): Promise<bigint> {
    this.#lastId -= 1n // no other node uses such an id
    const id = this.#lastId
    await this.locks.acquireLocal(database, {
      ...{ id, node: this.#context.hostname },
      ...{ ttlMs: 0, waitMs },
    })
    return id
  }
}

function notPrimary(): LitefsError {
  return new LitefsError("no-primary", "Cannot lend a write lock: this node is not the primary")
}
