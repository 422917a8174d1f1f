/**
 * The write lock of one database, borrowed from the primary: clients of this node write to the database.
 *
 *   asking ─▶ catching up ─▶ held ── nobody uses it, or others want it ──▶ returning ──▶ gone
 *      └── refused ──▶ gone    └── lost(): somebody else may write ──▶ lost ──┘
 *
 * 1. While the lock is held, every transaction of a client goes to the primary before the client's commit returns
 *    (propose()). If the primary does not take it, the commit fails, and nothing changes here.
 * 2. Every transaction renews the lock long before the primary takes it back, and so does a timer. When a renewal
 *    fails, clients of this node stop committing before the primary lends the lock to somebody else.
 * 3. A transaction whose answer is lost is sent again until the lock is lost: the primary recognizes it by the position
 *    it leads to. When the lock is lost first, its client is told that it failed, though the primary may have it.
 */
import { orAborted } from "../../lib/abort.ts"
import { type Clock, sleep } from "../../lib/clock.ts"
import { type ErrorCode, LitefsError, messageOf } from "../../lib/errors.ts"
import { logger } from "../../lib/log.ts"
import { until } from "../../lib/until.ts"
import { type Pos, posEquals, ZERO_POS } from "../../ltx/pos.ts"
import type { Borrower } from "../../mount/contract.ts"
import type { Lender } from "./lender.ts"

const log = logger("halt")

/** A lock lives this long without a renewal. Writers of the primary wait this long when this node dies. */
const TTL_MS = 10_000
const RENEW_MS = TTL_MS / 4
/** This long before the primary takes it back, commits end. */
const MARGIN_MS = 2000
/** Time for others to give the lock back, and then for this node to catch up. */
const WAIT_MS_MAX = 10_000
/** Time for clients to end their write transactions. */
const RETURN_MS_MAX = 5000
/** The same when they cannot commit any more. */
const UNDO_MS_MAX = 1000
/** Time for the primary to hear of it. */
const RELEASE_MS_MAX = 1000
/** Time for a client that is in a write transaction and knows less than what is here. */
const STALE_MS_MAX = 2000
/** Writers of this node keep the lock this long, then it is the turn of others. */
const TURN_MS_MAX = 500
/** Pause before a transaction whose answer is lost is sent again. */
const RESEND_MS = 50
/** Pause before this node tries again to follow the primary. */
const RETURN_RETRY_MS = 500

export interface BorrowedLockContext {
  readonly clock: Clock
  readonly lender: Lender
  position(database: string): Pos | undefined
  onPositionChange(listener: () => void): () => void
  /** Gives the database to clients of this node to write, and takes it back. */
  loans: {
    borrow(database: string, limitMs: number): Promise<void>
    giveBack(database: string, limitMs: number): Promise<void>
  }
  /** No client begins to write until the lock is borrowed anew. */
  closing(database: string): void
  /** Clients commit nothing from here on. */
  shut(database: string): void
  /** The primary has taken a transaction, and enough replicas have it; or it has to be asked whether they have. */
  taken(database: string, isSynced: boolean): void
  /** This node may lack what the primary has. */
  resync(): void
  /** This node stops. */
  isStopping(): boolean
}

export class BorrowedLock {
  readonly #database: string
  readonly #context: BorrowedLockContext
  readonly #onGone: () => void
  readonly #id: bigint
  readonly #users: Borrower[] = [] // all writers of this node count once
  readonly #ended = new AbortController()
  readonly #gone = Promise.withResolvers<void>()
  /** All its steps, one after the other. */
  #work: Promise<void>
  #isHeld = false
  #isLost = false
  #isEnding = false // nobody uses it any more
  #isWanted = false // by others
  #isBehind = false
  #isGone = false
  #heldMs = 0 // since when it is held
  #renewedMs = 0 // when the last granted request for it was sent

  /** Asks for the lock, for whoever joins next. Calls `onGone` when it is back, or was refused. */
  constructor(database: string, context: BorrowedLockContext, waits: boolean, onGone: () => void) {
    this.#database = database
    this.#context = context
    this.#onGone = onGone
    this.#id = BigInt(Math.floor(context.clock.random() * 2 ** 52)) + 1n
    this.#work = this.#begin(waits)
  }

