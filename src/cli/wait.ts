/**
 * `litefs wait`: for entrypoints, which want to go on when something is so.
 *
 *   connecting ── answered ──▶ waiting at the node: GET /health?…&wait= ──▶ 200: done
 *       ▲  │ pause                │ 503: not yet
 *       └──┴──────────────────────┘
 *
 * The node answers when the condition becomes true; nobody asks again and again. Only a node, or another server, that
 * is not up yet is tried at intervals.
 */
import { defineCommand } from "citty"
import type { Health } from "../http/health.ts"
import { type Clock, sleep } from "../lib/clock.ts"
import { parseDuration } from "../lib/duration.ts"
import { LitefsError, messageOf } from "../lib/errors.ts"
import { NODE_FLAGS, NodeApi } from "./api.ts"
import {
  type CommandSyntax,
  type FlagTable,
  type ParsedArgs,
  parseArgs,
  usageError,
} from "./argv.ts"
import { helpText } from "./help.ts"
import type { CliIo } from "./io.ts"

const FLAGS = {
  synced: { kind: "boolean", help: "until the node is ready and has everything its primary has" },
  primary: { kind: "boolean", help: "until the node is the primary, and ready" },
  pos: {
    kind: "text",
    placeholder: "DB=TXID",
    help: "until the node has this transaction of the database",
  },
  http: { kind: "text", placeholder: "ADDR", help: "until an HTTP server answers there" },
  timeout: {
    kind: "text",
    placeholder: "DURATION",
    default: "30s",
    help: "give up after this long",
  },
  ...NODE_FLAGS,
} as const satisfies FlagTable

type WaitArgs = ParsedArgs<typeof FLAGS>

const SYNTAX: CommandSyntax<typeof FLAGS> = { name: "wait", flags: FLAGS, takesCommand: false }

export const WAIT_HELP = helpText({
  about: `The wait command will wait until something is so: for scripts that start a
program next to LiteFS. The node does not have to be up yet.`,
  usage: "litefs wait [flags]",
  flags: FLAGS,
  notes: `At least one of --synced, --primary, --pos and --http is required; with several,
all of them have to be true. A TXID is a decimal number, or the 16 digits of
DB-pos, which may be given as a whole. An ADDR is HOST:PORT, :PORT or a URL;
any status is an answer.

The exit code is 0 when it is so, 1 when the time is over, or when the node
refuses to answer, and 2 when the command line is wrong.`,
  examples: `# start a program when the replica has caught up
litefs wait --synced --timeout 5m && exec node server.js

# read on this replica what was just written on the primary
litefs wait --pos "app.db=$(ssh primary cat /litefs/app.db-pos)" --timeout 10s

# migrate where writes are taken
litefs wait --primary --timeout 1s && npm run migrate

# start a proxy when the program behind it listens
litefs wait --http :3000 --timeout 1m`,
})

/** So long a node is asked to hold a question back before it has to answer "not yet". */
const HOLD_MS_MAX = 20_000

/** So much later its answer may come. */
const GRACE_MS = 5000

/** The last answer may come so much later than the end. */
const LAST_MS = 1000

const PAUSE_MS_MIN = 50
const PAUSE_MS_MAX = 1000

/** A replica hears of its primary every second, so one that is in sync is not behind by more than this. */
const SYNCED_MS = 2000

export function waitCommand(io: CliIo) {
  return defineCommand({
    meta: { name: "wait" },
    run: ({ rawArgs }) => wait(rawArgs, io),
  })
}

/** Something to be waited for. */
interface Condition {
  /** Why it is not so (yet); undefined when it is. Takes up to `leftMs`. */
  check(leftMs: number): Promise<string | undefined>
}

async function wait(rawArgs: readonly string[], io: CliIo): Promise<number> {
  const args = parseArgs(SYNTAX, rawArgs, io.env)
  const timeoutMs = duration(args)
  const conditions = [...nodeCondition(args, io.clock), ...httpCondition(args, io.clock)]
  if (conditions.length === 0) {
    throw usageError("wait", "nothing to wait for, give --synced, --primary, --pos or --http")
  }
  const endMs = io.clock.monotonicMs() + timeoutMs
  for (const condition of conditions) {
    const problem = await until(condition, io.clock, endMs)
    if (problem === undefined) continue
    throw new LitefsError("unavailable", `Cannot wait over ${args.values.timeout}: ${problem}`)
  }
  return 0
}

/** Returns why it is not so when the time is over. */
async function until(
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

function nodeCondition(args: WaitArgs, clock: Clock): Condition[] {
  const { synced, primary, pos } = args.values
  const api = new NodeApi("wait", args)
  if (pos !== undefined && !/^.+=./s.test(pos)) {
    throw usageError("wait", `${args.spelling("pos")} is "${pos}", it should be DB=TXID`)
  }
  if (!synced && !primary && pos === undefined) return []
  const query = {
    ...(synced ? { "max-lag-ms": String(SYNCED_MS) } : {}),
    ...(primary ? { role: "primary" } : {}),
    ...(pos === undefined ? {} : { pos }),
  }
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
  return [{ check }]
}

function httpCondition(args: WaitArgs, clock: Clock): Condition[] {
  const { http } = args.values
  if (http === undefined) return []
  const url = urlOf(http)
  if (url === undefined) {
    const shape = "HOST:PORT, :PORT or a URL"
    throw usageError("wait", `${args.spelling("http")} is "${http}", it should be ${shape}`)
  }
  const check = async (leftMs: number) => {
    using limit = new TimeLimit(clock, Math.min(leftMs + LAST_MS, GRACE_MS))
    try {
      const response = await fetch(url, { redirect: "manual", signal: limit.signal })
      await response.body?.cancel()
      return undefined
    } catch {
      return `nothing answers at ${url}`
    }
  }
  return [{ check }]
}

/** `:3000` is on this machine. */
function urlOf(address: string): URL | undefined {
  const text = /^https?:\/\//i.test(address)
    ? address
    : `http://${address.startsWith(":") ? "127.0.0.1" : ""}${address}`
  const url = URL.canParse(text) ? new URL(text) : undefined
  return url === undefined || url.hostname === "" || /[\s\\]/.test(address) ? undefined : url
}

function duration(args: WaitArgs): number {
  const { timeout } = args.values
  try {
    const ms = parseDuration(timeout)
    if (ms >= 0) return ms
  } catch {
    // Said below.
  }
  const shape = "a duration, like 30s or 5m"
  throw usageError("wait", `${args.spelling("timeout")} is "${timeout}", it should be ${shape}`)
}

function reasonOf(text: string): string {
  try {
    return (JSON.parse(text) as Health).reason ?? text
  } catch {
    return text
  }
}

/** Aborts a request that takes too long: a node that is stopped accepts connections and never answers. */
class TimeLimit implements Disposable {
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
