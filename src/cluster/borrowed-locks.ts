/**
 * The write locks that this node borrows from the primary, so that its own clients write.
 *
 *   free ── borrow() ──▶ asking ──▶ catching up ──▶ held ── the last giveBack() ──▶ returning ──▶ free
 *                          └── refused ──▶ free       └── lost() ──▶ lost ──────────────┘
 *
 * 1. While it is held, every transaction of a client is sent to the primary before the client's commit returns
 *    (propose()). When the primary does not have it, the commit fails, and nothing has changed here.
 * 2. It is renewed long before the primary takes it back, by every transaction and without one. When that cannot be
 *    done, clients of this node are kept from committing before the primary lends it to somebody else.
 * 3. A transaction whose answer is lost is sent again until the lock is: the primary knows it by where it leads to.
 *    When the lock is lost first, its client is told that it failed, though the primary may have it.
 * 4. Writers that come one after the other keep it for a while, or until the primary says that others want it. Then
 *    it goes back after the transaction there is, and who comes after that borrows it anew, behind the others.
 */
import { type Clock, sleep } from "../lib/clock.ts"
import { type ErrorCode, LitefsError, messageOf } from "../lib/errors.ts"
import { logger } from "../lib/log.ts"
import { type Pos, parsePos, posEquals } from "../ltx/pos.ts"
import type { Borrower } from "../mount/messages.ts"
import { WANTED_HEADER } from "../wire/protocol.ts"
import type { NodeAnswer } from "./node-client.ts"

const log = logger("halt")

/** Of a lock, unless it is renewed. Writers of the primary wait for so long when this node dies. */
const TTL_MS = 10_000
const RENEW_MS = TTL_MS / 4
/** Before the primary takes it back, nothing is committed any more. */
const MARGIN_MS = 2000
/** For others to give it back, and then for this node to have everything. */
const WAIT_MS_MAX = 10_000
const RETRY_MS = 50
const CALL_ATTEMPTS_MAX = 4
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

export interface BorrowedLocksContext {
  readonly clock: Clock
  /** A call to the primary. */
  call(method: "POST" | "DELETE", path: string, body?: Uint8Array): Promise<NodeAnswer>
  position(database: string): Pos | undefined
  onPositionChange(listener: () => void): () => void
  /** Throws when this node is not a replica, or becomes something else. */
  checkReplica(): void
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
}

interface Borrowed {
  readonly id: bigint
  readonly users: Borrower[] // the writers of this node are one
  /** All that happens to it, one after the other. */
  work: Promise<void>
  isHeld: boolean
  isLost: boolean
  isEnding: boolean // nobody uses it any more
  isWanted: boolean // by others
  heldMs: number // since when
  readonly ended: AbortController
  readonly gone: PromiseWithResolvers<void>
  renewedMs: number // when it was last asked for, and granted
  isBehind: boolean
}

export class BorrowedLocks {
  readonly #context: BorrowedLocksContext
  readonly #borrowed = new Map<string, Borrowed>()
  #isClosed = false

  constructor(context: BorrowedLocksContext) {
    this.#context = context
  }

  isHeld(database: string): boolean {
    return this.#borrowed.get(database)?.isHeld === true
  }

