/**
 * Databases of a replica that cannot take what arrives for them. Setting them apart spares the other databases.
 *
 *   followed ── refused ──▶ connected anew, since the primary then sends what fits
 *            ── twice in a row ──▶ asked for whole: perhaps an LTX file of the primary is damaged
 *            ── SEVERAL times in a row ──▶ left out, until an interval is over ──▶ asked for whole
 *
 * When a system call has failed, another file would not help, and the database is not asked for whole. The primary
 * cannot judge what is replaced then (peer/receive/history-verdict.ts), and the replica keeps it.
 *
 * A database that was refused when this node started is left out until the next start, or until it is recovered
 * (node/recovery-retries.ts). The interval starts at RETRY_MS
 * and doubles while nothing is applied to the database.
 */
import type { Clock } from "../lib/clock.ts"
import { LitefsError, messageOf } from "../lib/errors.ts"
import { LineLimit, logger } from "../lib/log.ts"
import { type Pos, ZERO_POS } from "../ltx/pos.ts"

const log = logger("replica")

const WHOLE_COUNT = 2
const SEVERAL = 4
export const RETRY_MS = 5000
const RETRY_MS_MAX = 600_000
/** For problems that may pass by themselves: a failing system call. */
const IO_RETRY_MS_MAX = 60_000

interface Refusals {
  count: number // in a row
  strangeCount: number // in a row, for what is in the files
  problem: string
  intervalMs: number
  isLeftOut: boolean
  cancel(): void
}

export interface RefusedDatabasesContext {
  readonly clock: Clock
  /** The databases that were refused at the start, with the reason. */
  readonly damaged: ReadonlyMap<string, string>
  /** Whether there is any of it here. */
  hasHistory(database: string): boolean
  /** A database must be requested again, or is left out: the primary has to hear of it. */
  onChange(): void
}

export class RefusedDatabases {
  readonly #context: RefusedDatabasesContext
  readonly #refused = new Map<string, Refusals>()
  readonly #limit: LineLimit // a primary may send many that cannot be applied

  constructor(context: RefusedDatabasesContext) {
    this.#context = context
    this.#limit = new LineLimit(context.clock)
  }

  isLeftOut(database: string): boolean {
    return this.#context.damaged.has(database) || this.#refused.get(database)?.isLeftOut === true
  }

  get leftOut(): string[] {
    const refused = [...this.#refused].filter(([, { isLeftOut }]) => isLeftOut)
    return [...this.#context.damaged.keys(), ...refused.map(([name]) => name)]
  }

  /** For people: why it is left out. */
  problem(database: string): string | undefined {
    const damage = this.#context.damaged.get(database)
    const refused = this.#refused.get(database)
    return damage ?? (refused?.isLeftOut === true ? refused.problem : undefined)
  }

  /** The position of the database that the primary should hear. */
  told(database: string, pos: Pos): Pos {
    const { strangeCount = 0 } = this.#refused.get(database) ?? {}
    return strangeCount >= WHOLE_COUNT ? ZERO_POS : pos
  }

  applied(database: string): void {
    const refused = this.#refused.get(database)
    if (refused === undefined) return
    refused.cancel()
    this.#refused.delete(database)
    if (refused.count < SEVERAL) return
    const said = this.#limit.take(`${database} again`)
    if (said !== undefined)
      log.info("a database follows the primary again", { db: database, ...said })
  }

  /** A full disk, and clients that have the database just now, do not concern this database alone. */
  refused(database: string, error: unknown): void {
    if (this.#context.damaged.has(database) || isOfAll(error)) return
    const refused = this.#refused.get(database) ?? {
      ...{ count: 0, strangeCount: 0, problem: "", intervalMs: RETRY_MS },
      ...{ isLeftOut: false, cancel: () => {} },
    }
    this.#refused.set(database, refused)
    refused.count += 1
    refused.problem = messageOf(error)
    refused.strangeCount = isIo(error) ? 0 : refused.strangeCount + 1
    if (refused.count < SEVERAL || refused.isLeftOut) return
    const { problem, intervalMs } = refused
    if (refused.count === SEVERAL) {
      const how = this.#context.hasHistory(database) ? "no longer follows" : "cannot follow"
      const said = this.#limit.take(`${database} ${how}`)
      if (said !== undefined)
        log.error(`a database ${how} the primary, the others do`, {
          ...{ db: database, problem, ...said },
        })
    }
    refused.isLeftOut = true
    refused.intervalMs = Math.min(intervalMs * 2, isIo(error) ? IO_RETRY_MS_MAX : RETRY_MS_MAX)
    refused.cancel = this.#context.clock.after(intervalMs, () => {
      refused.isLeftOut = false
      this.#context.onChange()
    })
  }

  /** This node no longer follows anybody. */
  close(): void {
    for (const { cancel } of this.#refused.values()) cancel()
    this.#refused.clear()
  }
}

function isOfAll(error: unknown): boolean {
  return error instanceof LitefsError && (error.code === "no-space" || error.code === "unavailable")
}

function isIo(error: unknown): boolean {
  return error instanceof LitefsError && error.code === "io"
}
