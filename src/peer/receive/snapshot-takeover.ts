/**
 * A snapshot of the primary replaces a replica's database (diverged/takeover.ts), and state that would be lost is kept.
 *
 *   new: keep the old state ─▶ decide() ─▶ moveIn() ─▶ end() ─▶ say()
 *                          └── discard(): nothing has changed
 */
import { discardKept, keepHistory } from "../../diverged/kept-history.ts"
import {
  beginTakeover,
  endTakeover,
  isDecided,
  moveIn,
  type Takeover,
} from "../../diverged/takeover.ts"
import type { Clock } from "../../lib/clock.ts"
import type { Logger } from "../../lib/log.ts"
import { formatSize } from "../../lib/size.ts"
import { formatPos, type Pos } from "../../ltx/pos.ts"
import {
  DATABASE_HEADER_SIZE,
  decodeDatabaseHeader,
  pageCountIn,
} from "../../sqlite/database-header.ts"
import { MIN_PAGE_SIZE } from "../../sqlite/page-size.ts"
import type { BackedFile } from "../../store/backed-file.ts"
import type { DataDir } from "../../store/data-dir.ts"
import { readBytesAt } from "../../sys/file.ts"
import { divergence } from "./history-verdict.ts"
import type { IncomingFile } from "./incoming-file.ts"

export interface SnapshotTakeoverContext {
  readonly dataDir: DataDir
  readonly clock: Clock
  readonly log: Logger
  /** The name of the primary, if known. */
  primaryName(): string | undefined
}

/** The state before the snapshot. */
export interface OldState {
  readonly pos: Pos
  readonly pageSize: number
  readonly commit: number // pages
  readonly file: BackedFile // of the database
}

/** A state that the primary's history lacks, and that is kept. */
interface Diverged {
  readonly reason: string
  readonly label: string
  readonly size: number // bytes
}

export class SnapshotTakeover {
  readonly #name: string
  readonly #context: SnapshotTakeoverContext
  readonly #incoming: IncomingFile
  readonly #before: Pos
  readonly #diverged: Diverged | undefined
  readonly #takeover: Takeover
  /**
   * What is added to the counters in the header, if clients could take the new content for the old: any other number.
   */
  readonly disguise: number | undefined

  /** Keeps the old state, if it would be lost. */
  constructor(
    name: string,
    context: SnapshotTakeoverContext,
    incoming: IncomingFile,
    old: OldState,
  ) {
    this.#name = name
    this.#context = context
    this.#incoming = incoming
    this.#before = old.pos
    this.#diverged = this.#keep(old)
    const { header, number } = incoming
    const { minTxid, maxTxid, commit } = header
    this.#takeover = { number, minTxid, maxTxid, commit, kept: this.#diverged?.label }
    this.disguise = this.#diverged && Math.floor(context.clock.random() * 0xffffffff) + 1
  }

  /** Throws when nothing should change. */
  decide(): void {
    const { dataDir } = this.#context
    let isUndecided = false
    try {
      beginTakeover(dataDir, this.#name, this.#takeover)
    } catch (error) {
      isUndecided = !isDecided(dataDir, this.#name)
      throw error
    } finally {
      // Also when it has failed and its record cannot be removed: the next start then needs the files.
      if (!isUndecided) this.#incoming.claim()
    }
  }

  /** Can be repeated. */
  moveIn(): void {
    moveIn(this.#context.dataDir, this.#name, this.#takeover)
  }

  /** After moveIn(). Can be repeated. */
  end(): void {
    endTakeover(this.#context.dataDir, this.#name, this.#takeover)
  }

  /** The takeover does not happen. */
  discard(): void {
    if (this.#diverged === undefined || this.#incoming.isClaimed) return
    discardKept(this.#context.dataDir, this.#diverged.label)
  }

  say(): void {
    const { dataDir, log } = this.#context
    const next = this.#incoming.posAfter
    if (this.#diverged === undefined) {
      log.info("took a snapshot of the primary", { db: this.#name, pos: formatPos(next) })
      return
    }
    const { reason, label, size } = this.#diverged
    log.warn(
      "the database has diverged from the primary's, which takes its place; the old one is kept",
      {
        db: this.#name,
        reason,
        pos: formatPos(this.#before),
        primary: formatPos(next),
        directory: dataDir.divergedDir(label),
        size: formatSize(size),
      },
    )
  }

  #keep({ pos, pageSize, commit, file }: OldState): Diverged | undefined {
    const { dataDir, clock, primaryName } = this.#context
    const next = this.#incoming.posAfter
    const reason = divergence(pos, next, this.#incoming.verdict, file.size() > 0)
    if (reason === undefined) return undefined
    const kept = keepHistory(dataDir, {
      database: this.#name,
      pos,
      ...(pos.txid === 0n ? unloggedSize(file) : { pageSize, commit }),
      keptMs: clock.wallMs(),
      reason,
      primary: { name: primaryName(), pos: next },
    })
    return { reason, ...kept }
  }
}

/** For a file without a log. */
function unloggedSize(file: BackedFile): { pageSize: number; commit: number } {
  const bytes = new Uint8Array(DATABASE_HEADER_SIZE)
  readBytesAt("database:read", file.fd, bytes, 0)
  const header = decodeDatabaseHeader(bytes)
  const pageSize = header?.pageSize ?? MIN_PAGE_SIZE
  const size = file.size()
  return { pageSize, commit: header ? pageCountIn(header, size) : Math.ceil(size / pageSize) }
}
