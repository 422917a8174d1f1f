/**
 * `GET /health`: 200 when this node is as it should be, else 503; the body says why not.
 *
 *   ready              always: mounted and, on a replica, once where its primary was; and files can be opened
 *   ?max-lag-ms=N      not further behind than that, in time
 *   ?max-lag-tx=N      … in transactions that are known to be missing, in all databases together
 *   ?role=primary      it is the primary, or with `replica` it is one
 *   ?pos=DB=TXID       the database has that transaction; TXID as in `<db>-pos` (16 hexadecimal digits, and then
 *                      with or without the checksum), or a decimal number
 *   ?synced            it is connected and has everything that its primary had 3 s ago or, with `wait`, when this was
 *                      asked; a database that cannot be sent counts unless there is some of it here
 *   ?db=NAME           the database is here; this one and `pos` may be given several times
 *   ?wait=MS           answer 503 only if it has not become so within that time
 *
 * Databases that cannot be sent or applied are left out. The answer names them and has the status "degraded", which is
 * 200 all the same, because the others are as they should be. A full disk has the same effect: existing data can be
 * read. So has a primary without enough replicas that acknowledge, which `sync` tells (cluster/sync-replicas.ts), and
 * one that a node of another cluster takes for its own. `lastProblem` is the present or last problem of the node as a
 * whole.
 *
 * Without a limit a replica that has lost its primary stays healthy. Otherwise all replicas would go together with the
 * primary.
 */
import type { ServerResponse } from "node:http"
import type { DatabaseStatus, NodeStatus } from "../../cluster/node-status.ts"
import type { SyncStatus } from "../../cluster/sync-replicas.ts"
import type { Clock } from "../../lib/clock.ts"
import { LitefsError } from "../../lib/errors.ts"
import { until } from "../../lib/until.ts"
import {
  type Checksum,
  formatTxid,
  type Pos,
  parsePos,
  parseTxid,
  type Txid,
  ZERO_POS,
} from "../../ltx/pos.ts"
import { validateDatabaseName } from "../../wire/database-name.ts"
import { answerJson } from "../server/json.ts"
import { numberOf } from "../server/query.ts"
import { checkRouteQuery } from "../server/routes.ts"
import { lastProblem, type ProblemInfo } from "./info.ts"

export const WAIT_MS_MAX = 60_000
/**
 * How long ago `?synced` without `wait` asks about. A heartbeat proves a moment every second, and may be late on a busy
 * machine.
 */
const SYNCED_AGE_MS = 3000
/** Every change checks all of them. Beyond this count nobody else waits. */
const WAITING_COUNT_MAX = 256

export interface HealthContext {
  readonly status: NodeStatus
  readonly clock: Clock
}

export interface Health {
  readonly status: "ok" | "degraded" | "unavailable"
  readonly reason?: string
  readonly role: "primary" | "replica"
  readonly isReady: boolean
  readonly lag: { readonly ms: number | null; readonly transactions: number }
  /** Names of databases that the primary has and that are still missing here completely. */
  readonly arriving?: readonly string[]
  readonly leftOut?: readonly { readonly name: string; readonly problem: string }[]
  /** On a primary whose commits wait for replicas. */
  readonly sync?: SyncStatus
  readonly lastProblem?: ProblemInfo
}

interface WantedPos {
  readonly database: string
  readonly txid: Txid
  readonly checksum: Checksum | undefined
}

interface Conditions {
  readonly lagMsMax: number | undefined
  readonly lagTransactionsMax: number | undefined
  readonly role: string | undefined
  readonly positions: readonly WantedPos[]
  readonly databases: readonly string[]
  /** Everything that the primary had at this time, by our steady clock, must be here. */
  readonly syncedSinceMs: number | undefined
}

