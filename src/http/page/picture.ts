/**
 * The cluster as this node sees it, at one moment: what the status page shows.
 *
 * A primary knows its replicas; a replica knows itself and its primary, and is told of the others (other-replicas.ts).
 * Times are in milliseconds since 1970, by the clock of this node, except `changedMs`, which is by that of the primary.
 */
import type {
  ConnectedReplica,
  DatabaseCondition,
  DatabaseStatus,
  NodeStatus,
} from "../../cluster/node-status.ts"
import { formatPos } from "../../ltx/pos.ts"
import { unsentTransactions } from "../status/info.ts"
import { type AwayReplica, type Finding, findings } from "./findings.ts"

/** Rows of databases that a page gets; it has a filter for the rest. */
export const ROW_COUNT_MAX = 200
const NODE_COUNT_MAX = 300
/** As many as a sentence has. */
export const LEFT_OUT_NAMES_MAX = 3

/** Below this a replica is as good as current: heartbeats come every second. */
const CURRENT_MS = 3000

export interface ClusterNode {
  readonly id: string | null
  readonly hostname: string
  readonly role: "primary" | "replica"
  readonly isThis: boolean
  readonly isConnected: boolean
  readonly url: string | null
  /** Since when it is connected or, when it is away, since when it is not. */
  readonly sinceMs: number | null
  /** For how long a replica has said nothing, when it should have, in full seconds: what it was sent may not be there. */
  readonly silentMs: number | null
  /** When it was so: nobody tells how it is now. Null when it is so. */
  readonly asOfMs: number | null
  /** Known of this node alone. */
  readonly lagMs: number | null
  /** What it has not got, as far as this node knows. */
  readonly transactions: number | null
  readonly databases: number | null
  readonly leftOut: readonly string[]
  readonly leftOutCount: number
}

export interface NodeFacts {
  readonly id: string
  readonly hostname: string
  readonly version: string
  readonly clusterId: string | null
  readonly epoch: number | null
  readonly role: "primary" | "replica"
  readonly isReady: boolean
  readonly isConnected: boolean
  /** Whether the other replicas are known; null until a replica knows whether its primary tells of them. */
  readonly knowsReplicas: boolean | null
  readonly startedMs: number
  readonly mount: string
  readonly lagMs: number | null
  readonly transactions: number
  readonly databases: number
  readonly size: number
  readonly findings: readonly Finding[]
}

export interface DatabaseRow {
  readonly name: string
  readonly position: string
  readonly size: number
  readonly pages: number
  readonly changedMs: number | null
  /** In full seconds, and 0 while it is current; null while it is unknown. */
  readonly lagMs: number | null
  readonly transactions: number
  readonly bytes: number
  readonly state: DatabaseCondition
  readonly problem: string | null
}

export interface Picture {
  readonly wallMs: number
  readonly node: NodeFacts
  readonly nodes: readonly ClusterNode[]
  readonly databases: readonly DatabaseStatus[]
  readonly unsent: number | null
}

export interface PictureContext {
  readonly status: NodeStatus
  readonly wallMs: number
  /** Of the primary that this node was connected to last. */
  readonly lastPrimaryName: string | undefined
  /** Replicas that were connected, and are not. */
  readonly away: Iterable<AwayReplica>
  /** What a replica has been told of the others, and whether it has. */
  readonly others: { readonly isTold: boolean | undefined; readonly nodes: readonly ClusterNode[] }
  readonly divergedCount: number
}

export function takePicture(context: PictureContext): Picture {
  const { status, wallMs, away, others, divergedCount } = context
  const { identity, isPrimary, primaryName } = status
  const databases = [...status.databases()]
  let [size, transactions] = [0, 0]
  for (const { commit, pageSize, lag } of databases) {
    size += commit * pageSize
    transactions += lag.transactions
  }
  const lagMs = status.lagMs ?? null
  const own: ClusterNode = {
    ...{ id: identity.id, hostname: identity.hostname, role: isPrimary ? "primary" : "replica" },
    ...{ isThis: true, isConnected: true, url: identity.advertiseUrl ?? null },
    ...{ sinceMs: status.startedMs, asOfMs: null, silentMs: null },
    ...{ lagMs, transactions, databases: databases.length },
    ...{ leftOut: [], leftOutCount: databases.filter(({ problem }) => problem).length },
  }
  const replicas = connectedReplicas(status)
  const nodes = isPrimary
    ? [own, ...replicaNodes(replicas, databases, away)]
    : withOthers(own, primaryNode(context), others.nodes)
  return {
    wallMs,
    node: {
      ...{ id: identity.id, hostname: identity.hostname, version: identity.version },
      clusterId: identity.clusterId() ?? null,
      epoch: identity.lease?.() === undefined ? null : Number(identity.lease()?.epoch),
      role: isPrimary ? "primary" : "replica",
      ...{ isReady: status.isReady, isConnected: primaryName !== undefined },
      knowsReplicas: isPrimary || (others.isTold ?? null),
      ...{ startedMs: status.startedMs, mount: identity.fuseDir },
      lagMs: current(lagMs),
      ...{ transactions, databases: databases.length, size },
      findings: findings({ status, lagMs, nodes, databases, divergedCount }),
    },
    nodes: nodes.map((node) => ({ ...node, lagMs: current(node.lagMs) })),
    databases,
    unsent: unsentByOne(replicas, databases),
  }
}

/** More would not be read. */
export function connectedReplicas(status: NodeStatus): ConnectedReplica[] {
  return [...status.replicas()].slice(0, NODE_COUNT_MAX)
}

