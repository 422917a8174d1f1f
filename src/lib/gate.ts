/**
 * Waiters wait here until somebody opens it. Each open() lets the present waiters through; later ones wait for the
 * next. Waiters then check again what they waited for: the gate only says "look".
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