export async function handleHealth(
  { status, clock }: HealthContext,
  response: ServerResponse,
  url: URL,
): Promise<void> {
  checkRouteQuery(url, "GET /health")
  const conditions = conditionsOf(url, clock.steadyMs())
  const isCrowded = status.listenerCount >= WAITING_COUNT_MAX
  const waitMs = isCrowded ? 0 : Math.min(numberOf(url, "wait") ?? 0, WAIT_MS_MAX)

  const isSo = () => response.destroyed || reasonAgainst(status, conditions) === undefined
  const onChange = (listener: () => void) => {
    response.once("close", listener)
    return status.onChange(listener)
  }
  await until(isSo, { clock, limitMs: waitMs, onChange })
  if (response.destroyed) return
  const health = healthOf(status, conditions)
  answerJson(response, health.status === "unavailable" ? 503 : 200, health)
}

function healthOf(status: NodeStatus, conditions: Conditions): Health {
  const reason = reasonAgainst(status, conditions)
  const { ms, transactions } = status.lag
  const databases = [...status.databases()]
  const arriving = databases.filter(({ condition }) => condition === "arriving")
  const leftOut = databases.flatMap(({ name, problem }) =>
    problem === undefined ? [] : [{ name, problem }],
  )
  const isSynchronous = status.sync === undefined || status.sync.state === "synchronous"
  const isFull = status.problems.of("disk") !== undefined
  const isWrongCluster = status.problems.of("cluster") !== undefined
  const isFine = leftOut.length === 0 && !isFull && isSynchronous && !isWrongCluster
  const fine = isFine ? "ok" : "degraded"
  return {
    status: reason === undefined ? fine : "unavailable",
    ...(reason === undefined ? {} : { reason }),
    role: status.isPrimary ? "primary" : "replica",
    isReady: status.isReady,
    lag: { ms: ms === undefined ? null : Math.round(ms), transactions },
    ...(arriving.length === 0 ? {} : { arriving: arriving.map(({ name }) => name) }),
    ...(leftOut.length === 0 ? {} : { leftOut }),
    ...(status.sync === undefined ? {} : { sync: status.sync }),
    ...lastProblem(status.problems),
  }
}

function reasonAgainst(status: NodeStatus, wanted: Conditions): string | undefined {
  const { lagMsMax, lagTransactionsMax, role, positions, databases, syncedSinceMs } = wanted
  if (status.problem !== undefined) return status.problem
  if (role !== undefined && (role === "primary") !== status.isPrimary) {
    return status.isPrimary ? "this node is the primary" : "this node is a replica"
  }
  if (!status.isReady) {
    if (status.isPrimary) return "not mounted yet"
    return notReady(status)
  }
  const { ms, transactions } = status.lag
  if (lagMsMax !== undefined && (ms === undefined || ms > lagMsMax)) {
    const found = ms === undefined ? "of unknown length" : `${Math.round(ms)} ms`
    return `the lag is ${found}, over ${lagMsMax} ms${because(status)}`
  }
  if (lagTransactionsMax !== undefined && transactions > lagTransactionsMax) {
    return `the lag is ${transactions} transactions, over ${lagTransactionsMax}${because(status)}`
  }
  const reasons = [
    syncedSinceMs === undefined ? undefined : reasonAgainstSynced(status, syncedSinceMs),
    ...databases.map((name) => reasonAgainstDatabase(status.database(name), name)),
    ...positions.map((wanted) => reasonAgainstPos(status, wanted)),
  ]
  return reasons.find((reason) => reason !== undefined)
}

/** The problem that keeps a node from having everything. */
function because({ problems }: NodeStatus): string {
  const problem = problems.of("disk") ?? problems.of("primary") ?? problems.of("readers")
  return problem === undefined ? "" : `: ${problem}`
}

function reasonAgainstSynced(status: NodeStatus, sinceMs: number): string | undefined {
  for (const { name, pos, condition, problem } of status.databases()) {
    if (condition === "arriving") return `"${name}" is on its way`
    if (problem !== undefined && pos.txid === 0n) return `"${name}" is not here: ${problem}`
  }
  const problem = status.problems.of("primary")
  if (status.primaryName === undefined) return problem ?? "not connected to the primary"
  return status.hasBeenSyncedSince(sinceMs) ? undefined : notSynced(status)
}