/** As a primary sees its replicas: those that are connected, then those that were. */
export function replicaNodes(
  connected: readonly ConnectedReplica[],
  databases: readonly DatabaseStatus[],
  away: Iterable<AwayReplica>,
): ClusterNode[] {
  const here = connected.map((replica): ClusterNode => {
    const leftOut = [...replica.leftOut].sort()
    return {
      ...{ ...NO_FACTS, id: replica.id ?? null, hostname: replica.name, role: "replica" },
      ...{ isConnected: true, url: replica.url ?? null, sinceMs: replica.connectedMs },
      silentMs: current(replica.silentMs ?? null),
      transactions: unsentTransactions(replica, databases),
      databases: replica.sent.size,
      ...{ leftOut: leftOut.slice(0, LEFT_OUT_NAMES_MAX), leftOutCount: leftOut.length },
    }
  })
  const gone = [...away].map(
    ({ id, hostname, url, sinceMs }): ClusterNode => ({
      ...{ ...NO_FACTS, id, hostname, url, sinceMs, role: "replica", isConnected: false },
    }),
  )
  return [...byName(here), ...byName(gone)]
}

/** As a replica sees its primary. */
function primaryNode({ status, lastPrimaryName }: PictureContext): ClusterNode {
  const { identity, primaryName } = status
  const known = identity.lease?.()?.primary
  return {
    ...{ ...NO_FACTS, id: known?.id ?? null, role: "primary" },
    hostname: primaryName ?? known?.hostname ?? lastPrimaryName ?? "",
    ...{ isConnected: primaryName !== undefined, url: identity.primaryUrl ?? null },
  }
}

/** A list that is a while old may name a node that has become the primary. */
function withOthers(
  own: ClusterNode,
  primary: ClusterNode,
  others: readonly ClusterNode[],
): ClusterNode[] {
  return [
    primary,
    own,
    ...others.filter(({ id }) => id === null || ![own.id, primary.id].includes(id)),
  ]
}

/** Of the replica furthest behind; null without replicas. */
export function unsentByOne(
  replicas: readonly ConnectedReplica[],
  databases: readonly DatabaseStatus[],
): number | null {
  if (replicas.length === 0) return null
  return Math.max(...replicas.map((replica) => unsentTransactions(replica, databases)))
}

const NO_FACTS = {
  ...{
    isThis: false,
    sinceMs: null,
    silentMs: null,
    asOfMs: null,
    lagMs: null,
    transactions: null,
    databases: null,
  },
  ...{ leftOut: [], leftOutCount: 0 },
}

function byName(nodes: ClusterNode[]): ClusterNode[] {
  return nodes.sort((a, b) => (a.hostname < b.hostname ? -1 : 1))
}

/** Whole seconds, so that what stays the same is not told again and again. */
function current(lagMs: number | null): number | null {
  if (lagMs === null) return null
  return lagMs < CURRENT_MS ? 0 : Math.round(lagMs / 1000) * 1000
}

export interface Rows {
  readonly rows: readonly DatabaseRow[]
  /** Databases that the filter lets through. */
  readonly matchingCount: number
}

/** The databases whose name has the text in it: those with a problem first, then those behind, then by their size. */
export function rowsOf({ databases }: Picture, filter: string): Rows {
  const text = filter.toLowerCase()
  const matching =
    text === "" ? [...databases] : databases.filter(({ name }) => name.toLowerCase().includes(text))
  const first = matching.length > ROW_COUNT_MAX ? foremost(matching) : matching
  first.sort(
    (a, b) => urgency(b) - urgency(a) || sizeOf(b) - sizeOf(a) || (a.name < b.name ? -1 : 1),
  )
  return { rows: first.slice(0, ROW_COUNT_MAX).map(rowOf), matchingCount: matching.length }
}

/** At least ROW_COUNT_MAX of them, the first ones among these: many databases cost no sort of them all. */
function foremost(databases: readonly DatabaseStatus[]): DatabaseStatus[] {
  const places = Float64Array.from(databases, placeOf)
  const last = places.toSorted().at(-ROW_COUNT_MAX) as number
  const above = databases.filter((_, index) => (places[index] as number) > last)
  const level = databases.filter((_, index) => places[index] === last)
  const byName = level.map(({ name }) => name).sort()
  const lastName = byName[ROW_COUNT_MAX - above.length - 1] as string
  return [...above, ...level.filter(({ name }) => name <= lastName)]
}

/** The urgency before the size, which is below 2^49 bytes. */
function placeOf(database: DatabaseStatus): number {
  return urgency(database) * 2 ** 49 + sizeOf(database)
}

/** In steps: rows must not change places all the time. */
function urgency({ condition, lag }: DatabaseStatus): number {
  if (condition === "left-out") return 3
  if (condition === "arriving") return 2
  return lag.ms === undefined || lag.ms > 10_000 || lag.transactions > 1000 ? 1 : 0
}

function sizeOf({ commit, pageSize }: DatabaseStatus): number {
  return commit * pageSize
}

function rowOf(database: DatabaseStatus): DatabaseRow {
  const { name, pos, commit, timestampMs, lag, condition, problem } = database
  return {
    name,
    position: formatPos(pos),
    size: sizeOf(database),
    pages: commit,
    changedMs: timestampMs === 0 ? null : timestampMs,
    lagMs: current(lag.ms ?? null),
    ...{ transactions: lag.transactions, bytes: lag.bytes },
    state: condition,
    problem: problem ?? null,
  }
}
