/**
 * The progress of something that takes long, in bytes or in other things: a bar that is drawn over and over on a
 * terminal, a line every LINE_MS elsewhere.
 *
 *   ██████▍░░░░░  52 %  120 MiB of 230 MiB, 30 MiB/s, 4s left
 *
 * The cursor stays at the beginning of the bar. Whoever writes a line meanwhile writes over it.
 */
import type { Clock } from "../../lib/clock.ts"
import { formatDuration } from "../../lib/duration.ts"
import { formatSize } from "../../lib/size.ts"
import type { CliIo } from "./io.ts"
import { bar, CLEAR_LINE, fitted, widthOf } from "./screen.ts"

const DRAW_MS = 100
const LINE_MS = 10_000
/** A rate is that of the last while. */
const RATE_MS = 5000
const BAR_WIDTH = 24
const BAR_WIDTH_MIN = 8
const PERCENT_WIDTH = 8 // with what is around it

export interface Step {
  readonly done: number
  /** Undefined when it is unknown. */
  readonly total?: number | undefined
  /** The total is known only as a limit. */
  readonly isAtMost?: boolean
  /** What it is about, before the numbers. */
  readonly what?: string
  /** How to write a number; undefined: as bytes. */
  readonly format?: (count: number) => string
}

/** How fast something goes, by the last while. */
export class Pace {
  readonly #samples: { readonly ms: number; readonly done: number }[] = []

  /** Call it each time that the number is looked at. A second. */
  rate(nowMs: number, done: number): number {
    const samples = this.#samples
    samples.push({ ms: nowMs, done })
    while (samples.length > 2 && nowMs - (samples[1]?.ms ?? nowMs) >= RATE_MS) samples.shift()
    const first = samples[0] ?? { ms: nowMs, done }
    return Math.max(0, ((done - first.done) * 1000) / Math.max(1, nowMs - first.ms))
  }
}

/** How long the rest will take, in full seconds; undefined when nobody can know. */
export function timeLeft(rest: number, rate: number): string | undefined {
  const seconds = Math.ceil(rest / rate)
  return Number.isFinite(seconds) && seconds >= 0 ? formatDuration(seconds * 1000) : undefined
}

export class Progress {
  readonly #io: Pick<CliIo, "stderr" | "screen">
  readonly #clock: Clock
  readonly #total: number | undefined
  readonly #pace = new Pace()
  #shownMs: number
  #isShown = false
  #done = 0

  /** `total` is undefined when it is unknown. */
  constructor(io: Pick<CliIo, "stderr" | "screen" | "clock">, total?: number) {
    this.#io = io
    this.#clock = io.clock
    this.#total = total
    this.#shownMs = io.clock.monotonicMs()
    this.#pace.rate(this.#shownMs, 0)
  }

  /** Bytes more. */
  add(size: number): void {
    this.#done += size
    this.tell({ done: this.#done, total: this.#total })
  }

  /** How far it is. It is shown when it is time to. */
  tell(step: Step): void {
    const nowMs = this.#clock.monotonicMs()
    const screen = this.#io.screen(2)
    const isDrawn = screen !== undefined && !screen.isDumb
    if (nowMs - this.#shownMs < (isDrawn ? DRAW_MS : LINE_MS)) return
    this.#shownMs = nowMs
    const text = this.#text(step, nowMs)
    if (!isDrawn) return this.#io.stderr(`${text}\n`)
    const { total, done } = step
    const isBar = total !== undefined && total > 0 && step.isAtMost !== true
    const cells = Math.min(BAR_WIDTH, screen.columns - widthOf(text) - PERCENT_WIDTH - 1)
    const part = isBar ? Math.min(done / total, 1) : 0
    const percent = `${Math.floor(part * 100)} %`.padStart(PERCENT_WIDTH - 2)
    const line = isBar && cells >= BAR_WIDTH_MIN ? `${bar(part, cells)}${percent}  ${text}` : text
    this.#isShown = true
    this.#io.stderr(`${CLEAR_LINE}${fitted(line, screen.columns - 1)}\r`)
  }

  #text({ done, total, isAtMost, what, format = formatSize }: Step, nowMs: number): string {
    const rate = this.#pace.rate(nowMs, done)
    const of = total === undefined ? "" : ` of ${isAtMost ? "at most " : ""}${format(total)}`
    const time = total === undefined ? undefined : timeLeft(total - done, rate)
    const left = time === undefined ? "" : `, ${isAtMost ? "at most " : ""}${time} left`
    return `${what === undefined ? "" : `${what}: `}${format(done)}${of}, ${format(Math.round(rate))}/s${left}`
  }

  /** Removes the bar. */
  end(): void {
    if (this.#isShown) this.#io.stderr(CLEAR_LINE)
    this.#isShown = false
  }
}
