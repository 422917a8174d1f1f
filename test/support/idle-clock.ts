import { Gate } from "../../src/lib/gate.ts"
import { FakeClock } from "./fake-clock.ts"

/** A clock that tells when somebody has begun to wait for it. */
export class IdleClock extends FakeClock {
  readonly #gate = new Gate()

  override after(delayMs: number, callback: () => void): () => void {
    const cancel = super.after(delayMs, callback)
    this.#gate.open()
    return cancel
  }

  /** Resolves when so many timers are running. */
  async waiting(count = 1): Promise<void> {
    while (this.timerCount < count) await this.#gate.wait()
  }
}
