/**
 * The halt locks of a primary: which node writes to which database in its place.
 *
 *            acquire(): clients of this node are kept from writing
 *   free ──────────────────────────────────────────────────────────▶ held ── acquire() with the same id, apply():
 *     ▲                                                               │      its time begins anew
 *     └── release(); the time is over; revokeAll() ───────────────────┘
 *
 * 1. While a lock is held, the only transactions are those that its holder sends (apply()), each on the position that
 *    the last one has led to. A transaction is durable, and on its way to every replica, when its sender gets the
 *    answer.
 * 2. Waiting nodes get a lock in order of arrival, and its holder hears that somebody waits. Clients of this node are
 *    not in that queue, they try from time to time: when others have had the lock for long, it rests so that they can
 *    write.
 * 3. Readers of this node are not disturbed; its writers find the database locked, as by any other writer.
 * 4. A command on this node may hold a lock, too (flock(1) on `<db>-lock`): other nodes then wait, and nothing else
 *    changes.
 */
import { type Clock, sleep } from "../../lib/clock.ts"
import { formatDuration } from "../../lib/duration.ts"
import { LitefsError, messageOf } from "../../lib/errors.ts"
import { LineLimit, logger } from "../../lib/log.ts"
import { inTime } from "../../lib/until.ts"
import type { LtxHeader } from "../../ltx/header.ts"
import { formatPos, type Pos, posEquals, ZERO_POS } from "../../ltx/pos.ts"
import { posBefore } from "../../ltx/span.ts"
import { headerOf, posOf, type SentTransaction } from "./sent-transaction.ts"

const log = logger("halt")

const RETRY_MS = 500
/** A holder has the lock this long before it hears that others want it. */
const TURN_MS_MIN = 50
/** When other nodes have had the lock this long, it rests: clients of this node may write. */
const LENT_MS_MAX = 1000
/** Nodes that wait for the lock of one database. */
const WAITING_COUNT_MAX = 256
/** Databases with lent or awaited locks at a time: each has open files, and asking for a new one makes a database. */
const DATABASE_COUNT_MAX = 1024
/** Databases that were made for other nodes and have no transaction yet. Unused they go after a while (empty-files.ts). */
const MADE_COUNT_MAX = 1024
/** SQLite tries every 100 ms. */
const REST_MS = 120

export interface HaltLocksContext {
  readonly clock: Clock
  /** Throws when this node is not the primary, or is handing its role over. */
  checkPrimary(): void
  position(database: string): Pos | undefined
  /** Keeps clients from writing, for another node. Resolves with a function that ends that. */
  lend(database: string, limitMs: number, node: string): Promise<() => Promise<void>>
  /** Applies an LTX file to a lent database; rejects when that is impossible. */
  apply(database: string, transaction: SentTransaction): Promise<void>
}

export interface HaltRequest {
  readonly id: bigint
  /** The asking node, for the log. */
  readonly node: string
  /** How long the lock is held without a renewal. */
  readonly ttlMs: number
  /** How long to wait for others. */
  readonly waitMs: number
  /** Aborted when nobody waits for the answer any more. */
  readonly signal?: AbortSignal | undefined
}

export interface HaltLock {
  readonly id: bigint
  readonly pos: Pos
  readonly expiresMs: number // by the wall clock
}

interface Held {
  readonly id: bigint
  readonly node: string
  readonly ended: PromiseWithResolvers<void>
  takeBack: (() => Promise<void>) | undefined // undefined before it is lent, and after it is back
  work: Promise<unknown> // one transaction after the other, then the end
  cancel: (() => void) | undefined // cancels the expiry
  ttlMs: number
  isEnding: boolean
  readonly sinceMs: number
}

