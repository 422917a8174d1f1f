/**
 * Logging: one line per change of state, on stderr.
 *
 *   text   time=2026-11-29T20:17:33.048Z level=info tag=replica msg="connected to the primary" url=http://10.0.0.1:20202
 *   plain  level=info tag=replica msg="connected to the primary" url=http://10.0.0.1:20202
 *   json   {"time":"…","level":"info","tag":"replica","msg":"connected to the primary","url":"…"}
 *
 * Times are RFC 3339 in UTC: lines of several nodes, perhaps in several time zones, can be sorted together. `plain` is
 * for a reader that adds a time of its own to every line, as journald does.
 *
 * Lines are written synchronously. They keep their order across threads, and none is lost when the process ends. Every
 * Worker has its own copy of this module, and calls `configureLog` with the options it was started with. A line that
 * cannot be written is dropped: a log must never stop the file system.
 *
 * Who shows what has happened lately keeps lines as they come (`onLine`), whatever the log is told to leave out. A Worker
 * passes its own to the main thread.
 */
import { writeSync } from "node:fs"
import { createConsola, type LogObject } from "consola/core"
import { type Clock, systemClock } from "./clock.ts"
import { messageOf } from "./errors.ts"

export const LOG_LEVELS = ["error", "warn", "info", "debug", "trace"] as const
export const LOG_FORMATS = ["text", "plain", "json"] as const

export type LogLevel = (typeof LOG_LEVELS)[number]
export type LogFormat = (typeof LOG_FORMATS)[number]

export interface LogOptions {
  readonly level: LogLevel
  readonly format: LogFormat
}

/** The fields of a line beside its sentence. The names of the line's own parts are taken. */
export type LogFields = Record<string, unknown> & {
  time?: never
  level?: never
  tag?: never
  msg?: never
}

export type LogMethod = (msg: string, fields?: LogFields) => void
export type Logger = Readonly<Record<LogLevel, LogMethod>>

/** What happened, for those who keep it: nobody keeps `debug` and `trace`. */
export interface LogLine {
  readonly wallMs: number
  readonly level: "error" | "warn" | "info"
  readonly tag: string
  readonly msg: string
  readonly fields: Readonly<Record<string, string>>
}

const listeners = new Set<(line: LogLine) => void>()

/** Calls back with each line of this thread, and with what passLine() gets, until the returned function is called. */
export function onLine(listener: (line: LogLine) => void): () => void {
  listeners.add(listener)
  return () => listeners.delete(listener)
}

/** A line of another thread, which has written it. */
export function passLine(line: LogLine): void {
  for (const listener of [...listeners]) listener(line)
}

const CONSOLA_LEVELS = { error: 0, warn: 1, info: 3, debug: 4, trace: 5 } as const

const sink = { format: "text" as LogFormat, write: writeToStderr }

// consola only compares levels and hands on entries. Its own reporters write to streams, which lose lines at an exit,
// and their formats are neither RFC 3339 nor logfmt.
const consola = createConsola({
  level: CONSOLA_LEVELS.info,
  throttle: 0, // otherwise consola folds repeated lines within a second into one
  reporters: [{ log: (entry) => sink.write(`${render(entry)}\n`) }],
})

/** Until this call, `info` and above are written as text. */
export function configureLog(options: LogOptions, write: (line: string) => void = writeToStderr) {
  consola.level = CONSOLA_LEVELS[options.level]
  sink.format = options.format
  sink.write = write
}

/** Makes a logger, also before the log is configured: at the top of a module. */
export function logger(tag: string): Logger {
  const at =
    (level: LogLevel): LogMethod =>
    (msg, fields) => {
      consola[level]({ tag, args: [msg, fields] })
      if (listeners.size === 0 || level === "debug" || level === "trace") return
      passLine({ wallMs: systemClock.wallMs(), level, tag, msg, fields: texts(fields) })
    }
  return {
    error: at("error"),
    warn: at("warn"),
    info: at("info"),
    debug: at("debug"),
    trace: at("trace"),
  }
}

function render(entry: LogObject): string {
  const [msg, fields] = entry.args as [string, LogFields | undefined]
  const time = entry.date.toISOString()
  const parts: [string, unknown][] = [
    ["level", entry.type],
    ["tag", entry.tag],
    ["msg", msg],
  ]
  for (const [key, value] of Object.entries(fields ?? {})) {
    if (value !== undefined) parts.push([key, plain(value)])
  }
  switch (sink.format) {
    case "text":
      return inWords([["time", time], ...parts])
    case "plain":
      return inWords(parts)
    case "json":
      return JSON.stringify({ time, ...Object.fromEntries(parts) })
  }
}

function inWords(parts: readonly [string, unknown][]): string {
  return parts.map(([key, value]) => `${key}=${quoted(value)}`).join(" ")
}

/** An error is its message here, also where it is a bug. */
function texts(fields: LogFields = {}): Record<string, string> {
  const given = Object.entries(fields).filter(([, value]) => value !== undefined)
  return Object.fromEntries(given.map(([key, value]) => [key, messageOf(value)]))
}

function plain(value: unknown): string | number | boolean | null {
  if (value === null || typeof value === "number" || typeof value === "boolean") return value
  return value instanceof Error ? errorText(value) : String(value)
}

/** An error with a code is a condition of the world: its message is enough. Others are bugs. */
function errorText(error: Error): string {
  return "code" in error ? error.message : (error.stack ?? error.message)
}

function quoted(value: unknown): string {
  const text = String(value)
  return /^[^\s"=\p{Cc}]+$/u.test(text) ? text : JSON.stringify(text)
}

const WRITE_ATTEMPTS = 50

/**
 * A program that shares our stderr may have made the pipe non-blocking. A full pipe is then an error (EAGAIN): wait for
 * its reader, but not for ever.
 */
function writeToStderr(line: string): void {
  let rest = Buffer.from(line)
  for (let attempt = 0; rest.length > 0 && attempt < WRITE_ATTEMPTS; attempt++) {
    try {
      rest = rest.subarray(writeSync(2, rest))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") return
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1)
    }
  }
}

const ONCE_COUNT_MAX = 100

/** For lines that are said once each, of what somebody outside can make up: of the first hundred. */
export class Once {
  readonly #said = new Set<string>()

  /** Whether to say it. `key` is who and what. */
  take(key: string): boolean {
    if (this.#said.has(key) || this.#said.size >= ONCE_COUNT_MAX) return false
    this.#said.add(key)
    return true
  }
}

const BURST = 20
const PERIOD_MS = 1000
const REPEAT_MS = 60_000

/**
 * Bounds the lines of a log that somebody outside can cause: the same one has a line a minute, and all together have a
 * few at once and then one a second. A line says how many were left out before it.
 */
export class LineLimit {
  readonly #clock: Pick<Clock, "monotonicMs">
  readonly #repeatMs: number
  #left = BURST
  #sinceMs: number
  #leftOut = 0
  #last = ""
  #lastMs = 0

  /** What is the same as the last line is not said again for `repeatMs`. */
  constructor(clock: Pick<Clock, "monotonicMs">, repeatMs = REPEAT_MS) {
    this.#clock = clock
    this.#repeatMs = repeatMs
    this.#sinceMs = clock.monotonicMs()
  }

  /** Undefined when the line need not be said, else what it has to say of others. `key` is who and what. */
  take(key: string): { readonly "left-out": number | undefined } | undefined {
    const nowMs = this.#clock.monotonicMs()
    if (key === this.#last && nowMs < this.#lastMs + this.#repeatMs) return undefined
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
    return { "left-out": leftOut }
  }
}
