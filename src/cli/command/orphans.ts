/**
 * What PID 1 owes its namespace: processes whose parents are gone become its children, and stay in the
 * process table until it asks for their exit codes.
 *
 * Children that we have started ourselves are left to the runtime, which waits for them. While one of
 * them is the first that has ended, the others wait for its end to be told.
 */
import { reapOrphans } from "../../sys/process/child-processes.ts"
import type { ProcessEvents } from "./process-events.ts"

export class Orphans implements Disposable {
  /** Those that are waited for elsewhere. */
  readonly #own = new Set<number>()
  readonly #stop: () => void

  constructor(events: ProcessEvents) {
    this.#stop = events.onChildEnd(() => reapOrphans(this.#own))
  }

  add(pid: number): void {
    this.#own.add(pid)
  }

  /** The runtime has its exit code. */
  delete(pid: number): void {
    this.#own.delete(pid)
    reapOrphans(this.#own)
  }

  [Symbol.dispose](): void {
    this.#stop()
  }
}