export class HaltLocks {
  readonly #context: HaltLocksContext
  readonly #held = new Map<string, Held>()
  /** The number of requests that wait for a lock. */
  readonly #waiting = new Map<string, number>()
  /** Names of databases that were made for other nodes: some may be gone, or have transactions by now. */
  readonly #made = new Set<string>()
  /** Locks that nodes have had in succession: since when, and until when. */
  readonly #lent = new Map<string, { readonly sinceMs: number; untilMs: number }>()
  /** Anybody who reaches the API can cause lines. */
  readonly #limit: LineLimit
  #isPaused = false

  constructor(context: HaltLocksContext) {
    this.#context = context
    this.#limit = new LineLimit(context.clock)
  }

  /** The node that holds the lock. */
  holder(database: string): string | undefined {
    return this.#held.get(database)?.node
  }

  /** Whether its holder should give it back as soon as it can. */
  isWanted(database: string): boolean {
    const held = this.#held.get(database)
    if (held === undefined) return false
    const isOld = this.#context.clock.monotonicMs() - held.sinceMs >= TURN_MS_MIN
    return this.#isPaused || (isOld && this.#waiting.has(database))
  }

  /** The same id again renews the lock. */
  async acquire(database: string, request: HaltRequest): Promise<HaltLock> {
    const known = this.#held.get(database)
    if (known?.id === request.id && !known.isEnding) {
      await known.work
      if (known.takeBack !== undefined && !known.isEnding) {
        known.ttlMs = request.ttlMs
        return this.#renew(database, known)
      }
    }
    const deadlineMs = this.#context.clock.monotonicMs() + request.waitMs
    const held = await this.#reserve(database, request)
    if (held.isEnding) throw notHeld(database)
    held.ttlMs = request.ttlMs
    const lending = this.#lend(database, held, deadlineMs)
    held.work = lending.catch(() => {})
    await lending
    if (request.signal?.aborted) await this.#end(database, held)
    request.signal?.throwIfAborted()
    log.debug("lent the write lock", { db: database, to: request.node })
    return this.#renew(database, held)
  }

  /** For a command on this node, which writes here. `release` with the same id ends it. */
  async acquireLocal(database: string, request: HaltRequest): Promise<void> {
    const held = await this.#reserve(database, request)
    held.takeBack = async () => {}
  }

  /** Does nothing when no lock with this id is held. */
  async release(database: string, id: bigint): Promise<void> {
    const held = this.#held.get(database)
    if (held?.id === id) await this.#end(database, held)
  }

  /** Throws when no lock with this id is held: nobody then needs to read the transaction. */
  checkHeld(database: string, id: bigint): void {
    this.#find(database, id)
  }

  /** Throws when a transaction that starts with these bytes will be refused. */
  checkStart(database: string, start: Uint8Array): void {
    const header = headerOf(start)
    const pos = this.#context.position(database)
    if (pos?.txid === header.maxTxid) return // the transaction may already be here
    if (pos === undefined || !posEquals(pos, posBefore(header)))
      throw mismatch(database, header, pos)
  }

  /** Throws unless the lock is held with this id, and its holder's last transaction has led to the position. */
  checkTaken(database: string, id: bigint, pos: Pos): void {
    this.#find(database, id)
    const here = this.#context.position(database) ?? ZERO_POS
    if (posEquals(here, pos)) return
    const problem = `"${database}" is at ${formatPos(here)} here, not at ${formatPos(pos)}`
    throw new LitefsError("no-lock", `Cannot tell which replicas have it: ${problem}`)
  }

