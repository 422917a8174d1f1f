/**
 * Requests of clients that wait for the primary's word on a transaction (capture/proposal.ts).
 *
 *   add() ─▶ asked ── answered: it has it ──▶ done again ──▶ finish(): the client is answered
 *              │                                  └── it makes another transaction first: asked
 *              └── answered: why not; refuseAll() ─────────▶ the client's request fails
 *
 * A client that fails because the primary did not answer may have its transaction there all the same.
 *
 * The client of a waiting request holds a writer's locks, so a database has one such request at a time.
 */
import { Proposal } from "../../capture/proposal.ts"
import { Deferred } from "../../fuse/deferred.ts"
import { type ErrorCode, LitefsError } from "../../lib/errors.ts"
import { errnoOf } from "./errno.ts"

interface Waiting {
  readonly proposal: Proposal
  readonly again: () => void
  readonly end: () => void
  readonly deferred: Deferred
}

export interface ProposalsListener {
  /** Asks the primary. Calls `then` with why it refuses the transaction; undefined when it has taken it. */
  ask(proposal: Proposal, then: (code: ErrorCode | undefined) => void): void
  /** The primary has taken a transaction that was not made here: the database is behind. */
  behind(database: string): void
  /** The request was repeated, and is done. */
  finish(deferred: Deferred): void
  /** A request is about to be repeated. */
  begin(): void
}

export class Proposals {
  readonly #on: ProposalsListener
  readonly #waiting = new Set<Waiting>()

  constructor(on: ProposalsListener) {
    this.#on = on
  }

  /** `again` repeats the request when it may; `end` is called last. */
  add(proposal: Proposal, again: () => void, end: () => void): Deferred {
    const deferred = new Deferred()
    this.#ask({ proposal, again, end, deferred })
    return deferred
  }

  #answer(waiting: Waiting, code: ErrorCode | undefined): void {
    const { proposal, again, end, deferred } = waiting
    if (!this.#waiting.delete(waiting)) {
      if (code === undefined) this.#on.behind(proposal.database) // its client was told that it failed
      return
    }
    if (code !== undefined) return this.#fail(waiting, new LitefsError(code, "refused"))
    this.#on.begin()
    try {
      proposal.log.accept(proposal, again)
    } catch (error) {
      if (error instanceof Proposal) return this.#ask({ ...waiting, proposal: error })
      this.#fail(waiting, error)
      return this.#on.behind(proposal.database)
    }
    end()
    this.#on.finish(deferred)
  }

  /** Nobody answers any more. */
  refuseAll(database: string): void {
    for (const waiting of [...this.#waiting]) {
      if (waiting.proposal.database !== database) continue
      this.#waiting.delete(waiting)
      this.#fail(waiting, new LitefsError("no-primary", "the write lock is lost"))
    }
  }

  #ask(waiting: Waiting): void {
    this.#waiting.add(waiting)
    this.#on.ask(waiting.proposal, (code) => this.#answer(waiting, code))
  }

  #fail({ end, deferred }: Waiting, error: unknown): void {
    end()
    deferred.fail(errnoOf(error))
  }
}
