/** What `litefs info` prints for people. */
import { BAD_DATA, CANNOT_TAKE } from "../../cluster/node-problems.ts"
import type { SyncStatus } from "../../cluster/sync-replicas.ts"
import type {
  DatabaseInfo,
  LagInfo,
  NodeInfo,
  ProblemInfo,
  ReplicaInfo,
} from "../../http/status/info.ts"
import { formatDuration } from "../../lib/duration.ts"
import { formatPos, ZERO_POS } from "../../ltx/pos.ts"
import { counted, formatSize, onOneLine, table } from "../terminal/table.ts"

export function infoReport(info: NodeInfo, nowMs: number): string {
  const sections = [head(info, nowMs)]
  if (info.databases.length > 0) sections.push(databaseTable(info))
  const problems = info.databases.filter(({ problem }) => problem !== undefined)
  if (problems.length > 0) sections.push(problemList(problems))
  if (info.replicas.length > 0) sections.push(replicaTable(info.replicas, nowMs))
  return sections.join("\n")
}

function head(info: NodeInfo, nowMs: number): string {
  const lines = [
    ["node", `${info.hostname}, LiteFS ${info.version}, up ${since(info.startedAt, nowMs)}`],
    ["role", roleOf(info)],
    ["state", stateOf(info)],
    ["mount", info.mount],
    ["data", info.path],
  ]
  if (info.capture !== undefined) lines.push(["capture", captureOf(info.capture)])
  if (info.sync !== undefined) lines.push(["sync", syncOf(info.sync)])
  if (info.clusterID !== undefined) lines.push(["cluster", info.clusterID])
  if (info.leaseStore !== undefined) lines.push(["lease", leaseOf(info.leaseStore)])
  if (typeof info.divergedCount === "number") lines.push(["kept", keptOf(info.divergedCount)])
  const { lastProblem: last } = info
  if (last !== undefined)
    lines.push([last.until === undefined ? "problem" : "earlier", problemOf(last)])
  return lines.map(([name = "", value]) => `${name.padEnd(8)} ${onOneLine(value ?? "")}\n`).join("")
}

function captureOf({ mode, reason }: NonNullable<NodeInfo["capture"]>): string {
  return `${mode}: ${reason}`
}

function keptOf(count: number): string {
  const histories = count === 1 ? "1 history" : `${count} histories`
  return `${histories} that the primary does not have: litefs diverged list`
}

function syncOf({ state, mode, replicas, acknowledging, reason, degraded }: SyncStatus): string {
  const of = degraded === undefined ? "" : ` (${degraded.join(", ")})`
  const how = reason ?? `${acknowledging} replicas acknowledge, ${replicas} needed`
  return `${state}${of} (${mode}), ${how}`
}

function leaseOf({
  store,
  isHeld,
  leftMs,
  holder,
  epoch,
}: NonNullable<NodeInfo["leaseStore"]>): string {
  if (isHeld)
    return `held by this node, epoch ${epoch}, ${formatDuration(leftMs)} left, in ${store}`
  const who = holder === null ? "held by nobody that is known" : `held by ${holder}, epoch ${epoch}`
  return `${who}, in ${store}`
}

function problemOf({ problem, since, until }: ProblemInfo): string {
  return `${problem} (${until === undefined ? `since ${since}` : `from ${since} until ${until}`})`
}

/** A primary whose lease has run out. */
function isLapsed({ isPrimary, role, leaseStore }: NodeInfo): boolean {
  return leaseStore !== undefined && role === "primary" && !isPrimary
}

function roleOf(info: NodeInfo): string {
  const { isPrimary, isConnected, primary, lastProblem } = info
  if (isPrimary) return "primary"
  if (isLapsed(info)) return "primary, takes no writes: it does not hold the lease"
  const at = primary.advertiseURL ?? "an unknown address"
  if (isConnected) return `replica of ${primary.hostname} at ${at}`
  // It was reached, and will be again in a moment.
  const problem = lastProblem?.until === undefined ? (lastProblem?.problem ?? "") : ""
  if (problem.includes(` ${BAD_DATA}: `))
    return `replica of the primary at ${at}, which ${BAD_DATA}`
  if (problem.startsWith(CANNOT_TAKE))
    return `replica of the primary at ${at}, cannot take what it sends`
  return `replica, not connected to the primary at ${at}`
}