  #find(database: string, id: bigint): Held {
    const held = this.#held.get(database)
    if (held?.id !== id || held.isEnding) throw notHeld(database)
    return held
  }

  /** Applies a transaction of the holder, but only once when it is sent twice. */
  async apply(database: string, id: bigint, transaction: SentTransaction): Promise<void> {
    const held = this.#find(database, id)
    const work = held.work.then(async () => {
      this.#context.checkPrimary()
      if (held.takeBack === undefined) throw notHeld(database)
      if (this.#isNext(database, transaction)) {
        await this.#context.apply(database, transaction)
      }
      this.#context.checkPrimary()
      if (!held.isEnding) this.#watch(database, held)
    })
    held.work = work.catch(() => {})
    await work
  }

  /** Before a handoff: lends nothing any more, and waits for lent locks. */
  async pause(limitMs: number): Promise<void> {
    this.#isPaused = true
    const { clock } = this.#context
    const ended = [...this.#held.values()].map(({ ended }) => ended.promise)
    await inTime(Promise.all(ended), { clock, limitMs }, () => {
      const [database, held] = [...this.#held][0] ?? []
      return new LitefsError(
        "unavailable",
        `Cannot stop writes to database "${database}": "${held?.node}" has borrowed its write lock for over ${formatDuration(limitMs)}, try again when it is given back`,
      )
    })
  }

  resume(): void {
    this.#isPaused = false
  }

  /** This node is no longer the primary, or stops: holders find out with their next request. */
  async revokeAll(): Promise<void> {
    await Promise.all([...this.#held].map(([database, held]) => this.#end(database, held)))
  }

  async #reserve(database: string, request: HaltRequest): Promise<Held> {
    const isNew = !this.#held.has(database) && !this.#waiting.has(database)
    if (isNew && this.#held.size + this.#waiting.size >= DATABASE_COUNT_MAX) {
      const problem = `those of ${DATABASE_COUNT_MAX} databases are lent or waited for`
      throw cannotLend("another write lock", problem)
    }
    const count = this.#waiting.get(database) ?? 0
    if (count >= WAITING_COUNT_MAX) {
      throw cannotLend(`the write lock of "${database}"`, `${WAITING_COUNT_MAX} others wait for it`)
    }
    this.#waiting.set(database, count + 1)
    try {
      return await this.#reserveInTurn(database, request)
    } finally {
      const left = (this.#waiting.get(database) ?? 1) - 1
      if (left > 0) this.#waiting.set(database, left)
      else this.#waiting.delete(database)
    }
  }

  async #reserveInTurn(database: string, { id, node, waitMs, signal }: HaltRequest): Promise<Held> {
    const { clock } = this.#context
    const deadlineMs = clock.monotonicMs() + waitMs
    for (;;) {
      signal?.throwIfAborted()
      this.#context.checkPrimary()
      if (this.#isPaused) throw new LitefsError("no-lock", "the primary is handing over")
      const other = this.#held.get(database)
      if (other === undefined) break
      const leftMs = deadlineMs - clock.monotonicMs()
      if (leftMs <= 0) throw cannotLend(`the write lock of "${database}"`, `"${other.node}" has it`)
      const { promise, resolve } = Promise.withResolvers<void>()
      const cancel = clock.after(leftMs, resolve)
      signal?.addEventListener("abort", () => resolve(), { once: true })
      await Promise.race([other.ended.promise, promise])
      cancel()
    }
    const held: Held = {
      id,
      node,
      ended: Promise.withResolvers<void>(),
      takeBack: undefined,
      work: Promise.resolve(),
      cancel: undefined,
      ttlMs: 0,
      isEnding: false,
      sinceMs: clock.monotonicMs(),
    }
    this.#held.set(database, held)
    return held
  }

  async #lend(database: string, held: Held, deadlineMs: number): Promise<void> {
    const { clock } = this.#context
    try {
      if (this.#context.position(database) === undefined) this.#countMade(database)
      await this.#rest(database)
      const limitMs = Math.max(0, deadlineMs - clock.monotonicMs())
      held.takeBack = await this.#context.lend(database, limitMs, held.node)
    } catch (error) {
      this.#forget(database, held)
      const isBusy = error instanceof LitefsError && error.code === "unavailable"
      throw isBusy ? new LitefsError("no-lock", error.message) : error
    }
  }

  /** A node that asks for ever new names must not use them up: one is made, and stays for a while. */
  #countMade(database: string): void {
    if (this.#made.size >= MADE_COUNT_MAX) this.#forgetMade()
    if (this.#made.size >= MADE_COUNT_MAX && !this.#made.has(database)) {
      const problem = `${MADE_COUNT_MAX} databases that were made so have no transaction yet`
      throw cannotLend(`the write lock of the new database "${database}"`, problem)
    }
    this.#made.add(database)
  }

  #forgetMade(): void {
    for (const name of this.#made) {
      const pos = this.#context.position(name)
      const isEmpty = pos === undefined ? this.#held.has(name) : pos.txid === 0n
      if (!isEmpty) this.#made.delete(name)
    }
  }

  /** Lets clients of this node write when other nodes have had the lock for long. */
  async #rest(database: string): Promise<void> {
    const { clock } = this.#context
    const nowMs = clock.monotonicMs()
    const lent = this.#lent.get(database)
    if (lent === undefined || nowMs - lent.untilMs >= REST_MS) {
      this.#lent.set(database, { sinceMs: nowMs, untilMs: nowMs })
    } else if (nowMs - lent.sinceMs >= LENT_MS_MAX) {
      await sleep(clock, REST_MS)
      const restedMs = clock.monotonicMs()
      this.#lent.set(database, { sinceMs: restedMs, untilMs: restedMs })
    }
  }

  #renew(database: string, held: Held): HaltLock {
    const { clock, position } = this.#context
    this.#watch(database, held)
    const pos = position(database)
    if (pos === undefined) throw new LitefsError("not-found", `database not found: "${database}"`)
    return { id: held.id, pos, expiresMs: clock.wallMs() + held.ttlMs }
  }

  #watch(database: string, held: Held): void {
    held.cancel?.()
    held.cancel = this.#context.clock.after(held.ttlMs, () => {
      const message = "a borrowed write lock was not renewed, took it back"
      const said = this.#limit.take(`${database} ${held.node}`)
      if (said !== undefined) log.warn(message, { db: database, from: held.node, ...said })
      void this.#end(database, held)
    })
  }

  async #end(database: string, held: Held): Promise<void> {
    if (!held.isEnding) {
      held.isEnding = true
      held.cancel?.()
      held.work = held.work.then(() => this.#takeBack(database, held))
    }
    await held.ended.promise
  }

  /** Nobody writes to the database until it is back: trying again is the only way. */
  async #takeBack(database: string, held: Held): Promise<void> {
    try {
      await held.takeBack?.()
      held.takeBack = undefined
      this.#forget(database, held)
    } catch (error) {
      const problem = messageOf(error)
      const said = this.#limit.take(`${database} ${problem}`)
      const message = "cannot take a lent write lock back, trying again"
      if (said !== undefined) log.error(message, { db: database, problem, ...said })
      this.#context.clock.after(RETRY_MS, () => void this.#takeBack(database, held))
    }
  }

  #forget(database: string, held: Held): void {
    if (this.#held.get(database) === held) this.#held.delete(database)
    const lent = this.#lent.get(database)
    if (lent !== undefined) lent.untilMs = this.#context.clock.monotonicMs()
    held.ended.resolve()
  }

  /** False when the transaction is already here. */
  #isNext(database: string, transaction: SentTransaction): boolean {
    const header = headerOf(transaction.start)
    const after = posOf(header, transaction)
    const pos = this.#context.position(database)
    if (pos !== undefined && posEquals(pos, after)) return false
    if (pos !== undefined && posEquals(pos, posBefore(header))) return true
    throw mismatch(database, header, pos)
  }
}

function mismatch(database: string, header: LtxHeader, pos: Pos | undefined): LitefsError {
  return new LitefsError(
    "position-mismatch",
    `Cannot take a transaction of "${database}": it follows on ${formatPos(posBefore(header))}, the database is at ${pos && formatPos(pos)}`,
  )
}

function notHeld(database: string): LitefsError {
  return new LitefsError(
    "no-lock",
    `Cannot take a transaction of "${database}": its sender does not hold the halt lock`,
  )
}

function cannotLend(lock: string, problem: string): LitefsError {
  return new LitefsError("no-lock", `Cannot lend ${lock}: ${problem}`)
}
