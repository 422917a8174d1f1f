/**
 * Waiting for something to be so, with an end.
 *
 * A node is asked once and answers when it is so: nobody asks again and again. Only one that is not up yet is tried at
 * intervals.
 */
import type { Health } from "../../http/status/health.ts"
import { type Clock, sleep } from "../../lib/clock.ts"
import { parseDuration } from "../../lib/duration.ts"
import { LitefsError, messageOf } from "../../lib/errors.ts"
import { type FlagTable, type ParsedArgs, usageError } from "../terminal/argv.ts"
import type { NodeApi, NodeQuery } from "./api.ts"

export const TIMEOUT_FLAG = {
  kind: "text",
  placeholder: "DURATION",
  default: "30s",
  help: "give up waiting after this long",
} as const

/** So long a node is asked to hold a question back before it has to answer "not yet". */
const HOLD_MS_MAX = 20_000

/** So much later its answer may come. */
export const GRACE_MS = 5000

/** The last answer may come so much later than the end. */
export const LAST_MS = 1000

const PAUSE_MS_MIN = 50
const PAUSE_MS_MAX = 1000

/** Something to be waited for. */
export interface Condition {
  /** Why it is not so (yet); undefined when it is. Takes up to `leftMs`. */
  check(leftMs: number): Promise<string | undefined>
  /** What is so when it is, for people. */
  readonly outcome: string
}

/** Returns why it is not so when the time is over. */
export async function until(
  condition: Condition,
  clock: Clock,
  endMs: number,
): Promise<string | undefined> {
  for (let pauseMs = PAUSE_MS_MIN; ; pauseMs = Math.min(pauseMs * 2, PAUSE_MS_MAX)) {
    const problem = await condition.check(Math.max(0, endMs - clock.monotonicMs()))
    const leftMs = endMs - clock.monotonicMs()
    if (problem === undefined || leftMs <= 0) return problem
    await sleep(clock, Math.min(pauseMs, leftMs))
  }
}

/** Of the node: what `GET /health` says with this query. */
export function healthCondition(
  api: NodeApi,
  query: NodeQuery,
  clock: Clock,
  outcome = `${api.origin} is ready`,
): Condition {
  const check = async (leftMs: number) => {
    const holdMs = Math.min(leftMs, HOLD_MS_MAX)
    const asked = { ...query, wait: String(Math.ceil(holdMs)) }
    using limit = new TimeLimit(clock, Math.min(holdMs + GRACE_MS, leftMs + LAST_MS))
    let response: Response
    let text: string
    try {
      response = await api.request("/health", asked, { signal: limit.signal })
      text = (await response.text()).trim()
    } catch (error) {
      return limit.signal.aborted ? `${api.origin} does not answer` : messageOf(error)
    }
    if (response.status === 200) return undefined
    if (response.status === 503) return reasonOf(text)
    const code = response.status === 400 ? "usage" : "unavailable"
    throw new LitefsError(code, text.slice(0, 1000) || `status ${response.status}`)
  }
  return { check, outcome }
}

/** What --timeout is. */
export function timeoutOf(
  command: string,
  args: ParsedArgs<{ readonly timeout: typeof TIMEOUT_FLAG } & FlagTable>,
): number {
  const { timeout } = args.values
  try {
    const ms = parseDuration(timeout)
    if (ms >= 0) return ms
  } catch {
    // Said below.
  }
  const shape = "a duration, like 30s or 5m"
  throw usageError(command, `${args.spelling("timeout")} is "${timeout}", it should be ${shape}`)
}

function reasonOf(text: string): string {
  try {
    return (JSON.parse(text) as Health).reason ?? text
  } catch {
    return text
  }
}

/** Aborts a request that takes too long: a node that is stopped accepts connections and never answers. */
export class TimeLimit implements Disposable {
  readonly #abort = new AbortController()
  readonly #cancel: () => void

  constructor(clock: Clock, limitMs: number) {
    this.#cancel = clock.after(limitMs, () => this.#abort.abort())
  }

  get signal(): AbortSignal {
    return this.#abort.signal
  }

  [Symbol.dispose](): void {
    this.#cancel()
  }
}
