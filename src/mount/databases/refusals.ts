/**
 * Tells in the log what clients of the mount were refused: the file, the process, and on a replica where to go.
 *
 * Somebody who tries again and again has one line a minute (lib/log.ts). A replica that does not know yet who its
 * primary is keeps a line back until it does, but not for long.
 */
import { FuseError } from "../../fuse/fuse-error.ts"
import type { Clock } from "../../lib/clock.ts"
import { LitefsError } from "../../lib/errors.ts"
import { LineLimit, type LogFields, type Logger, logger } from "../../lib/log.ts"
import { formatPos, type Pos } from "../../ltx/pos.ts"
import { Errno, SysError } from "../../sys/errno.ts"
import { commandOfThread, describeThread } from "../../sys/process/process.ts"
import type { Role } from "../files/role.ts"

const log = logger("mount")

const PRIMARY_WAIT_MS = 3000

/** Commands that copy files, and move them from one file system to another. */
const COPIERS: ReadonlySet<string> = new Set(
  ["mv", "cp", "install", "tar", "bsdtar", "cpio", "unzip"], // by /proc/[pid]/comm
)

interface HeldBack {
  readonly message: string
  readonly fields: LogFields
  readonly untilMs: number
}

export class Refusals {
  readonly #clock: Clock
  readonly #role: Role
  readonly #heldBack: HeldBack[] = []
  readonly #limit: LineLimit
  #thread = 0 // that has sent the request which is being done

  constructor(clock: Clock, role: Role) {
    this.#clock = clock
    this.#role = role
    this.#limit = new LineLimit(clock)
  }

  /** Does what a thread has asked for, by the kernel's id of it, 0 if unknown: lines of it name its process. */
  during<T>(thread: number, act: () => T): T {
    const before = this.#thread
    this.#thread = thread
    try {
      return act()
    } finally {
      this.#thread = before
    }
  }

  /** The thread whose request is being done, by the kernel's id of it, 0 if unknown. */
  get thread(): number {
    return this.#thread
  }

  /** For what happens to databases, not only in requests. */
  readonly log: Logger = {
    error: (message, fields) => log.error(message, this.#named(fields)),
    warn: (message, fields) => log.warn(message, this.#named(fields)),
    info: (message, fields) => log.info(message, this.#named(fields)),
    debug: (message, fields) => log.debug(message, this.#named(fields)),
    trace: (message, fields) => log.trace(message, this.#named(fields)),
  }

  #named(fields: LogFields = {}): LogFields {
    return this.#thread === 0 ? fields : { ...fields, process: describeThread(this.#thread) }
  }

  /** The request that is being done is refused. */
  say(message: string, file: string): void {
    const fields = this.#fields(message, file, this.#thread)
    if (fields !== undefined) log.warn(message, fields)
  }

  /**
   * Programs that copy first remove what is in their way, and find only then that they cannot put another file there.
   * Throws when one of them is about to drop a database so.
   */
  refuseCopiers(name: string, thread: number): void {
    const command = commandOfThread(thread)
    if (command === undefined || !COPIERS.has(command)) return
    const advice = `litefs import --name ${name} FILE replaces it, rm drops it`
    this.say(`Cannot remove "${name}": ${command} cannot put another file there, ${advice}`, name)
    throw FuseError.of(Errno.EPERM)
  }

  /** Logs when `act` fails because this node is a replica, or for what is in the data directory. */
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
      if (error instanceof SysError || (error instanceof LitefsError && error.code === "damaged")) {
        const fields = this.#fields(error.message, file, thread)
        if (fields !== undefined) log.warn(error.message, fields)
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
      const primary = primaryName ?? (isPrimary ? "this node, now" : "unknown")
      log.warn(first.message, { ...first.fields, primary })
    }
  }

  /** Undefined when the line is left out. */
  #fields(message: string, file: string, thread: number): LogFields | undefined {
    const said = this.#limit.take(`${thread} ${file} ${message}`)
    return said && { file, process: describeThread(thread), ...said }
  }
}

/** Logs that a database is gone, with its last position. */
export function sayDropped(name: string, last: Pos, thread: number): void {
  log.info("dropped a database: its file was removed", {
    ...{ db: name, pos: formatPos(last), process: describeThread(thread) },
  })
}
