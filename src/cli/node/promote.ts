/**
 * `litefs promote`: makes a node the primary. Its way, in order:
 *
 *   here      promote.ts ── POST /promote ──▶
 *   replica   http/roles/roles.ts ─▶ role/handoffs.ts promote() ── POST /handoff?nodeID=ID ──▶
 *   primary   roles.ts ─▶ handoffs.ts target(), handOff(), which asks the replica at its advertised URL
 *               ─▶ role/member.ts handOff(): draining
 *               ─▶ role/role-switch.ts drain()             running writes of the proxy, lent write locks (halt-locks.ts)
 *                    peer thread: lockWrites ─▶ fs thread: shut
 *               ─▶ role/offer.ts make() ─▶ http/streams/replica-stream.ts ── the token, behind all transactions ──▶
 *   replica   replica/incoming-stream.ts, all applied ─▶ followed-primary.ts ─▶ handoffs.ts takeOffer()
 *               ── POST /handoff?token=TOKEN, its positions ──▶
 *   primary   roles.ts ─▶ member.ts accept(): the record is durable (role/static-lease.ts) ── the record ──▶
 *               ─▶ role-switch.ts handOver()               both nodes from here on at the same time
 *                    fs thread: handOver ─▶ peer thread: inherit ─▶ follow
 *   replica   role/peer-check.ts hear() ─▶ member.ts hear(): the record is durable
 *               ─▶ role-switch.ts inherit()
 *                    unfollow ─▶ peer thread: handOver ─▶ fs thread: inherit ─▶ peer thread: letGoAll
 *               ─▶ handoffs.ts promote() finds itself the primary, and /promote is answered
 *
 * role/ and replica/ are in src/cluster, followed-primary.ts is in src/node/membership. What the threads hand each
 * other: capture/ownership.ts. With --force there is only member.ts force(), which makes the record here, and the last
 * inherit().
 *
 * The answer waits for five messages to threads, one after the other: two before the offer, then two on the primary
 * while there are three on the replica. None of them can go with another:
 *
 *   lockWrites, shut     only a client can take the clients' locks, and only the log's thread can close it to databases
 *                        that are made after that; its answer says that every transaction has its LTX file to send
 *   shut, handOver       an offer may be refused, and the primary then goes on with what it has: it gives nothing away
 *                        before the record is durable
 *   handOver, inherit    the giver has ended before the taker begins. In between, the replica looks whether it is still
 *                        wanted
 *   inherit, letGoAll    the open files of the peer thread keep clients from taking the WAL away, until the fs thread
 *                        has the databases. A client that hears of the promotion finds them closed
 */
import type { Clock } from "../../lib/clock.ts"
import { LitefsError } from "../../lib/errors.ts"
import type { ParsedArgs } from "../terminal/argv.ts"
import { command } from "../terminal/command.ts"
import type { FlagTable } from "../terminal/flags.ts"
import type { CliIo } from "../terminal/io.ts"
import { onLines } from "../terminal/table.ts"
import { BrokenConnection, NODE_FLAGS, NodeApi, nodeSettings } from "./api.ts"
import { healthCondition, TimeLimit, until } from "./waiting.ts"

/** A node answers when its steps are done or have taken too long, which is long before. One that is stopped never does. */
const ANSWER_MS_MAX = 60_000

/** By then a handoff that has begun has ended. */
const UNSURE_MS_MAX = 18_000

const FLAGS = {
  ...NODE_FLAGS,
  force: { kind: "boolean", help: "without asking the primary, which may lose transactions" },
} as const satisfies FlagTable

export const PROMOTE = command({
  name: "promote",
  flags: FLAGS,
  about: `The promote command will make a replica the primary. The current primary stops
taking writes, waits until the replica has everything, and becomes a replica
itself: no transaction is lost, and no node restarts.`,
  usage: "litefs promote [flags]",
  notes: `The replica must have been started with --candidate. When clients of the primary
keep a write transaction open for more than 5 seconds, or the replica does not
catch up in 5 seconds, or cannot be reached at its --advertise-url, nothing
changes.

When the answer of a node is lost, it is asked again for the outcome.

With --force the primary is not asked: for one that is gone, or cannot be
reached. What it took that has not come here is not lost, but no node has it
any more as its own: when it comes back, it follows the new primary and keeps
the rest for litefs diverged.`,
  examples: `# this node, before it is used for a migration
litefs promote

# another node, since the primary's machine is gone
litefs promote --force --url http://10.0.0.2:20202`,
  settings: nodeSettings("promote"),
  run: promote,
})

async function promote(args: ParsedArgs<typeof FLAGS>, io: CliIo): Promise<number> {
  const api = new NodeApi(args)
  const query: Record<string, string> = args.values.force ? { force: "true" } : {}
  const text = await answerOf(api, query, io.clock).catch((error) => findOut(api, io, error))
  io.stdout(text === "" ? `${api.origin} is the primary\n` : onLines(text))
  return 0
}

async function answerOf(
  api: NodeApi,
  query: Record<string, string>,
  clock: Clock,
): Promise<string> {
  using limit = new TimeLimit(clock, ANSWER_MS_MAX)
  try {
    const response = await api.call("/promote", query, { method: "POST", signal: limit.signal })
    return await api.textOf(response)
  } catch (error) {
    if (!limit.signal.aborted) throw error
    const problem = `it does not answer within ${ANSWER_MS_MAX / 1000} seconds`
    throw new BrokenConnection(`Cannot promote ${api.origin}: ${problem}`, { cause: error })
  }
}

/** The node may have become the primary, or be about to, although its answer is lost. */
async function findOut(api: NodeApi, io: CliIo, error: unknown): Promise<string> {
  if (!(error instanceof BrokenConnection)) throw error
  const endMs = io.clock.monotonicMs() + UNSURE_MS_MAX
  const problem = await until(healthCondition(api, { role: "primary" }, io.clock), io.clock, endMs)
  if (problem === undefined) return ""
  const outcome = `it is not known whether it becomes the primary (${problem}), see litefs info --url ${api.origin}`
  throw new LitefsError("unavailable", `${error.message}; ${outcome}`)
}
