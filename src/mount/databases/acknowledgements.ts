/**
 * Requests of clients that wait for replicas (`--sync-replicas`; cluster/sync-replicas.ts counts them).
 *
 *   a request that commits
 *     ─▶ check(): N replicas have all that came before? ── no ─▶ held ── they have it by now ──▶ done again
 *     │    nothing of it counts yet (Unsynced undoes it)          └── too late (strict) ──▶ refused, truthfully: EIO
 *     ▼
 *   committed(): durable here, and on its way to all replicas
 *     ─▶ waiting ── N replicas have it ─────────────────────────────────▶ the client is answered
 *           ├── degrade: too late ──────────────────────────────────────▶ answered, and the log has said so
 *           ├── its client is being killed ─────────────────────────────▶ answered: nobody hears it
 *           └── this node loses the role, or the borrowed lock ─────────▶ EIO: nobody knows the outcome
 *
 * Only the request waits. Other requests go on, and the transaction stands: it is in the log, `-pos` shows it, replicas
 * apply it. Clients of this node do not see it before. In WAL mode its writer has not published it, in rollback modes
 * its writer holds EXCLUSIVE: until the answer, or until the writer is killed.
 *
 * In strict mode a transaction under way is never refused. A replica may have it: after a failover it would be there
 * although its client was told that it failed, and SQLite would have undone it here.
 *
 * unlink(2) keeps the directory locked: nobody can look up a name that the kernel does not know, make or remove a file,
 * even of another database. An UNLINK that commits (journal_mode DELETE, a dropped database) is therefore not held. The
 * first write to a journal is, so that its commit need not be. Where the UNLINK waits after all, a replica has fallen
 * silent just then.
 *
 * A borrowed database has no check(): the primary does that before it takes the transaction. The client then waits
 * until the primary says that enough replicas have it; this node, which has it too, may be one of them.
 */
import { Deferred } from "../../fuse/deferred.ts"
import type { Clock } from "../../lib/clock.ts"
import type { ErrorCode } from "../../lib/errors.ts"
import { LitefsError } from "../../lib/errors.ts"
import type { Pos, Txid } from "../../ltx/pos.ts"
import { Errno } from "../../sys/errno.ts"
import { errnoOf } from "./errno.ts"

/** A client that was killed cannot end before its request is answered, and the kernel does not always tell us. */
const LOOK_MS = 100

/** A transaction may not count yet: too few replicas have what came before it. Thrown where it would become durable. */
export class Unsynced extends Error {
  readonly database: string

  constructor(database: string) {
    super(`a transaction of "${database}" waits for replicas`)
    this.database = database
  }
}

export interface Commit {
  readonly database: string
  readonly pos: Pos
  /** The primary has taken it first. */
  readonly isBorrowed: boolean
  readonly thread: number // by the kernel's id of it, 0 if unknown
}

interface Waiting extends Pick<Commit, "database" | "thread"> {
  /** Undefined when a client is being killed. */
  end(code: ErrorCode | undefined): void
}

export interface HeldRequest {
  readonly thread: number // by the kernel's id of it, 0 if unknown
  /** False: others could not use the directory as long as it waits, so it is refused rather than that it waits. */
  readonly isPatient: boolean
}

export interface AcknowledgementsContext {
  readonly clock: Clock
  /** Whether a commit of a primary waits at all, and whether one may be refused. */
  readonly isOn: boolean
  readonly isStrict: boolean
  /** Changes when it has to be asked anew whether enough replicas have what they had. */
  generation(): number
  /** Calls `then` with why a transaction may not be made, at once unless `isPatient`; undefined when it may. */
  askBefore(database: string, isPatient: boolean, then: (code: ErrorCode | undefined) => void): void
  /** Calls `then` when enough replicas have it; with a code when nobody knows what becomes of it. */
  askAfter(commit: Commit, then: (code: ErrorCode | undefined) => void): void
  /** Whether the thread is about to die of a signal. */
  isDying(thread: number): boolean
}

export class Acknowledgements {
  readonly #context: AcknowledgementsContext
  readonly #waiting = new Set<Waiting>()
  /** What was acknowledged last. */
  readonly #acknowledged = new Map<string, { readonly txid: Txid; readonly generation: number }>()
  /** Databases whose last transaction was not acknowledged yet. */
  readonly #unacknowledged = new Set<string>()
  #isAsking = false // a client's request is being done, for the first time
  #committed: Commit | undefined // by the request that is being done
  #lookMs = 0 // when to look for dying clients

  constructor(context: AcknowledgementsContext) {
    this.#context = context
  }