  /** Resolves when clients of this node may write. Every call is to be followed by a giveBack(). */
  async borrow(database: string, user: Borrower, waits = true): Promise<void> {
    for (;;) {
      if (this.#isClosed) throw new LitefsError("unavailable", "the node is stopping")
      this.#context.checkReplica()
      const known = this.#borrowed.get(database)
      if (known === undefined) break
      if (!isLeaving(known)) {
        addUser(known, user)
        return known.work
      }
      await known.gone.promise // it is on its way back
    }
    const borrowed: Borrowed = {
      id: BigInt(Math.floor(this.#context.clock.random() * 2 ** 52)) + 1n,
      users: [user],
      work: Promise.resolve(),
      isHeld: false,
      isLost: false,
      isEnding: false,
      isWanted: false,
      heldMs: 0,
      ended: new AbortController(),
      gone: Promise.withResolvers(),
      renewedMs: 0,
      isBehind: false,
    }
    this.#borrowed.set(database, borrowed)
    borrowed.work = this.#begin(database, borrowed, waits)
    await borrowed.work
  }

  /** A user that has given back, or is about to, goes on. Nothing happens when it is on its way back already. */
  use(database: string, user: Borrower): void {
    const borrowed = this.#borrowed.get(database)
    if (borrowed !== undefined && !borrowed.isLost && !borrowed.isEnding) addUser(borrowed, user)
  }

  /** Whoever borrows it again within `lingerMs` has it at once. */
  async giveBack(database: string, user: Borrower, lingerMs = 0): Promise<void> {
    const borrowed = this.#borrowed.get(database)
    const index = borrowed?.users.indexOf(user) ?? -1
    if (borrowed === undefined || index < 0) return // lost before
    borrowed.users.splice(index, 1)
    const { clock } = this.#context
    const isOver = borrowed.isWanted || clock.monotonicMs() - borrowed.heldMs > TURN_MS_MAX
    if (lingerMs === 0 || isOver) await this.#endUnused(database, borrowed)
    else clock.after(lingerMs, () => void this.#endUnused(database, borrowed))
  }

  async #endUnused(database: string, borrowed: Borrowed): Promise<void> {
    if (borrowed.users.length > 0 || borrowed.isLost || borrowed.isEnding) return
    borrowed.isEnding = true
    this.#context.closing(database)
    await this.#end(database, borrowed)
  }

  /** Others wait for it. */
  #wanted(database: string, borrowed: Borrowed): void {
    if (borrowed.isWanted || isLeaving(borrowed) || borrowed.users.includes("flock")) return
    borrowed.isWanted = true
    this.#context.closing(database)
    void this.#endUnused(database, borrowed)
  }

  /** A transaction of a client. Resolves with why it does not count; undefined when the primary has it. */
  async propose(database: string, bytes: Uint8Array): Promise<ErrorCode | undefined> {
    const borrowed = this.#borrowed.get(database)
    if (borrowed === undefined || borrowed.isLost) return "no-primary"
    const { clock, call } = this.#context
    const { signal } = borrowed.ended
    const path = `/tx?${query(database, { lockID: borrowed.id })}`
    for (;;) {
      const sentMs = clock.monotonicMs()
      try {
        const answer = await until(call("POST", path, bytes), signal)
        if (answer.status === 200) {
          borrowed.renewedMs = Math.max(borrowed.renewedMs, sentMs)
          if (answer.headers[WANTED_HEADER] !== undefined) this.#wanted(database, borrowed)
          return undefined
        }
        const problem = answer.text
        if (answer.status === 507) return "no-space"
        void this.lost(database, problem) // it may have it all the same
        return answer.status === 409 || answer.status === 503 ? "no-primary" : "io"
      } catch (error) {
        if (signal.aborted) return "no-primary"
        log.debug("cannot send a transaction, trying again", { db: database, error })
      }
      await sleep(clock, RETRY_MS, signal).catch(() => {})
    }
  }

  /** Somebody else may write to it. Resolves when this node follows the primary again. */
  async lost(database: string, reason: string): Promise<void> {
    const borrowed = this.#borrowed.get(database)
    if (borrowed === undefined) return
    if (!borrowed.isLost && borrowed.isHeld) {
      log.warn("lost a borrowed write lock", { db: database, reason })
      borrowed.isLost = true
      borrowed.isBehind = true
      this.#context.shut(database)
      await this.#end(database, borrowed)
    } else await borrowed.work.catch(() => {})
  }

  /** This node becomes the primary, or stops. */
  async endAll(): Promise<void> {
    await Promise.all(
      [...this.#borrowed].map(([database, borrowed]) => {
        borrowed.isLost = true
        this.#context.shut(database)
        return this.#end(database, borrowed)
      }),
    )
  }

  async close(): Promise<void> {
    this.#isClosed = true
    await this.endAll()
  }

  async #begin(database: string, borrowed: Borrowed, waits: boolean): Promise<void> {
    const { clock, exchange } = this.#context
    try {
      const pos = await this.#ask(database, borrowed, waits ? WAIT_MS_MAX : 0)
      await this.#caughtUp(database, pos)
      // The primary counts from when it has lent it, which may be long after it was asked.
      if (clock.monotonicMs() - borrowed.renewedMs > RENEW_MS)
        await this.#ask(database, borrowed, 0)
      // What comes from the primary from here on may be too late for the thread that has applied it so far.
      borrowed.isHeld = true
      borrowed.heldMs = clock.monotonicMs()
      await exchange.borrow(database, STALE_MS_MAX)
      log.debug("borrowed the write lock of the primary", { db: database })
      void this.#keep(database, borrowed)
    } catch (error) {
      borrowed.isHeld = false
      this.#borrowed.delete(database)
      borrowed.ended.abort()
      borrowed.gone.resolve()
      void this.#release(database, borrowed)
      throw isBusy(error) ? new LitefsError("no-lock", error.message) : error
    }
  }