  get isHeld(): boolean {
    return this.#isHeld
  }

  /** The lock is on its way back: clients that want it borrow it anew. */
  get isLeaving(): boolean {
    return this.#isLost || this.#isEnding || this.#isWanted
  }

  /** Resolves when the lock is back. */
  get gone(): Promise<void> {
    return this.#gone.promise
  }

  /** Resolves when clients may write. A giveBack() must follow every call. */
  join(user: Borrower): Promise<void> {
    this.#addUser(user)
    return this.#work
  }

  /** A user that has given back, or is about to, goes on. Does nothing when the lock is already on its way back. */
  use(user: Borrower): void {
    if (!this.#isLost && !this.#isEnding) this.#addUser(user)
  }

  /** A user that joins within `lingerMs` has the lock at once. */
  async giveBack(user: Borrower, lingerMs: number): Promise<void> {
    const index = this.#users.indexOf(user)
    if (index < 0) return // the lock was lost before
    this.#users.splice(index, 1)
    const { clock } = this.#context
    const isOver = this.#isWanted || clock.monotonicMs() - this.#heldMs > TURN_MS_MAX
    if (lingerMs === 0 || isOver) await this.#endUnused()
    else clock.after(lingerMs, () => void this.#endUnused())
  }

  /** A transaction of a client. Resolves with why it does not count; undefined when the primary has it. */
  async propose(bytes: Uint8Array): Promise<ErrorCode | undefined> {
    if (this.#isLost) return "no-primary"
    const { clock, lender } = this.#context
    const { signal } = this.#ended
    for (;;) {
      const sentMs = clock.monotonicMs()
      try {
        const sending = lender.commit(this.#database, this.#id, bytes)
        const { code, problem, isWanted, isSynced } = await orAborted(sending, signal)
        if (code === undefined) {
          this.#context.taken(this.#database, isSynced)
          this.#renewedMs = Math.max(this.#renewedMs, sentMs)
          if (isWanted) this.#wanted()
        } else if (code !== "no-space") {
          void this.lost(problem) // the primary may have it all the same
        }
        return code
      } catch (error) {
        if (signal.aborted) return "no-primary"
        log.debug("cannot send a transaction, trying again", { db: this.#database, error })
      }
      await sleep(clock, RESEND_MS, signal).catch(() => {})
    }
  }

  /** Resolves when enough replicas have what the primary has taken; with false when the lock is lost before. */
  async synced(pos: Pos): Promise<boolean> {
    const { clock, lender } = this.#context
    const { signal } = this.#ended
    while (!signal.aborted) {
      try {
        if (await orAborted(lender.synced(this.#database, this.#id, pos), signal)) return true
      } catch (error) {
        // It may be another primary by now, whose history need not have the transaction.
        if (error instanceof LitefsError && error.code === "no-lock") return false
        log.debug("cannot ask for acknowledgements, trying again", { db: this.#database, error })
      }
      await sleep(clock, RESEND_MS, signal).catch(() => {})
    }
    return false
  }

  /** Somebody else may write to the database. Resolves when this node follows the primary again. */
  async lost(reason: string): Promise<void> {
    if (this.#isLost || !this.#isHeld) return this.#work.catch(() => {})
    log.warn("lost a borrowed write lock", { db: this.#database, reason })
    this.#isBehind = true
    await this.abandon()
  }

  /** Gives the lock up, whatever clients of this node are doing. */
  abandon(): Promise<void> {
    this.#isLost = true
    this.#context.shut(this.#database)
    return this.#end()
  }

  /** Others wait for the lock. */
  #wanted(): void {
    if (this.isLeaving || this.#users.includes("flock")) return
    this.#isWanted = true
    this.#context.closing(this.#database)
    void this.#endUnused()
  }

  async #endUnused(): Promise<void> {
    if (this.#users.length > 0 || this.#isLost || this.#isEnding) return
    this.#isEnding = true
    this.#context.closing(this.#database)
    await this.#end()
  }

  async #begin(waits: boolean): Promise<void> {
    const { clock, loans } = this.#context
    try {
      const pos = await this.#ask(waits ? WAIT_MS_MAX : 0)
      await this.#caughtUp(pos)
      // The primary counts from when it lent the lock, perhaps long after this node asked.
      if (clock.monotonicMs() - this.#renewedMs > RENEW_MS) await this.#ask(0)
      // From here on the thread that has applied transactions so far may be too late for what the primary sends.
      this.#isHeld = true
      this.#heldMs = clock.monotonicMs()
      void this.#keep() // the primary may have to take a transaction first
      await loans.borrow(this.#database, STALE_MS_MAX)
      log.debug("borrowed the write lock of the primary", { db: this.#database })
    } catch (error) {
      this.#leave()
      if (this.#isBehind) this.#context.resync()
      void this.#release()
      throw isBusy(error) ? new LitefsError("no-lock", error.message) : error
    }
  }

  async #ask(waitMs: number): Promise<Pos> {
    const { clock, lender } = this.#context
    const askedMs = clock.monotonicMs()
    const { pos, isWanted } = await lender.lend(this.#database, this.#id, TTL_MS, waitMs)
    this.#renewedMs = askedMs
    if (isWanted) this.#wanted()
    return pos
  }

  /** Resolves when this node has everything that the primary had when it lent the lock. */
  async #caughtUp(pos: Pos): Promise<void> {
    const { clock, position, onPositionChange } = this.#context
    const isThere = () => posEquals(position(this.#database) ?? ZERO_POS, pos)
    const wait = { clock, limitMs: WAIT_MS_MAX, onChange: onPositionChange }
    if (await until(isThere, wait)) return
    const what = "this node lacks transactions that the primary has"
    throw new LitefsError("no-lock", `Cannot borrow the write lock of "${this.#database}": ${what}`)
  }

  /** Renews the lock in time, or loses it. */
  async #keep(): Promise<void> {
    const { clock } = this.#context
    const { signal } = this.#ended
    const cancelLoss = () => cancel()
    let cancel = () => {}
    const watch = () => {
      cancel()
      const leftMs = this.#renewedMs + TTL_MS - MARGIN_MS - clock.monotonicMs()
      if (leftMs > 0) cancel = clock.after(leftMs, watch)
      else void this.lost("the primary did not renew it in time")
    }
    signal.addEventListener("abort", cancelLoss, { once: true })
    watch()
    while (!signal.aborted) {
      await sleep(clock, RENEW_MS, signal).catch(() => {})
      if (signal.aborted) break
      try {
        await orAborted(this.#ask(0), signal)
      } catch (error) {
        if (signal.aborted) break
        if (error instanceof LitefsError && error.code === "no-lock") {
          void this.lost(messageOf(error))
        }
      }
    }
    cancel()
  }

  #end(): Promise<void> {
    this.#work = this.#work.catch(() => {}).then(() => this.#goBack())
    return this.#work
  }

  async #goBack(): Promise<void> {
    if (this.#isGone) return
    if (this.#isLost) this.#ended.abort()
    if (this.#isHeld) await this.#return()
    this.#leave()
    if (this.#isBehind) this.#context.resync()
    await Promise.race([this.#release(), sleep(this.#context.clock, RELEASE_MS_MAX)])
  }

  async #return(): Promise<void> {
    const { clock, loans, isStopping } = this.#context
    const limitMs = this.#isLost ? UNDO_MS_MAX : RETURN_MS_MAX
    for (;;) {
      try {
        return await loans.giveBack(this.#database, limitMs)
      } catch (error) {
        if (isStopping()) return
        log.error("cannot go back to following the primary, trying again", {
          ...{ db: this.#database, problem: messageOf(error) },
        })
        await sleep(clock, RETURN_RETRY_MS)
      }
    }
  }

  #leave(): void {
    this.#isHeld = false
    this.#isGone = true
    this.#ended.abort()
    this.#onGone()
    this.#gone.resolve()
  }

  #release(): Promise<void> {
    return this.#context.lender.takeBack(this.#database, this.#id)
  }

  #addUser(user: Borrower): void {
    if (user === "flock" || !this.#users.includes(user)) this.#users.push(user)
  }
}

/** Whether a client of this node blocks. */
function isBusy(error: unknown): error is LitefsError {
  return error instanceof LitefsError && error.code === "unavailable"
}
