/**
 * The write lock of one database, borrowed from the primary, so that clients of this node write to it.
 *
 *   asking ─▶ catching up ─▶ held ── nobody uses it, or others want it ──▶ returning ──▶ gone
 *      └── refused ──▶ gone    └── lost(): somebody else may write ──▶ lost ──┘
 *
 * 1. While it is held, every transaction of a client is sent to the primary before the client's commit returns
 *    (propose()). When the primary does not have it, the commit fails, and nothing has changed here.
 * 2. It is renewed long before the primary takes it back, by every transaction and without one. When that cannot be
 *    done, clients of this node are kept from committing before the primary lends it to somebody else.
 * 3. A transaction whose answer is lost is sent again until the lock is: the primary knows it by where it leads to.
 *    When the lock is lost first, its client is told that it failed, though the primary may have it.
 */
import { orAborted } from "../../lib/abort.ts"
import { type Clock, sleep } from "../../lib/clock.ts"
import { type ErrorCode, LitefsError, messageOf } from "../../lib/errors.ts"
import { logger } from "../../lib/log.ts"
import { type Pos, posEquals, ZERO_POS } from "../../ltx/pos.ts"
import type { Borrower } from "../../mount/contract.ts"
import type { Lender } from "./lender.ts"

const log = logger("halt")

/** Of a lock, unless it is renewed. Writers of the primary wait for so long when this node dies. */
const TTL_MS = 10_000
const RENEW_MS = TTL_MS / 4
/** Before the primary takes it back, nothing is committed any more. */
const MARGIN_MS = 2000
/** For others to give it back, and then for this node to have everything. */
const WAIT_MS_MAX = 10_000
/** For clients to end their write transactions. */
const RETURN_MS_MAX = 5000
/** The same when they cannot commit any more. */
const UNDO_MS_MAX = 1000
/** For the primary to hear of it. */
const RELEASE_MS_MAX = 1000
/** For a client that is in a write transaction, and knows less than what is here. */
const STALE_MS_MAX = 2000
/** Writers of this node have it for so long, and then others may. */
const TURN_MS_MAX = 500
/** Until a transaction is sent again whose answer is lost. */
const RESEND_MS = 50
/** Until this node tries again to follow the primary. */
const RETURN_RETRY_MS = 500

export interface BorrowedLockContext {
  readonly clock: Clock
  readonly lender: Lender
  position(database: string): Pos | undefined
  onPositionChange(listener: () => void): () => void
  /** Gives clients of this node the database to write to, and takes it again. */
  exchange: {
    borrow(database: string, limitMs: number): Promise<void>
    giveBack(database: string, limitMs: number): Promise<void>
  }
  /** No client begins to write, until it is borrowed anew. */
  closing(database: string): void
  /** Clients commit nothing from here on. */
  shut(database: string): void
  /** What the primary has may be missing here. */
  resync(): void
  /** This node stops. */
  isStopping(): boolean
}

export class BorrowedLock {
  readonly #database: string
  readonly #context: BorrowedLockContext
  readonly #onGone: () => void
  readonly #id: bigint
  readonly #users: Borrower[] = [] // the writers of this node are one
  readonly #ended = new AbortController()
  readonly #gone = Promise.withResolvers<void>()
  /** All that happens to it, one after the other. */
  #work: Promise<void>
  #isHeld = false
  #isLost = false
  #isEnding = false // nobody uses it any more
  #isWanted = false // by others
  #isBehind = false
  #isGone = false
  #heldMs = 0 // since when
  #renewedMs = 0 // when it was last asked for, and granted

  /** Asks for it, for whoever joins next. `onGone` is called when it is back, or was not to be had. */
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

  /** It is on its way back: who wants it borrows it anew. */
  get isLeaving(): boolean {
    return this.#isLost || this.#isEnding || this.#isWanted
  }

  /** Resolves when it is back. */
  get gone(): Promise<void> {
    return this.#gone.promise
  }

  /** Resolves when clients may write. Every call is to be followed by a giveBack(). */
  join(user: Borrower): Promise<void> {
    this.#addUser(user)
    return this.#work
  }

  /** A user that has given back, or is about to, goes on. Nothing happens when it is on its way back already. */
  use(user: Borrower): void {
    if (!this.#isLost && !this.#isEnding) this.#addUser(user)
  }

  /** Whoever joins within `lingerMs` has it at once. */
  async giveBack(user: Borrower, lingerMs: number): Promise<void> {
    const index = this.#users.indexOf(user)
    if (index < 0) return // lost before
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
        const { code, problem, isWanted } = await orAborted(sending, signal)
        if (code === undefined) {
          this.#renewedMs = Math.max(this.#renewedMs, sentMs)
          if (isWanted) this.#wanted()
        } else if (code !== "no-space") {
          void this.lost(problem) // it may have it all the same
        }
        return code
      } catch (error) {
        if (signal.aborted) return "no-primary"
        log.debug("cannot send a transaction, trying again", { db: this.#database, error })
      }
      await sleep(clock, RESEND_MS, signal).catch(() => {})
    }
  }

  /** Somebody else may write to it. Resolves when this node follows the primary again. */
  async lost(reason: string): Promise<void> {
    if (this.#isLost || !this.#isHeld) return this.#work.catch(() => {})
    log.warn("lost a borrowed write lock", { db: this.#database, reason })
    this.#isBehind = true
    await this.abandon()
  }

  /** Whatever clients of this node are doing. */
  abandon(): Promise<void> {
    this.#isLost = true
    this.#context.shut(this.#database)
    return this.#end()
  }

  /** Others wait for it. */
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
    const { clock, exchange } = this.#context
    try {
      const pos = await this.#ask(waits ? WAIT_MS_MAX : 0)
      await this.#caughtUp(pos)
      // The primary counts from when it has lent it, which may be long after it was asked.
      if (clock.monotonicMs() - this.#renewedMs > RENEW_MS) await this.#ask(0)
      // What comes from the primary from here on may be too late for the thread that has applied it so far.
      this.#isHeld = true
      this.#heldMs = clock.monotonicMs()
      await exchange.borrow(this.#database, STALE_MS_MAX)
      log.debug("borrowed the write lock of the primary", { db: this.#database })
      void this.#keep()
    } catch (error) {
      this.#leave()
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

  /** Until this node has everything that the primary had when it lent the lock. */
  async #caughtUp(pos: Pos): Promise<void> {
    const { clock, position, onPositionChange } = this.#context
    const isThere = () => posEquals(position(this.#database) ?? ZERO_POS, pos)
    const { promise, resolve } = Promise.withResolvers<void>()
    const unsubscribe = onPositionChange(() => isThere() && resolve())
    const cancel = clock.after(WAIT_MS_MAX, resolve)
    if (isThere()) resolve()
    await promise
    unsubscribe()
    cancel()
    if (isThere()) return
    const what = "this node lacks transactions that the primary has"
    throw new LitefsError("no-lock", `Cannot borrow the write lock of "${this.#database}": ${what}`)
  }

  /** Renews it in time, or loses it. */
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
    const { clock, exchange, isStopping } = this.#context
    const limitMs = this.#isLost ? UNDO_MS_MAX : RETURN_MS_MAX
    for (;;) {
      try {
        return await exchange.giveBack(this.#database, limitMs)
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

/** Of a client of this node that is in the way. */
function isBusy(error: unknown): error is LitefsError {
  return error instanceof LitefsError && error.code === "unavailable"
}
