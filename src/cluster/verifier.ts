/**
 * Verifies the saved page checksums that a clean start believes in order to be quick. It reads each such database once,
 * in the background, slowly, while clients use it.
 *
 * It reads a frozen view. The reader checks the sum at the end; the pages themselves go nowhere. On a replica a
 * snapshot may replace the database in the meantime, so a database with a wrong sum is read once more.
 */
import { type Clock, sleep } from "../lib/clock.ts"
import { messageOf } from "../lib/errors.ts"
import { logger } from "../lib/log.ts"

const log = logger("verify")

export interface VerifierOptions {
  readonly clock: Clock
  /** Bytes to read per second, at most. */
  readonly rate: number
  /** The database is not what it was. */
  onDamaged?(database: string, error: unknown): void
  /** The pages of a database as it is now, in parts; throws at the end when they are wrong. */
  read(database: string): Promise<AsyncIterable<Uint8Array> | undefined>
}

export class Verifier {
  readonly #options: VerifierOptions
  readonly #abort = new AbortController()
  readonly #done: Promise<void>

  constructor(databases: readonly string[], options: VerifierOptions) {
    this.#options = options
    this.#done = this.#run(databases)
  }

  async close(): Promise<void> {
    this.#abort.abort()
    await this.#done
  }

  async #run(databases: readonly string[]): Promise<void> {
    for (const database of databases) {
      try {
        await this.#verify(database).catch(() => {
          this.#abort.signal.throwIfAborted()
          return this.#verify(database)
        })
      } catch (error) {
        if (this.#abort.signal.aborted) return
        log.error("a database has changed since it was closed, see litefs doctor", {
          db: database,
          problem: messageOf(error),
        })
        this.#options.onDamaged?.(database, error)
      }
    }
  }

  async #verify(database: string): Promise<void> {
    const { clock, rate } = this.#options
    const parts = await this.#options.read(database)
    if (parts === undefined) return
    const startMs = clock.monotonicMs()
    let size = 0
    for await (const part of parts) {
      size += part.length
      const aheadMs = (size / rate) * 1000 - (clock.monotonicMs() - startMs)
      await sleep(clock, Math.max(0, aheadMs), this.#abort.signal)
    }
    log.debug("verified", { db: database, bytes: size })
  }
}
