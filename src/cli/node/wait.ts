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
import type { Clock } from "../../lib/clock.ts"
import { LitefsError } from "../../lib/errors.ts"
import { databaseNameProblem } from "../../wire/database-name.ts"
import {
  type CommandSyntax,
  type FlagTable,
  type ParsedArgs,
  parseArgs,
  usageError,
} from "../terminal/argv.ts"
import { helpText } from "../terminal/help.ts"
import type { CliIo } from "../terminal/io.ts"
import { NODE_FLAGS, NodeApi } from "./api.ts"
import {
  type Condition,
  GRACE_MS,
  healthCondition,
  LAST_MS,
  TIMEOUT_FLAG,
  TimeLimit,
  timeoutOf,
  until,
} from "./waiting.ts"

export const WAIT_FLAGS = {
  synced: { kind: "boolean", help: "until the node is ready and has everything its primary has" },
  primary: {
    kind: "boolean",
    hasNoVariable: true,
    help: "until the node is the primary, and ready",
  },
  db: {
    kind: "list",
    placeholder: "NAME",
    help: "until the node has this database; repeatable",
  },
  pos: {
    kind: "list",
    placeholder: "DB=TXID",
    help: "until the node has this transaction of the database; repeatable",
  },
  http: { kind: "text", placeholder: "ADDR", help: "until an HTTP server answers there" },
  timeout: TIMEOUT_FLAG,
  ...NODE_FLAGS,
} as const satisfies FlagTable

type WaitArgs = ParsedArgs<typeof WAIT_FLAGS>

const SYNTAX: CommandSyntax<typeof WAIT_FLAGS> = {
  name: "wait",
  flags: WAIT_FLAGS,
  takesCommand: false,
}

export const WAIT_HELP = helpText({
  about: `The wait command will wait until something is so: for scripts that start a
program next to LiteFS. The node does not have to be up yet.`,
  usage: "litefs wait [flags]",
  flags: WAIT_FLAGS,
  notes: `At least one of --synced, --primary, --db, --pos and --http is required; with several,
all of them have to be true. A TXID is the 16 hexadecimal digits of DB-pos,
which may be given as a whole, or a decimal number of up to 15 digits. An ADDR is HOST:PORT, :PORT or a URL;
any status is an answer. With --synced all has to be there that the primary had
when the command began; a database that it cannot send counts, unless the node has
some of it.

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

export function waitCommand(io: CliIo) {
  return defineCommand({
    meta: { name: "wait" },
    run: ({ rawArgs }) => wait(rawArgs, io),
  })
}

async function wait(rawArgs: readonly string[], io: CliIo): Promise<number> {
  const args = parseArgs(SYNTAX, rawArgs, io.env)
  const timeoutMs = timeoutOf("wait", args)
  const conditions = [...nodeCondition(args, io.clock), ...httpCondition(args, io.clock)]
  if (conditions.length === 0) {
    throw usageError("wait", "nothing to wait for, give --synced, --primary, --db, --pos or --http")
  }
  const endMs = io.clock.monotonicMs() + timeoutMs
  for (const condition of conditions) {
    const problem = await until(condition, io.clock, endMs)
    if (problem === undefined) {
      io.stdout(`${condition.outcome}\n`)
      continue
    }
    throw new LitefsError("unavailable", `Cannot wait over ${args.values.timeout}: ${problem}`)
  }
  return 0
}

function nodeCondition(args: WaitArgs, clock: Clock): Condition[] {
  const { synced, primary, db, pos } = args.values
  const api = new NodeApi("wait", args)
  const wrong = pos.find((each) => !/^.+=./s.test(each))
  if (wrong !== undefined) {
    const example = 'like "app.db=$(cat /litefs/app.db-pos)"'
    const spelling = args.spelling("pos")
    throw usageError("wait", `${spelling} is "${wrong}", it should be DB=TXID, ${example}`)
  }
  for (const name of db) checkName(name)
  if (!synced && !primary && db.length === 0 && pos.length === 0) return []
  const query = {
    ...(synced ? { synced: "1" } : {}),
    ...(primary ? { role: "primary" } : {}),
    ...{ db, pos },
  }
  const outcomes = [
    ...(synced ? ["is in sync"] : []),
    ...(primary ? ["is the primary"] : []),
    ...[...db, ...pos].map((what) => `has ${what.trim()}`),
  ]
  return [healthCondition(api, query, clock, `${api.origin} ${outcomes.join(", ")}`)]
}

function checkName(name: string): void {
  const problem = databaseNameProblem(name)
  if (problem !== undefined) throw usageError("wait", `--db is "${name}": ${problem}`)
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
  return [{ check, outcome: `${url} answers` }]
}

/** `:3000` is on this machine. */
function urlOf(address: string): URL | undefined {
  const text = /^https?:\/\//i.test(address)
    ? address
    : `http://${address.startsWith(":") ? "127.0.0.1" : ""}${address}`
  const url = URL.canParse(text) ? new URL(text) : undefined
  return url === undefined || url.hostname === "" || /[\s\\]/.test(address) ? undefined : url
}
