/**
 * `GET /info`: what this node is. The first keys are the original's; the others are ours.
 *
 * store/shared-lag.ts explains `lag`; its `ms` is null until the node has been in sync once. `replicas` are the
 * connected ones, with what they have been sent.
 */
import type { ServerResponse } from "node:http"
import type { NodeProblems } from "../../cluster/node-problems.ts"
import type {
  CaptureStatus,
  ConnectedReplica,
  DatabaseCondition,
  DatabaseStatus,
  Lag,
  LeaseStoreStatus,
  NodeStatus,
} from "../../cluster/node-status.ts"
import type { LeaseRecord } from "../../cluster/role/lease.ts"
import type { SyncStatus } from "../../cluster/sync-replicas.ts"
import type { Turns } from "../../lib/turns.ts"
import { formatPos } from "../../ltx/pos.ts"
import { answerJsonBody, encodeJson } from "../server/json.ts"
import { checkRouteQuery } from "../server/routes.ts"
import type { SharedAnswer } from "./shared-answer.ts"

export type JournalMode = "wal" | "rollback"

export interface InfoContext {
  readonly status: NodeStatus
  /** Undefined when there is no database file. */
  journalMode(database: string): JournalMode | undefined
  /** The number of histories that are kept aside. */
  divergedCount(): number
}

export async function handleInfo(
  shared: SharedAnswer,
  response: ServerResponse,
  url: URL,
): Promise<void> {
  checkRouteQuery(url, "GET /info")
  answerJsonBody(response, 200, await shared.get())
}

/** The lists, which may be long, are made in turns. */
export async function infoText(context: InfoContext, turns: Turns): Promise<string> {
  const { status, journalMode } = context
  const databases: DatabaseStatus[] = []
  const infos: string[] = []
  for (const database of status.databases()) {
    databases.push(database)
    if (turns.isOver) await turns.next()
  }
  databases.sort((a, b) => (a.name < b.name ? -1 : 1))
  for (const database of databases) {
    infos.push(jsonItem(databaseInfo(database, journalMode(database.name))))
    if (turns.isOver) await turns.next()
  }
  const names = new Set(databases.map(({ name }) => name))
  const replicas: string[] = []
  for (const replica of [...status.replicas()]) {
    replicas.push(jsonItem(replicaInfo(replica, databases, names)))
    if (turns.isOver) await turns.next()
  }
  const lists = `,\n  "databases": ${jsonList(infos)},\n  "replicas": ${jsonList(replicas)}\n}\n`
  return encodeJson(nodeInfo(context), 2).replace(/\n\}$/, () => lists)
}

function jsonItem(value: unknown): string {
  return encodeJson(value, 2).replaceAll("\n", "\n    ")
}

function jsonList(items: readonly string[]): string {
  return items.length === 0 ? "[]" : `[\n    ${items.join(",\n    ")}\n  ]`
}

export interface LagInfo {
  readonly ms: number | null
  readonly transactions: number
  readonly bytes: number
}

export interface DatabaseInfo {
  readonly name: string
  readonly position: string
  /** On a replica: what is durable here and not applied yet. It is not lost when this node becomes the primary. */
  readonly durable?: string
  readonly pageSize: number
  readonly pageCount: number
  readonly size: number
  readonly journalMode: JournalMode | null
  /** The time of the last transaction, by the primary's clock. */
  readonly timestamp: string | null
  readonly lag: LagInfo
  /** `arriving`: the primary has it, and nothing of it is here yet. `left-out`: `problem` says why. */
  readonly state: DatabaseCondition
  /** On a replica: only this node has it. Absent when not. */
  readonly notOnPrimary?: true
  readonly problem?: string
}

export interface ReplicaInfo {
  readonly id: string | null
  readonly hostname: string
  readonly connectedAt: string
  /** For how long it has said nothing, when it should have: what it was sent may not be there. */
  readonly silentMs?: number
  readonly lag: { readonly transactions: number }
  /** What the replica has been sent. */
  readonly databases: readonly { readonly name: string; readonly position: string }[]
  /** The databases that it cannot take. */
  readonly leftOut: readonly string[]
}

export interface ProblemInfo {
  readonly problem: string
  readonly since: string
  readonly until?: string
}

export interface NodeInfo {
  readonly clusterID?: string
  /** Not while it is the primary and its lease has run out: it takes no writes then. */
  readonly isPrimary: boolean
  readonly candidate: boolean
  readonly path: string
  readonly primary: {
    readonly hostname: string
    readonly advertiseURL?: string
    readonly proxyURL?: string
  }
  readonly id: string
  readonly hostname: string
  readonly version: string
  readonly mount: string
  readonly role: "primary" | "replica"
  /** The primary by the newest record that this node has heard. */
  readonly lease?: LeaseRecord
  /** Of a node whose role a store gives. `isHeld`: this node is the primary and takes writes. */
  readonly leaseStore?: {
    readonly type: string
    readonly store: string
    readonly isHeld: boolean
    readonly leftMs: number
    readonly holder: string | null
    readonly epoch: number | null
  }
  readonly isReady: boolean
  readonly isConnected: boolean
  readonly startedAt: string
  readonly lag: LagInfo
  /** The present problem of the node as a whole, or the last one, which has `until`. */
  readonly lastProblem?: ProblemInfo
  /** On a primary whose commits wait for replicas. */
  readonly sync?: SyncStatus
  /** How commits to a WAL are captured while this node is the primary. */
  readonly capture?: CaptureStatus
  /** Histories that the primary does not have, for `litefs diverged`. Not there when there are none. */
  readonly divergedCount?: number
  readonly databases: readonly DatabaseInfo[]
  readonly replicas: readonly ReplicaInfo[]
}

