/**
 * Requests of clients that wait for the primary's word on a transaction (capture/proposal.ts).
 *
 *   add() ─▶ asked ── answer(): it has it ──▶ done again ──▶ the client is answered
 *              │                                  └── it makes another transaction first: asked
 *              └── answer(): why not; refuseAll() ─────────▶ the client's request fails
 *
 * Who is refused without the primary's word may have its transaction there all the same.
 *
 * While one waits, its client holds the locks of a writer: there is one at a time for a database.
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
  /** Asks the primary. */
  ask(request: number, proposal: Proposal): void
  /** The primary has taken a transaction that was not made here: the database is behind. */
  behind(database: string): void
}

export class Proposals {
  readonly #on: ProposalsListener
  readonly #waiting = new Map<number, Waiting>()
  #nextRequest = 1

  constructor(on: ProposalsListener) {
    this.#on = on
  }

  /** `again` does what was asked for once more, when it may; `end` is called last. */
  add(proposal: Proposal, again: () => void, end: () => void): Deferred {
    const deferred = new Deferred()
    this.#ask({ proposal, again, end, deferred })
    return deferred
  }

  /** `code` is why the primary has not taken it; undefined when it has. */
  answer(request: number, database: string, code: ErrorCode | undefined): void {
    const waiting = this.#waiting.get(request)
    if (waiting === undefined) {
      if (code === undefined) this.#on.behind(database) // its client was told that it failed
      return
    }
    this.#waiting.delete(request)
    if (code !== undefined) return this.#fail(waiting, new LitefsError(code, "refused"))
    const { proposal, again, end, deferred } = waiting
    try {
      proposal.log.accept(proposal, again)
    } catch (error) {
      if (error instanceof Proposal) return this.#ask({ ...waiting, proposal: error })
      this.#fail(waiting, error)
      return this.#on.behind(proposal.database)
    }
    end()
    deferred.done()
  }

  /** Nobody answers any more. */
  refuseAll(database: string): void {
    for (const [request, waiting] of [...this.#waiting]) {
      if (waiting.proposal.database !== database) continue
      this.#waiting.delete(request)
      this.#fail(waiting, new LitefsError("no-primary", "the write lock is lost"))
    }
  }

  #ask(waiting: Waiting): void {
    const request = this.#nextRequest++
    this.#waiting.set(request, waiting)
    this.#on.ask(request, waiting.proposal)
  }

  #fail({ end, deferred }: Waiting, error: unknown): void {
    end()
    deferred.fail(errnoOf(error))
  }
}
