/**
 * Tells in the log what clients of the mount were refused: the file, the process, and on a replica where to go.
 *
 * A process that repeats itself gets one line a minute. All together get a few lines at once and then one a second, and
 * a line says how many were left out before it. A replica that does not know its primary yet holds lines back until it
 * does, but not for long.
 */
import { FuseError } from "../../fuse/fuse-error.ts"
import type { Clock } from "../../lib/clock.ts"
import { type LogFields, logger } from "../../lib/log.ts"
import { formatPos, type Pos } from "../../ltx/pos.ts"
import { Errno } from "../../sys/errno.ts"
import { describeThread } from "../../sys/process/process.ts"
import type { Role } from "../files/role.ts"

const log = logger("mount")

const BURST = 20
const PERIOD_MS = 1000
const REPEAT_MS = 60_000
const PRIMARY_WAIT_MS = 3000

interface HeldBack {
  readonly message: string
  readonly fields: LogFields
  readonly untilMs: number
}

export class Refusals {
  readonly #clock: Clock
  readonly #role: Role
  readonly #heldBack: HeldBack[] = []
  #left = BURST
  #sinceMs: number
  #leftOut = 0
  #last = ""
  #lastMs = 0

  constructor(clock: Clock, role: Role) {
    this.#clock = clock
    this.#role = role
    this.#sinceMs = clock.monotonicMs()
  }

  /** `thread` is the kernel's id of the thread that was refused, 0 if unknown. */
  say(message: string, file: string, thread: number): void {
    const fields = this.#fields(message, file, thread)
    if (fields !== undefined) log.warn(message, fields)
  }

  /** Logs when `act` fails because this node is a replica. */
  watch<T>(what: "make" | "remove", file: string, thread: number, act: () => T): T {
    try {
      return act()
    } catch (error) {
      const isOfRole = error instanceof FuseError && error.errno === Errno.EACCES
      if (isOfRole && !this.#role.isPrimary) {
        const message = `refused to ${what} a file: this node is a replica, write on the primary`
        const fields = this.#fields(message, file, thread)
        if (fields !== undefined) this.tellPrimary(message, fields)
      }
      throw error
    }
  }

  /** Logs a line that ends with the name of the primary. It does not count towards the limit. */
  tellPrimary(message: string, fields: LogFields): void {
    const untilMs = this.#clock.monotonicMs() + PRIMARY_WAIT_MS
    this.#heldBack.push({ message, fields, untilMs })
    this.sweep()
  }

  /** Logs the lines that need not wait any longer. Returns in how many milliseconds the next is due. */
  sweep(): number | undefined {
    const { isPrimary, primaryName } = this.#role
    while (true) {
      const first = this.#heldBack[0]
      if (first === undefined) return undefined
      const leftMs = first.untilMs - this.#clock.monotonicMs()
      if (primaryName === undefined && !isPrimary && leftMs > 0) return leftMs
      this.#heldBack.shift()
      const primary = primaryName ?? (isPrimary ? "this node, by now" : "unknown")
      log.warn(first.message, { ...first.fields, primary })
    }
  }

  /** Undefined when the line is left out. */
  #fields(message: string, file: string, thread: number): LogFields | undefined {
    const nowMs = this.#clock.monotonicMs()
    const key = `${thread} ${file} ${message}`
    if (key === this.#last && nowMs < this.#lastMs + REPEAT_MS) return undefined
    this.#left = Math.min(BURST, this.#left + (nowMs - this.#sinceMs) / PERIOD_MS)
    this.#sinceMs = nowMs
    if (this.#left < 1) {
      this.#leftOut += 1
      return undefined
    }
    this.#left -= 1
    this.#last = key
    this.#lastMs = nowMs
    const leftOut = this.#leftOut === 0 ? undefined : this.#leftOut
    this.#leftOut = 0
    return { file, process: describeThread(thread), "left-out": leftOut }
  }
}

/**
 * Logs that a database is gone, with its last position. mv and tar, too, remove what is in their way, and find only
 * then that they cannot put another file there.
 */
export function sayDropped(name: string, last: Pos, thread: number): void {
  log.info("dropped a database: its file was removed", {
    ...{ db: name, pos: formatPos(last), process: describeThread(thread) },
  })
}