/** All but the lists, which come last. */
function nodeInfo({
  status,
  divergedCount,
}: InfoContext): Omit<NodeInfo, "databases" | "replicas"> {
  const diverged = divergedCount()
  const { identity, isPrimary, primaryName } = status
  const clusterId = identity.clusterId()
  const lease = identity.lease?.()
  const leaseStore = identity.leaseStore?.()
  const primaryUrl = isPrimary ? identity.advertiseUrl : identity.primaryUrl
  const proxyUrl = identity.proxyUrl?.()
  const capture = identity.capture?.()
  return {
    ...(clusterId === undefined ? {} : { clusterID: clusterId }),
    isPrimary: isPrimary && leaseStore?.isHeld !== false,
    candidate: identity.isCandidate ?? isPrimary,
    path: identity.dataDir,
    primary: {
      hostname: primaryName ?? "",
      ...(primaryUrl === undefined ? {} : { advertiseURL: primaryUrl }),
      ...(proxyUrl === undefined ? {} : { proxyURL: proxyUrl }),
    },
    id: identity.id,
    hostname: identity.hostname,
    version: identity.version,
    mount: identity.fuseDir,
    role: isPrimary ? "primary" : "replica",
    ...(lease === undefined ? {} : { lease }),
    ...leaseStoreInfo(leaseStore),
    isReady: status.isReady,
    isConnected: primaryName !== undefined,
    startedAt: new Date(status.startedMs).toISOString(),
    lag: lagInfo(status.lag),
    ...lastProblem(status.problems),
    ...(status.sync === undefined ? {} : { sync: status.sync }),
    ...(capture === undefined ? {} : { capture }),
    ...(diverged === 0 ? {} : { divergedCount: diverged }),
  }
}

function leaseStoreInfo(status: LeaseStoreStatus | undefined): Pick<NodeInfo, "leaseStore"> {
  if (status === undefined) return {}
  const { type, store, isHeld, leftMs, holder } = status
  const { epoch = null, primary } = holder ?? {}
  const left = Math.round(leftMs)
  const name = primary?.hostname ?? null
  return { leaseStore: { type, store, isHeld, leftMs: left, holder: name, epoch } }
}

/** For `/info` and `/health`. */
export function lastProblem({ last }: NodeProblems): { readonly lastProblem?: ProblemInfo } {
  if (last === undefined) return {}
  const time = (ms: number) => new Date(ms).toISOString()
  const { text, sinceMs, untilMs } = last
  const until = untilMs === undefined ? {} : { until: time(untilMs) }
  return { lastProblem: { problem: text, since: time(sinceMs), ...until } }
}

function databaseInfo(
  database: DatabaseStatus,
  journalMode: JournalMode | undefined,
): DatabaseInfo {
  const { name, pos, durable, pageSize, commit, timestampMs, lag, condition, problem } = database
  return {
    name,
    position: formatPos(pos),
    ...(durable === undefined ? {} : { durable: formatPos(durable) }),
    pageSize,
    pageCount: commit,
    size: commit * pageSize,
    journalMode: commit === 0 ? null : (journalMode ?? null),
    timestamp: timestampMs === 0 ? null : new Date(timestampMs).toISOString(),
    lag: lagInfo(lag),
    state: condition,
    ...(database.isForeign ? { notOnPrimary: true } : {}),
    ...(problem === undefined ? {} : { problem }),
  }
}

function replicaInfo(
  replica: ConnectedReplica,
  databases: readonly DatabaseStatus[],
  names: ReadonlySet<string>, // only these
): ReplicaInfo {
  const { id, name, connectedMs, silentMs, sent, leftOut } = replica
  return {
    id: id ?? null,
    hostname: name,
    connectedAt: new Date(connectedMs).toISOString(),
    ...(silentMs === undefined ? {} : { silentMs }),
    lag: { transactions: unsentTransactions(replica, databases) },
    // From a replica's word, only databases that this node also has: the rest may be made up, and long.
    databases: [...sent]
      .filter(([database]) => names.has(database))
      .map(([database, pos]) => ({ name: database, position: formatPos(pos) }))
      .sort((a, b) => (a.name < b.name ? -1 : 1)),
    leftOut: [...leftOut].sort(),
  }
}

/** Transactions of these databases that the replica wants, and has not been sent. */
export function unsentTransactions(
  { sent, isWanted }: ConnectedReplica,
  databases: Iterable<DatabaseStatus>,
): number {
  let transactions = 0n
  for (const { name, stored } of databases) {
    if (!isWanted(name)) continue
    const { txid } = sent.get(name) ?? { txid: 0n }
    if (stored.txid > txid) transactions += stored.txid - txid
  }
  return Number(transactions)
}

function lagInfo({ ms, transactions, bytes }: Lag): LagInfo {
  return { ms: ms === undefined ? null : Math.round(ms), transactions, bytes }
}