  async #ask(database: string, borrowed: Borrowed, waitMs: number): Promise<Pos> {
    const { clock } = this.#context
    const askedMs = clock.monotonicMs()
    const parameters = { id: borrowed.id, ttl: BigInt(TTL_MS), wait: BigInt(waitMs) }
    const answer = await this.#call("POST", `/halt?${query(database, parameters)}`)
    if (answer.status !== 200) {
      const code =
        answer.status === 409 ? "no-lock" : answer.status === 404 ? "not-found" : "unavailable"
      throw new LitefsError(code, answer.text)
    }
    const pos = posOf(answer.text)
    if (pos === undefined) throw new LitefsError("unavailable", `it answered ${answer.text}`)
    borrowed.renewedMs = askedMs
    if (answer.headers[WANTED_HEADER] !== undefined) this.#wanted(database, borrowed)
    return pos
  }

  /** A kept connection may be closed in the moment in which it is used again. What is asked twice is done once. */
  async #call(method: "POST" | "DELETE", path: string): Promise<NodeAnswer> {
    const { clock, call } = this.#context
    for (let attempt = 1; ; attempt++) {
      try {
        return await call(method, path)
      } catch (error) {
        if (attempt === CALL_ATTEMPTS_MAX || error instanceof LitefsError) throw error
      }
      await sleep(clock, RETRY_MS)
    }
  }

  /** Until this node has everything that the primary had when it lent the lock. */
  async #caughtUp(database: string, pos: Pos): Promise<void> {
    const { clock, position, onPositionChange } = this.#context
    const isThere = () => posEquals(position(database) ?? { txid: 0n, checksum: 0n }, pos)
    const { promise, resolve } = Promise.withResolvers<void>()
    const unsubscribe = onPositionChange(() => isThere() && resolve())
    const cancel = clock.after(WAIT_MS_MAX, resolve)
    if (isThere()) resolve()
    await promise
    unsubscribe()
    cancel()
    if (isThere()) return
    throw new LitefsError(
      "no-lock",
      `Cannot borrow the write lock of "${database}": this node lacks transactions that the primary has`,
    )
  }

  #deadline({ renewedMs }: Borrowed): number {
    return renewedMs + TTL_MS - MARGIN_MS
  }

  /** Renews it in time, or loses it. */
  async #keep(database: string, borrowed: Borrowed): Promise<void> {
    const { clock } = this.#context
    const { signal } = borrowed.ended
    const cancelLoss = () => cancel()
    let cancel = () => {}
    const watch = () => {
      cancel()
      const leftMs = this.#deadline(borrowed) - clock.monotonicMs()
      if (leftMs > 0) cancel = clock.after(leftMs, watch)
      else void this.lost(database, "the primary did not renew it in time")
    }
    signal.addEventListener("abort", cancelLoss, { once: true })
    watch()
    while (!signal.aborted) {
      await sleep(clock, RENEW_MS, signal).catch(() => {})
      if (signal.aborted) break
      try {
        await until(this.#ask(database, borrowed, 0), signal)
      } catch (error) {
        if (signal.aborted) break
        if (error instanceof LitefsError && error.code === "no-lock") {
          void this.lost(database, messageOf(error))
        }
      }
    }
    cancel()
  }

  #end(database: string, borrowed: Borrowed): Promise<void> {
    const ending = borrowed.work
      .catch(() => {})
      .then(async () => {
        if (this.#borrowed.get(database) !== borrowed) return
        const { exchange, resync } = this.#context
        if (borrowed.isLost) borrowed.ended.abort()
        if (borrowed.isHeld) await this.#return(database, borrowed, exchange)
        borrowed.isHeld = false
        borrowed.ended.abort()
        this.#borrowed.delete(database)
        borrowed.gone.resolve()
        if (borrowed.isBehind) resync()
        await Promise.race([
          this.#release(database, borrowed),
          sleep(this.#context.clock, RELEASE_MS_MAX),
        ])
      })
    borrowed.work = ending
    return ending
  }

  async #return(
    database: string,
    { isLost }: Borrowed,
    exchange: BorrowedLocksContext["exchange"],
  ): Promise<void> {
    for (;;) {
      try {
        return await exchange.giveBack(database, isLost ? UNDO_MS_MAX : RETURN_MS_MAX)
      } catch (error) {
        if (this.#isClosed) return
        log.error("cannot go back to following the primary, trying again", {
          db: database,
          problem: messageOf(error),
        })
        await sleep(this.#context.clock, 500)
      }
    }
  }

  /** When it does not arrive, the primary takes the lock back in time. */
  async #release(database: string, { id }: Borrowed): Promise<void> {
    try {
      await this.#call("DELETE", `/halt?${query(database, { id })}`)
    } catch (error) {
      log.debug("cannot give a write lock back", { db: database, error })
    }
  }
}

function isLeaving({ isLost, isEnding, isWanted }: Borrowed): boolean {
  return isLost || isEnding || isWanted
}

function addUser({ users }: Borrowed, user: Borrower): void {
  if (user === "flock" || !users.includes(user)) users.push(user)
}

/** Of a client of this node that is in the way. */
function isBusy(error: unknown): error is LitefsError {
  return error instanceof LitefsError && error.code === "unavailable"
}

function query(name: string, numbers: Record<string, bigint>): string {
  const parameters = Object.entries(numbers).map(([key, value]) => [key, value.toString()])
  return new URLSearchParams([["name", name], ...(parameters as [string, string][])]).toString()
}

/** Of the answer to POST /halt. */
function posOf(text: string): Pos | undefined {
  try {
    const { pos } = JSON.parse(text) as { pos?: { TXID?: string; PostApplyChecksum?: string } }
    return parsePos(`${pos?.TXID}/${pos?.PostApplyChecksum}`)
  } catch {
    return undefined
  }
}

/** Rejects when the signal is aborted first. */
async function until<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const aborted = Promise.withResolvers<never>()
  const abort = () => aborted.reject(signal.reason)
  signal.addEventListener("abort", abort, { once: true })
  if (signal.aborted) abort()
  work.catch(() => {})
  try {
    return await Promise.race([work, aborted.promise])
  } finally {
    signal.removeEventListener("abort", abort)
  }
}
