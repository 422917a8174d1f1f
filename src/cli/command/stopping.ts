/** A command that leaves nothing behind when it is told to stop: no half of a file, no half of a screen. */
import { signalExitCode } from "./child.ts"
import type { ProcessEvents, SignalName } from "./process-events.ts"

export class Stopping {
  readonly #controller = new AbortController()
  readonly #remove: () => void
  #name: SignalName | undefined

  constructor(events: Pick<ProcessEvents, "onSignal">) {
    this.#remove = events.onSignal(({ name }) => {
      this.#name ??= name
      this.#controller.abort()
    })
  }

  /** Aborted by the first signal. */
  get signal(): AbortSignal {
    return this.#controller.signal
  }

  /** That of a process that the signal ends; undefined while there was none. */
  get exitCode(): number | undefined {
    return this.#name === undefined ? undefined : signalExitCode(this.#name)
  }

  /** Signals have their usual effect again. */
  end(): void {
    this.#remove()
  }
}