/**
 * Why a replica is not ready yet. A candidate that cannot reach the primary of its lease record waits for ever if that
 * one is gone: it hears what to do then.
 */
export function notReady(status: NodeStatus): string {
  const { identity, primaryName } = status
  const primary = identity.lease?.()?.primary
  const isStuck =
    primaryName === undefined &&
    identity.isCandidate === true &&
    identity.leaseStore?.() === undefined &&
    primary !== undefined &&
    primary.id !== identity.id
  return isStuck
    ? `${notSynced(status)}; if "${primary.hostname}" is gone for good: litefs promote --force`
    : notSynced(status)
}

/** Why a replica lacks something. */
function notSynced({ primaryName, problems }: NodeStatus): string {
  const how = primaryName === undefined ? "connected to" : "in sync with"
  const problem = problems.of("primary") ?? problems.of("lease")
  return problem ?? problems.of("readers") ?? `not ${how} the primary yet`
}

function reasonAgainstDatabase(
  database: DatabaseStatus | undefined,
  name: string,
): string | undefined {
  if (database?.condition === "arriving") return `"${name}" is on its way`
  if (database !== undefined && database.commit > 0) return undefined
  const problem = database?.problem
  return problem === undefined
    ? `there is no database "${name}"`
    : `"${name}" is not here: ${problem}`
}

function reasonAgainstPos(status: NodeStatus, wanted: WantedPos): string | undefined {
  const database = status.database(wanted.database)
  const found: Pos = database?.pos ?? ZERO_POS
  if (database === undefined && wanted.txid > 0n) {
    return `there is no database "${wanted.database}"${because(status)}`
  }
  if (found.txid < wanted.txid) {
    return `"${wanted.database}" is at TXID ${formatTxid(found.txid)}, not at ${formatTxid(wanted.txid)} yet${because(status)}`
  }
  const isOther =
    found.txid === wanted.txid && found.checksum !== (wanted.checksum ?? found.checksum)
  return isOther
    ? `"${wanted.database}" has another transaction ${formatTxid(wanted.txid)}`
    : undefined
}

function conditionsOf(url: URL, nowMs: number): Conditions {
  const role = url.searchParams.get("role") ?? undefined
  if (role !== undefined && role !== "primary" && role !== "replica") {
    throw new LitefsError("usage", `Cannot use role=${role}: primary or replica expected`)
  }
  const databases = url.searchParams.getAll("db")
  for (const name of databases) validateDatabaseName(name)
  const syncedAgeMs = url.searchParams.has("wait") ? 0 : SYNCED_AGE_MS
  return {
    lagMsMax: numberOf(url, "max-lag-ms"),
    lagTransactionsMax: numberOf(url, "max-lag-tx"),
    role,
    positions: url.searchParams.getAll("pos").map(posCondition),
    databases,
    syncedSinceMs: url.searchParams.has("synced") ? nowMs - syncedAgeMs : undefined,
  }
}

function posCondition(text: string): WantedPos {
  const split = text.lastIndexOf("=")
  const [database, position] = [text.slice(0, split), text.slice(split + 1).trim()]
  const whole = parsePos(position)
  // Positions are written with 16 digits, which are hexadecimal.
  const decimal = /^\d{1,15}$/.test(position) ? BigInt(position) : undefined
  const txid = whole?.txid ?? parseTxid(position) ?? decimal
  if (split < 1 || txid === undefined) {
    const shape = "DB=TXID expected, with the 16 hexadecimal digits of DB-pos or a decimal number"
    throw new LitefsError("usage", `Cannot use pos=${text}: ${shape}`)
  }
  validateDatabaseName(database)
  return { database, txid, checksum: whole?.checksum }
}