function stateOf(info: NodeInfo): string {
  const { isPrimary, isReady, lag, databases } = info
  if (isPrimary || isLapsed(info)) return isReady ? "ready" : "starting"
  if (!isReady) return `not in sync with the primary yet${adviceOf(info)}`
  const arriving = databases.filter((database) => database.state === "arriving").length
  const isArriving = arriving === 0 ? "" : `, ${counted(arriving, "database")} on the way`
  return `ready, ${behind(lag)}${isArriving}`
}

/** A candidate waits for ever for a primary that is gone. */
function adviceOf({ candidate, isConnected, id, lease, leaseStore }: NodeInfo): string {
  if (!candidate || isConnected || leaseStore !== undefined) return ""
  if (lease === undefined || lease.primary.id === id) return ""
  return `; if "${lease.primary.hostname}" is gone for good: litefs promote --force`
}

function behind({ ms, transactions }: LagInfo): string {
  const missing = transactions === 0 ? "" : `, ${counted(transactions, "transaction")} missing`
  return `lag ${lagOf(ms)}${missing}`
}

function databaseTable({ databases, isPrimary, isConnected }: NodeInfo): string {
  const titles = ["DATABASE", "POSITION", "JOURNAL", "PAGES ", "PAGE SIZE ", "SIZE ", "CHANGED"]
  const rows = databases.map((database) => [
    database.name,
    database.position,
    journalOf(database),
    String(database.pageCount),
    String(database.pageSize),
    formatSize(database.size),
    database.timestamp ?? "never",
    ...(isPrimary ? [] : lagCells(database, isConnected)),
  ])
  return table(isPrimary ? titles : [...titles, "LAG ", "MISSING "], rows)
}

function lagCells({ lag, notOnPrimary }: DatabaseInfo, isConnected: boolean): string[] {
  if (notOnPrimary === true) return ["not on the primary", "-"]
  // Before a primary has told what it has, nobody knows what is missing.
  const isUnknown = lag.ms === null && !isConnected && lag.transactions === 0
  return [lagOf(lag.ms), isUnknown ? "unknown" : String(lag.transactions)]
}

/** The table names all of them. */
const PROBLEMS_SHOWN = 10

function problemList(databases: readonly DatabaseInfo[]): string {
  const shown = databases.slice(0, PROBLEMS_SHOWN)
  const lines = shown.map(({ name, problem }) => `left out: ${onOneLine(`${name}: ${problem}`)}\n`)
  const more = databases.length - shown.length
  return [...lines, ...(more > 0 ? [`left out: ${more} more, --json says why\n`] : [])].join("")
}

function journalOf({ pageCount, journalMode, state, position }: DatabaseInfo): string {
  if (state === "arriving") return "on its way"
  if (state === "left-out") return "left out"
  if (position === formatPos(ZERO_POS)) return "empty" // a client has made the file, and not written to it
  return pageCount === 0 ? "dropped" : (journalMode ?? "unknown")
}

function replicaTable(replicas: readonly ReplicaInfo[], nowMs: number): string {
  const rows = replicas.map(({ hostname, id, connectedAt, lag, databases }) => [
    hostname,
    id ?? "unknown",
    since(connectedAt, nowMs),
    String(databases.length),
    String(lag.transactions),
  ])
  const silent = replicas
    .filter(({ silentMs }) => silentMs !== undefined)
    .map(
      ({ hostname, silentMs = 0 }) =>
        `silent: ${onOneLine(hostname)}, for ${formatDuration(silentMs)}: what it was sent may not be there\n`,
    )
  return [table(["REPLICA", "ID", "CONNECTED ", "DATABASES ", "NOT SENT "], rows), ...silent].join(
    "",
  )
}

function lagOf(ms: number | null): string {
  return ms === null ? "unknown" : formatDuration(Math.round(ms))
}

function since(time: string, nowMs: number): string {
  const ms = Math.max(0, nowMs - Date.parse(time))
  return formatDuration(Math.floor(ms / 1000) * 1000)
}