  /** On the primary, before a transaction that follows on `txid` counts. Throws an Unsynced when it may not yet. */
  check(database: string, txid: Txid): void {
    const { isOn, isStrict, generation } = this.#context
    if (!isOn || !isStrict || !this.#isAsking) return
    const last = this.#acknowledged.get(database)
    if (last?.txid === txid && last.generation === generation()) return
    throw new Unsynced(database)
  }

  /** The request that is being done has made a transaction. */
  committed(commit: Commit): void {
    if (!this.#context.isOn && !commit.isBorrowed) return
    this.#committed = commit
    this.#unacknowledged.add(commit.database)
  }

  /**
   * The request that is being done writes a part of a commit again. The kernel splits a write, and when its last part
   * fails, tells the client that the first part is written. The client then writes the last part again, which commits
   * nothing any more (capture/wal-tracker.ts, rule 6): it must not be told that all is well.
   */
  repeating(commit: Commit): void {
    if (this.#unacknowledged.has(commit.database)) this.#committed ??= commit
  }

  /**
   * Does what a client has asked for, and what may commit: only here a transaction is checked. Undefined when the client
   * need not wait.
   */
  request(act: () => void): Deferred | undefined {
    this.begin()
    this.#isAsking = true
    try {
      act()
    } finally {
      this.#isAsking = false
    }
    if (this.#committed === undefined) return undefined
    const deferred = new Deferred()
    this.finish(deferred)
    return deferred
  }

  /** Before a request is repeated. */
  begin(): void {
    this.#committed = undefined
  }

  /** After a request that was repeated: answers it, when replicas have what it has committed. */
  finish(deferred: Deferred): void {
    const commit = this.#committed
    this.#committed = undefined
    if (commit === undefined) return deferred.done()
    const { database, pos, thread } = commit
    const generation = this.#context.generation()
    const waiting = this.#add({ database, thread }, (code) => {
      if (code === undefined) deferred.done()
      else deferred.fail(Errno.EIO)
    })
    this.#context.askAfter(commit, (code) => {
      if (code === undefined) {
        this.#acknowledged.set(database, { txid: pos.txid, generation })
        this.#unacknowledged.delete(database)
      }
      if (this.#waiting.has(waiting)) waiting.end(code)
    })
  }

  /** The request waits until it may commit. `again` repeats it from the start; `end` is called when it is over. */
  hold({ database }: Unsynced, held: HeldRequest, again: () => void, end: () => void): Deferred {
    const { thread, isPatient } = held
    const deferred = new Deferred()
    const waiting = this.#add({ database, thread }, (code) => {
      end()
      deferred.fail(code === undefined ? Errno.EINTR : errnoOf(new LitefsError(code, "refused")))
    })
    this.#context.askBefore(database, isPatient, (code) => {
      if (!this.#waiting.has(waiting)) return
      if (code !== undefined) return waiting.end(code)
      this.#waiting.delete(waiting)
      this.begin()
      try {
        again()
      } catch (error) {
        end()
        return deferred.fail(errnoOf(error))
      }
      end()
      this.finish(deferred)
    })
    return deferred
  }

  /** The database is no longer this thread's: of those that wait nobody knows the outcome. Undefined: all databases. */
  refuse(database?: string): void {
    for (const waiting of [...this.#waiting]) {
      if (database === undefined || waiting.database === database) waiting.end("unavailable")
    }
    if (database === undefined) this.#acknowledged.clear()
    else this.#acknowledged.delete(database)
  }

  /** The database is gone for good. */
  forget(database: string): void {
    this.#acknowledged.delete(database)
    this.#unacknowledged.delete(database)
  }

  /** Ends requests of clients that were killed. Returns in how many milliseconds to call again. */
  sweep(): number | undefined {
    if (this.#waiting.size === 0) return undefined
    const { clock, isDying } = this.#context
    const nowMs = clock.monotonicMs()
    if (nowMs < this.#lookMs) return this.#lookMs - nowMs
    for (const waiting of [...this.#waiting]) {
      if (waiting.thread !== 0 && isDying(waiting.thread)) waiting.end(undefined)
    }
    this.#lookMs = nowMs + LOOK_MS
    return LOOK_MS
  }

  #add(of: Pick<Waiting, "database" | "thread">, end: Waiting["end"]): Waiting {
    if (this.#waiting.size === 0) this.#lookMs = this.#context.clock.monotonicMs() + LOOK_MS
    const waiting: Waiting = {
      ...of,
      end: (code) => {
        this.#waiting.delete(waiting)
        end(code)
      },
    }
    this.#waiting.add(waiting)
    return waiting
  }
}
