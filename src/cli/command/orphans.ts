/**
 * What PID 1 owes its namespace: processes whose parents are gone become its children, and stay in the process table
 * until it asks for their exit codes.
 *
 * The runtime waits for children that we have started ourselves. While one of them is the first that has ended, the
 * others wait until the runtime has reported it.
 */
import { reapOrphans } from "../../sys/process/child-processes.ts"
import type { ProcessEvents } from "./process-events.ts"

export class Orphans implements Disposable {
  /** Children that others wait for. */
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
