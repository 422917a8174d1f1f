/** The progress of a transfer: one line that is overwritten, on a terminal only. */
import type { Clock } from "../../lib/clock.ts"
import { formatSize } from "../../lib/size.ts"
import type { CliIo } from "./io.ts"

const INTERVAL_MS = 100
const CLEAR_LINE = "\r\x1b[K"

export class Progress {
  readonly #io: Pick<CliIo, "stderr" | "isTerminal">
  readonly #clock: Clock
  readonly #total: number | undefined
  readonly #startMs: number
  #shownMs: number
  #done = 0

  /** `total` is undefined when it is unknown. */
  constructor(io: CliIo, total: number | undefined) {
    this.#io = io
    this.#clock = io.clock
    this.#total = total
    this.#startMs = io.clock.monotonicMs()
    this.#shownMs = this.#startMs
  }

  add(size: number): void {
    this.#done += size
    const nowMs = this.#clock.monotonicMs()
    if (!this.#io.isTerminal || nowMs - this.#shownMs < INTERVAL_MS) return
    this.#shownMs = nowMs
    const rate = this.#done / ((nowMs - this.#startMs) / 1000)
    const of = this.#total === undefined ? "" : ` of ${formatSize(this.#total)}`
    this.#io.stderr(`${CLEAR_LINE}${formatSize(this.#done)}${of}, ${formatSize(rate)}/s`)
  }

  /** Removes the line. */
  end(): void {
    if (this.#io.isTerminal && this.#shownMs > this.#startMs) this.#io.stderr(CLEAR_LINE)
  }
}
