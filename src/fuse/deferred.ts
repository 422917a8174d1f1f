/**
 * The answer to a request that is given later.
 *
 *         bind()              done(), fail()
 *   new ───────────▶ waiting ────────────────▶ answered
 *                       └───── interrupt() ───────▲
 *
 * A file system makes one, keeps it with its work, and returns it from the called method; the server binds it to the
 * request. Every Deferred is answered exactly once: a client whose request is never answered cannot be killed.
 *
 * Answer it on the fs thread only; it may be answered while another request is being handled.
 */
import { assert } from "../lib/assert.ts"
import { Errno } from "../sys/errno.ts"

type State =
  | { kind: "new" }
  | { kind: "waiting"; send: (errno: number) => void }
  | { kind: "answered" }

export class Deferred {
  /**
   * Withdraws the work, because the client got a signal. The client then gets EINTR, unless this has answered already.
   * Without it the client waits on: leave it undefined for work that cannot be withdrawn any more.
   */
  onInterrupt: (() => void) | undefined

  #state: State = { kind: "new" }

  constructor(onInterrupt?: () => void) {
    this.onInterrupt = onInterrupt
  }

  get isWaiting(): boolean {
    return this.#state.kind === "waiting"
  }

  /** The request has happened, in full: a WRITE has written all its bytes. */
  done(): void {
    this.#answer(0)
  }

  fail(errno: number): void {
    assert(errno > 0, `Cannot fail a request with errno ${errno}`)
    this.#answer(errno)
  }

  /** For the server: from now on `send` takes the answer. */
  bind(send: (errno: number) => void): void {
    const { kind } = this.#state
    assert(kind === "new", `Cannot bind a Deferred to a request: it is ${kind}, not new`)
    this.#state = { kind: "waiting", send }
  }

  /** For the server: the kernel says that the client was interrupted. */
  interrupt(): void {
    const { kind } = this.#state
    assert(kind === "waiting", `Cannot interrupt a Deferred: it is ${kind}, not waiting`)
    if (this.onInterrupt === undefined) return
    this.onInterrupt()
    if (this.isWaiting) this.fail(Errno.EINTR)
  }

  #answer(errno: number): void {
    const state = this.#state
    assert(state.kind === "waiting", `Cannot answer a Deferred: it is ${state.kind}, not waiting`)
    this.#state = { kind: "answered" }
    state.send(errno)
  }
}
