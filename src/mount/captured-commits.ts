/**
 * What clients of a primary have committed: in the commit log when they are answered, in LTX files soon after.
 *
 *   open() ─▶ committed() ─▶ store()… ─▶ close()
 *
 * The fs thread calls store() after each answer, and from time to time while something is left.
 */
import { type Clock, systemClock } from "../lib/clock.ts"
import type { Logger } from "../lib/log.ts"
import type { Sender } from "../lib/port.ts"
import { openCommitLog } from "../recovery/log/commit-log-recovery.ts"
import type { DataDir } from "../store/data-dir.ts"
import type { CommitLog } from "../store/log/commit-log.ts"
import { GatedLog } from "../store/log/gated-log.ts"
import type { RecentTransactions } from "../store/ltx/recent-transactions.ts"
import type { Positions, Slot } from "../store/positions.ts"
import type { SharedFlags } from "../store/shared-flags.ts"
import { SpareFiles } from "../store/spare-files.ts"
import { bootMs } from "../sys/process/boot-clock.ts"
import type { FsHost } from "./contract.ts"

/** Nobody tells us when a full disk has room again. */
const STORE_RETRY_MS = 500

export interface CapturedCommitsContext {
  readonly dataDir: DataDir
  readonly positions: Positions
  readonly flags: SharedFlags
  readonly recent: RecentTransactions
  readonly log: Logger
  readonly host: Pick<Sender<FsHost>, "tell">
}

export class CapturedCommits {
  /** Takes the transactions. */
  readonly gate: GatedLog
  readonly #context: CapturedCommitsContext
  readonly #spares: SpareFiles
  #commitLog: CommitLog | undefined // from open() to close()
  /** Databases that have a durable transaction without its LTX file. */
  readonly #unstored = new Map<string, Slot>()
  readonly #clock: Pick<Clock, "monotonicMs"> = systemClock
  #retryMs = 0 // when a file that could not be made is tried again
  #canErase = true

  constructor(context: CapturedCommitsContext) {
    this.#context = context
    this.gate = new GatedLog(() => this.#mayCommit())
    this.#spares = new SpareFiles(context.flags.spareFiles, context.dataDir.root)
  }

  /** A look at a clock for each commit, and none without a lease that ends. */
  #mayCommit(): boolean {
    const { commitUntilMs } = this.#context.flags
    return commitUntilMs === Number.POSITIVE_INFINITY || bootMs() < commitUntilMs
  }

  open(): void {
    const { dataDir, flags, positions, log, host } = this.#context
    this.#commitLog = openCommitLog(dataDir, log, {
      isFree: (segment) => flags.isSegmentFree(segment),
      onFull: (segment) => {
        flags.setSegmentFree(segment, false)
        host.tell("segmentFull", segment)
      },
      onMissing: (segment) => {
        flags.setSegmentFree(segment, false)
        host.tell("segmentMissing", segment)
      },
      onUnmade: () => this.#tellUnmade(),
      spares: this.#spares,
      mayCommit: () => this.#mayCommit(),
    })
    this.#tellUnmade()
    for (const name of this.#commitLog.problems().keys()) {
      const slot = positions.find(name)
      if (slot !== undefined) this.#unstored.set(name, slot)
    }
    this.gate.open(this.#commitLog)
  }

  /** Databases with transactions in the log that could not be put in place when it was opened, and why. */
  get unplaced(): ReadonlyMap<string, Error> | undefined {
    return this.#commitLog?.problems()
  }

  /** A transaction of the database is durable. */
  committed(name: string, slot: Slot): void {
    const { positions, recent } = this.#context
    this.#unstored.set(name, slot)
    const file = this.#commitLog?.pendingFile
    if (file !== undefined) recent.add(slot, positions.read(slot).pos.txid, file)
  }

  /**
   * Makes the LTX files of new transactions after their clients were answered, and announces the transactions. When
   * one cannot be made, returns when to try again: only its database waits.
   */
  store(): number | undefined {
    const { positions, flags, host } = this.#context
    const commitLog = this.#commitLog
    if (!this.#isUnstored) return undefined
    if (flags.raiseChanged()) host.tell("changed")
    // Without a log of its own, with borrowed locks on a replica, this thread has made the files with the transactions.
    if (commitLog !== undefined && !this.#makeFiles(commitLog)) return STORE_RETRY_MS
    let isNew = false
    for (const [name, slot] of this.#unstored) {
      if (commitLog?.isPending(name) === true) continue
      positions.markStored(slot)
      this.#unstored.delete(name)
      isNew = true
    }
    if (isNew) {
      flags.noteRoom()
      if (this.#spares.ask()) host.tell("sparesWanted")
      if (flags.raiseChanged()) host.tell("changed")
    }
    return this.#isUnstored ? STORE_RETRY_MS : undefined
  }

  /** Also what a recovery could not place, of databases that nobody may use until then. */
  get #isUnstored(): boolean {
    return this.#unstored.size > 0 || this.#commitLog?.hasPending === true
  }

  /** False when the log takes nothing. */
  #makeFiles(commitLog: CommitLog): boolean {
    const nowMs = this.#clock.monotonicMs()
    const isRetry = nowMs >= this.#retryMs
    try {
      commitLog.makeFiles(isRetry)
    } catch (error) {
      // It is tried again after every request and from time to time, but reported once.
      if (this.#canErase) {
        this.#context.log.error("cannot erase a refused transaction from the commit log", { error })
      }
      this.#canErase = false
      return false
    }
    this.#canErase = true
    if (isRetry) this.#retryMs = nowMs + STORE_RETRY_MS
    return true
  }

  #tellUnmade(): void {
    if (this.#commitLog === undefined) return // it is being opened
    this.#context.host.tell("unmade", this.#commitLog.problemTexts())
  }

  /** Whoever opens the log next stores what is not stored yet. */
  close(): void {
    try {
      this.#commitLog?.clear()
    } catch (error) {
      this.#context.log.warn("cannot empty the commit log, whoever opens it next will", { error })
    }
    this.#commitLog?.close()
    this.#commitLog = undefined
    this.#unstored.clear()
  }
}
