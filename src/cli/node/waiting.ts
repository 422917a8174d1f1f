/**
 * Waits for a condition, with a limit.
 *
 * A node is asked once and answers when the condition holds: nobody polls. Only a node that is not up yet is tried at
 * intervals.
 */
import type { Health } from "../../http/status/health.ts"
import { type Clock, sleep } from "../../lib/clock.ts"
import { LitefsError, messageOf } from "../../lib/errors.ts"
import type { NodeApi, NodeQuery } from "./api.ts"

export const TIMEOUT_FLAG = {
  kind: "duration",
  default: "30s",
  help: "give up waiting after this long",
} as const

/** How long a node may hold a question back before it has to answer "not yet". */
const HOLD_MS_MAX = 20_000

/** How much later its answer may come. */
export const GRACE_MS = 5000

/** How long after the end the last answer may come. */
export const LAST_MS = 1000

/** People hear why it takes long after this time, and when the reason is another one. */
const QUIET_MS = 3000

const PAUSE_MS_MIN = 50
const PAUSE_MS_MAX = 1000

export interface Condition {
  /** Why the condition does not hold (yet); undefined when it does. Takes up to `leftMs`. */
  check(leftMs: number): Promise<string | undefined>
  /** What holds then, for people. */
  readonly outcome: string
}

/** The condition did not come to hold. `timeout` is in the user's spelling. */
export function notInTime(timeout: string, problem: string): LitefsError {
  return new LitefsError("unavailable", `Cannot wait over ${timeout}: ${inSentence(problem)}`)
}

function inSentence(problem: string): string {
  return problem.replace(/^Cannot /, "cannot ")
}

/** Returns why the condition does not hold when the time is over. Tells `late` why it does not yet. */
export async function until(
  condition: Condition,
  clock: Clock,
  endMs: number,
  late?: (problem: string) => void,
): Promise<string | undefined> {
  const quietMs = clock.monotonicMs() + QUIET_MS
  let told: string | undefined
  for (let pauseMs = PAUSE_MS_MIN; ; pauseMs = Math.min(pauseMs * 2, PAUSE_MS_MAX)) {
    const isQuiet = late !== undefined && told === undefined
    const holdMs = isQuiet ? QUIET_MS : Number.POSITIVE_INFINITY
    const problem = await condition.check(
      Math.max(0, Math.min(endMs - clock.monotonicMs(), holdMs)),
    )
    const leftMs = endMs - clock.monotonicMs()
    if (problem === undefined || leftMs <= 0) return problem
    if (problem !== told && clock.monotonicMs() >= quietMs) {
      told = problem
      late?.(inSentence(problem))
    }
    await sleep(clock, Math.min(pauseMs, leftMs))
  }
}

/** The node's answer to `GET /health` with this query. */
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
      text = await api.textOf(response)
    } catch (error) {
      return limit.signal.aborted ? `${api.origin} does not answer` : messageOf(error)
    }
    if (response.status === 200) {
      await api.checkOrigin(response)
      return undefined
    }
    const refusal = api.refusal(response, text)
    if (response.status === 503) return reasonOf(refusal.message)
    throw refusal
  }
  return { check, outcome }
}

function reasonOf(text: string): string {
  try {
    return (JSON.parse(text) as Health).reason ?? text
  } catch {
    return text
  }
}

/** Aborts a request that takes too long: a stopped node accepts connections and never answers. */
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
