/**
 * Databases of this node that cannot be sent: streams leave them out and go on with the others.
 *
 *   sent ── cannot be read ──▶ left out ── read whole at an interval, or retry() ──▶ sent
 *
 * This node tries by itself whether a database is readable again. A trial on a replica would cost the replica what it
 * has got of the database each time, and LiteFS's replicas would give up the stream. The interval starts at RETRY_MS
 * and doubles up to RETRY_MS_MAX.
 *
 * A database that was refused at the start stays so until the next start, or until it is recovered
 * (node/recovery-retries.ts).
 */
import type { Clock } from "../../lib/clock.ts"
import { LitefsError, messageOf } from "../../lib/errors.ts"
import { LineLimit, logger } from "../../lib/log.ts"

const log = logger("stream")

export const RETRY_MS = 5000
const RETRY_MS_MAX = 600_000

export interface LeftOutContext {
  readonly clock: Clock
  /** Resolves when the whole database was readable. */
  check(database: string): Promise<void>
  /** A database was left out, or can be sent again. */
  onChange(): void
  /** The databases that were refused at the start, with the reason. */
  readonly refused: ReadonlyMap<string, string>
  /** Grows when one is refused, or no longer is. */
  refusalCount(): number
}

interface Unreadable {
  readonly problem: string
  readonly intervalMs: number
  cancel(): void
}

export class LeftOutDatabases {
  readonly #context: LeftOutContext
  readonly #unreadable = new Map<string, Unreadable>()
  readonly #limit: LineLimit // a bad disk makes many unreadable
  #changeCount = 0
  #isClosed = false

  constructor(context: LeftOutContext) {
    this.#context = context
    this.#limit = new LineLimit(context.clock)
  }

  /** Why a database is not sent; undefined when it is sent. */
  state(database: string): "refused" | "unreadable" | undefined {
    if (this.#context.refused.has(database)) return "refused"
    return this.#unreadable.has(database) ? "unreadable" : undefined
  }

  /** Grows whenever a database is left out or can be sent again. */
  get changeCount(): number {
    return this.#changeCount + this.#context.refusalCount()
  }

  names(): string[] {
    return [...new Set([...this.#context.refused.keys(), ...this.#unreadable.keys()])]
  }

  /** For people: the problem of a database. */
  problem(database: string): string | undefined {
    return this.#context.refused.get(database) ?? this.#unreadable.get(database)?.problem
  }

  /** The database is unreadable. */
  add(database: string, error: unknown): void {
    if (this.#isClosed || this.state(database) !== undefined) return
    const problem = messageOf(error)
    const said = this.#limit.take(`${database} left out`)
    const facts = { db: database, problem, ...said }
    const what = "cannot send a database, it is left out until it can be read"
    if (said !== undefined && error instanceof LitefsError && error.code === "unavailable") {
      log.warn(what, facts) // it has changed hands, and is not damaged
    } else if (said !== undefined) log.error(`${what}, see litefs doctor`, facts)
    this.#wait(database, problem, RETRY_MS)
    this.#changed()
  }

  /** A change may have repaired the database. */
  retry(database: string): void {
    const unreadable = this.#unreadable.get(database)
    if (unreadable === undefined) return
    unreadable.cancel()
    void this.#check(database, unreadable)
  }

  close(): void {
    this.#isClosed = true
    for (const { cancel } of this.#unreadable.values()) cancel()
  }

  #wait(database: string, problem: string, intervalMs: number): void {
    const again = () => void this.#check(database, unreadable)
    const cancel = this.#context.clock.after(intervalMs, again)
    const unreadable = { problem, intervalMs, cancel }
    this.#unreadable.set(database, unreadable)
  }

  #changed(): void {
    this.#changeCount += 1
    this.#context.onChange()
  }

  async #check(database: string, before: Unreadable): Promise<void> {
    try {
      await this.#context.check(database)
    } catch (error) {
      if (this.#isClosed || this.#unreadable.get(database) !== before) return
      const intervalMs = Math.min(before.intervalMs * 2, RETRY_MS_MAX)
      return this.#wait(database, messageOf(error), intervalMs)
    }
    if (this.#isClosed || this.#unreadable.get(database) !== before) return
    this.#unreadable.delete(database)
    const said = this.#limit.take(`${database} again`)
    if (said !== undefined)
      log.info("a database can be read again, it is sent", { db: database, ...said })
    this.#changed()
  }
}
