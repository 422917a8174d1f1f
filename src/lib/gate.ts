/**
 * Something to wait at until somebody opens it. Each open() lets those through who wait now; whoever comes
 * later waits for the next one. Waiters look at what they waited for again: the gate only says "look".
 */
export class Gate {
  #waiters: (() => void)[] = []

  wait(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#waiters.push(resolve)
    return promise
  }

  open(): void {
    const waiters = this.#waiters
    this.#waiters = []
    for (const resolve of waiters) resolve()
  }
}
