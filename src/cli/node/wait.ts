/**
 * `litefs wait`: for entrypoints that go on when a condition holds.
 *
 *   connecting ── answered ──▶ waiting at the node: GET /health?…&wait= ──▶ 200: done
 *       ▲  │ pause                │ 503: not yet
 *       └──┴──────────────────────┘
 *
 * The node answers when the condition becomes true; nobody polls. Only a node, or another server, that is not up yet is
 * tried at intervals.
 */
import type { Clock } from "../../lib/clock.ts"
import type { ParsedArgs } from "../terminal/argv.ts"
import { command } from "../terminal/command.ts"
import { type FlagTable, Unfit } from "../terminal/flags.ts"
import type { CliIo } from "../terminal/io.ts"
import { onOneLine } from "../terminal/table.ts"
import { NODE_FLAGS, NodeApi, nodeSettings } from "./api.ts"
import {
  type Condition,
  GRACE_MS,
  healthCondition,
  LAST_MS,
  notInTime,
  TIMEOUT_FLAG,
  TimeLimit,
  until,
} from "./waiting.ts"

const FLAGS = {
  synced: { kind: "boolean", help: "until the node is ready and has everything its primary has" },
  primary: {
    kind: "boolean",
    hasNoVariable: true,
    help: "until the node is the primary, and ready",
  },
  db: {
    kind: "name",
    isList: true,
    placeholder: "NAME",
    help: "until the node has this database; repeatable",
  },
  pos: {
    kind: "special",
    isList: true,
    placeholder: "DB=TXID",
    read: positionOf,
    help: "until the node has this transaction of the database; repeatable",
  },
  http: {
    kind: "special",
    placeholder: "ADDR",
    read: urlOf,
    help: "until an HTTP server answers there",
  },
  timeout: TIMEOUT_FLAG,
  ...NODE_FLAGS,
} as const satisfies FlagTable

type WaitArgs = ParsedArgs<typeof FLAGS>

export const WAIT = command({
  name: "wait",
  flags: FLAGS,
  about: `The wait command will wait until something is true: for scripts that start a
program next to LiteFS. The node does not have to be up yet.`,
  usage: "litefs wait [flags]",
  notes: `At least one of --synced, --primary, --db, --pos and --http is required; with several,
all of them have to be true. A TXID is the 16 hexadecimal digits of DB-pos,
which may be given as a whole, or a decimal number of up to 15 digits. An ADDR is HOST:PORT, :PORT or a URL;
any status is an answer. With --synced everything that the primary had when the
command began has to be there; a database that it cannot send counts, unless the
node has some of it.

After some seconds, and when that changes, stderr says why it is not true yet.
The exit code is 0 when it is true, 1 when the time is up, or when the node
refuses to answer, and 2 when the command line is wrong.`,
  examples: `# start a program when the replica has caught up
litefs wait --synced --timeout 5m && exec node server.js

# read on this replica what was just written on the primary
litefs wait --pos "app.db=$(ssh primary cat /litefs/app.db-pos)" --timeout 10s

# migrate where writes are taken
litefs wait --primary --timeout 1s && npm run migrate

# start a proxy when the program behind it listens
litefs wait --http :3000 --timeout 1m`,
  settings: nodeSettings("wait"),
  run: wait,
})

async function wait(args: WaitArgs, io: CliIo): Promise<number> {
  const conditions = [...nodeCondition(args, io.clock), ...httpCondition(args, io.clock)]
  if (conditions.length === 0) {
    throw args.usageError("nothing to wait for, give --synced, --primary, --db, --pos or --http")
  }
  const endMs = io.clock.monotonicMs() + args.values.timeout
  for (const condition of conditions) {
    const late = (problem: string) => io.stderr(`waiting: ${onOneLine(problem)}\n`)
    const problem = await until(condition, io.clock, endMs, late)
    if (problem === undefined) {
      io.stdout(`${onOneLine(condition.outcome)}\n`)
      continue
    }
    throw notInTime(args.texts("timeout").join(), problem)
  }
  return 0
}

function nodeCondition(args: WaitArgs, clock: Clock): Condition[] {
  const { synced, primary, db, pos } = args.values
  const api = new NodeApi(args)
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

function positionOf(text: string): string {
  if (/^.+=./s.test(text)) return text
  throw new Unfit('it should be DB=TXID, like "app.db=$(cat /litefs/app.db-pos)"')
}

function httpCondition({ values }: WaitArgs, clock: Clock): Condition[] {
  const url = values.http
  if (url === undefined) return []
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
function urlOf(address: string): URL {
  const text = /^https?:\/\//i.test(address)
    ? address
    : `http://${address.startsWith(":") ? "127.0.0.1" : ""}${address}`
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url !== undefined && url.hostname !== "" && !/[\s\\]/.test(address)) return url
  throw new Unfit("it should be HOST:PORT, :PORT or a URL")
}
