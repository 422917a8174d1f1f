/**
 * What clients of a primary have committed: in the commit log when they are answered, in LTX files soon after.
 *
 *   open() ─▶ committed() ─▶ store()… ─▶ close()
 *
 * The fs thread calls store() after each answer, and from time to time while something is left.
 */
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
  /** Slots of databases that have a durable transaction without its LTX file. */
  readonly #unstored = new Set<Slot>()
  #canStore = true

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
    const { dataDir, flags, log, host } = this.#context
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
      spares: this.#spares,
      mayCommit: () => this.#mayCommit(),
    })
    this.gate.open(this.#commitLog)
  }

  /** A transaction of the database is durable. */
  committed(slot: Slot): void {
    const { positions, recent } = this.#context
    this.#unstored.add(slot)
    const file = this.#commitLog?.pendingFile
    if (file !== undefined) recent.add(slot, positions.read(slot).pos.txid, file)
  }

  /**
   * Makes the LTX files of new transactions after their clients were answered, and announces the transactions. When
   * that fails, returns when to try again.
   */
  store(): number | undefined {
    const { positions, flags, log, host } = this.#context
    if (this.#unstored.size === 0) return undefined
    if (flags.raiseChanged()) host.tell("changed")
    try {
      this.#commitLog?.materialize()
    } catch (error) {
      // It is tried again after every request and from time to time, but reported once.
      if (this.#canStore) {
        log.error("cannot make an LTX file, its transaction is in the log", { error })
      }
      this.#canStore = false
      return STORE_RETRY_MS
    }
    this.#canStore = true
    flags.noteRoom()
    for (const slot of this.#unstored) positions.markStored(slot)
    this.#unstored.clear()
    if (this.#spares.ask()) host.tell("sparesWanted")
    if (flags.raiseChanged()) host.tell("changed")
    return undefined
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
