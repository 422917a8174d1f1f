/**
 * `GET /metrics`: the first part has the original's metrics, with their names and meanings, the second part ours.
 * Everything is read on demand; hot paths count in shared memory (store/counters.ts).
 *
 * Differences from the original: `litefs_http_frame_send_count` counts (there it stays 0), `litefs_db_ltx_reap_count`
 * is the counter that it is, and an unknown lag is not 0.
 */
import type { ServerResponse } from "node:http"
import type {
  ConnectedReplica,
  DatabaseStatus,
  Lag,
  NodeStatus,
} from "../../cluster/node-status.ts"
import type { ReplicaProgress } from "../../cluster/replica/replica-progress.ts"
import { Opcode } from "../../fuse/opcodes.ts"
import {
  formatMetrics,
  type Labels,
  METRICS_CONTENT_TYPE,
  type MetricFamily,
  type Sample,
  single,
} from "../../lib/metrics.ts"
import type { Turns } from "../../lib/turns.ts"
import { Column, type Counters } from "../../store/counters.ts"
import type { Positions } from "../../store/positions.ts"
import { checkRouteQuery } from "../server/routes.ts"
import type { StreamTotals } from "../streams/stream-counters.ts"
import type { LtxUsage } from "./ltx-usage.ts"
import { processMetrics } from "./process-metrics.ts"
import type { SharedAnswer } from "./shared-answer.ts"

export interface MetricsContext {
  readonly status: NodeStatus
  readonly positions: Positions
  readonly counters: Counters
  readonly streams: StreamTotals
  /** On a replica. */
  readonly progress: ReplicaProgress | undefined
  /** LTX files that were removed since the start, by database. */
  readonly reaped: ReadonlyMap<string, number>
  readonly ltx: LtxUsage
  readonly eventListenerCount: () => number
  /** The number of histories that were kept when another replaced them. */
  readonly divergedCount: () => number
  /** Makes other threads measure their heaps, for the next time. */
  readonly measure: () => void
  readonly others?: () => Iterable<MetricFamily>
}

export async function handleMetrics(
  shared: SharedAnswer,
  response: ServerResponse,
  url: URL,
): Promise<void> {
  checkRouteQuery(url, "GET /metrics")
  const body = await shared.get()
  response.writeHead(200, {
    "Content-Type": METRICS_CONTENT_TYPE,
    "Content-Length": body.length,
  })
  response.end(body)
}

export async function metricsText(context: MetricsContext, turns: Turns): Promise<string> {
  const databases: LabelledDatabase[] = []
  for (const database of context.status.databases()) {
    databases.push({ ...database, labels: { db: database.name } })
    if (turns.isOver) await turns.next()
  }
  await context.ltx.learn(databases.map(({ name }) => name))
  const families = [...metricFamilies(context, databases)]
  const text = await formatMetrics(families, turns)
  context.measure()
  return text
}

/** Its labels are made once for all families. */
interface LabelledDatabase extends DatabaseStatus {
  readonly labels: Labels
}

/** All families; those of parts that this node does not have are missing. */
export function* metricFamilies(
  context: MetricsContext,
  databases: readonly LabelledDatabase[],
): Generator<MetricFamily> {
  yield* nodeMetrics(context)
  yield* databaseMetrics(context, databases)
  yield* streamMetrics(context, databases)
  yield* replicaMetrics(context)
  yield* mountMetrics(context)
  yield* context.others?.() ?? []
  yield* processMetrics(context.status, context.counters)
}

function* nodeMetrics({ status, positions, divergedCount }: MetricsContext) {
  const { lag } = status
  yield single("gauge", "litefs_db_count", "Number of managed databases.", () => positions.count)
  yield single("gauge", "litefs_is_primary", "Primary status of the node.", () =>
    status.isPrimary && status.identity.leaseStore?.()?.isHeld !== false ? 1 : 0,
  )
  yield single(
    "gauge",
    "litefs_lag_seconds",
    "Lag behind the primary node, in seconds; +Inf until the node has been in sync once.",
    () => secondsOf(lag),
  )
  yield single("gauge", "litefs_is_ready", "Whether the node has been in sync once.", () =>
    status.isReady ? 1 : 0,
  )
  yield single(
    "gauge",
    "litefs_is_connected",
    "Whether the node knows and reaches a primary.",
    () => (status.primaryName === undefined ? 0 : 1),
  )
  const capture = status.identity.capture?.()
  if (capture !== undefined) {
    yield single(
      "gauge",
      "litefs_capture_behind",
      "Whether writers of a WAL pass LiteFS while the node is the primary.",
      () => (capture.mode === "behind" ? 1 : 0),
    )
  }
  const lease = status.identity.leaseStore?.()
  if (lease !== undefined) {
    const { type, holder } = lease
    yield single("gauge", "litefs_lease_held", "Whether this node holds the lease.", () =>
      lease.isHeld ? 1 : 0,
    )
    yield single(
      "gauge",
      "litefs_lease_left_seconds",
      "For how long this node may commit before it has to renew its lease; 0 when it may not.",
      () => lease.leftMs / 1000,
    )
    yield {
      name: "litefs_lease_epoch",
      type: "gauge",
      help: "Epoch of the lease's holder, as the store was seen last.",
      samples: () =>
        holder === undefined
          ? []
          : [{ labels: { type, holder: holder.primary.hostname }, value: holder.epoch }],
    } satisfies MetricFamily
  }
  yield single("gauge", "litefs_diverged_count", "Histories kept aside under diverged/.", () =>
    divergedCount(),
  )
}

function* databaseMetrics(context: MetricsContext, databases: readonly LabelledDatabase[]) {
  const { status, positions, counters, reaped, ltx, progress } = context
  const gauge = (name: string, help: string, value: DatabaseValue) =>
    perDatabase("gauge", name, help, databases, value)
  const counter = (name: string, help: string, column: Column, scale = 1) =>
    perDatabase("counter", name, help, databases, ({ name: database }) => {
      const slot = positions.find(database)
      return slot === undefined ? undefined : counters.read(slot, column) * scale
    })
  yield gauge("litefs_db_txid", "Current transaction ID.", ({ pos }) => Number(pos.txid))
  yield counter(
    "litefs_db_database_write_count",
    "Number of writes to the database file.",
    Column.DATABASE_WRITES,
  )
  yield counter(
    "litefs_db_journal_write_count",
    "Number of writes to the journal file.",
    Column.JOURNAL_WRITES,
  )
  yield counter("litefs_db_wal_write_count", "Number of writes to the WAL file.", Column.WAL_WRITES)
  yield counter(
    "litefs_db_shm_write_count",
    "Number of writes to the shared memory file.",
    Column.SHM_WRITES,
  )
  yield counter("litefs_db_commit_count", "Number of database commits.", Column.COMMITS)
  yield perDatabase(
    "counter",
    "litefs_db_ltx_reap_count",
    "Number of LTX files removed by retention.",
    databases,
    ({ name }) => reaped.get(name) ?? 0,
  )
  const usage = (name: string, help: string, key: "count" | "size") =>
    perDatabase("gauge", name, help, databases, ({ name: database }) => ltx.of(database)?.[key])
  yield usage("litefs_db_ltx_count", "Number of LTX files on disk.", "count")
  yield usage("litefs_db_ltx_bytes", "Number of bytes used by LTX files on disk.", "size")
  yield gauge(
    "litefs_db_lag_seconds",
    "Latency between generating an LTX file and consuming it.",
    ({ name }) => (progress?.of(name)?.latencyMs ?? 0) / 1000,
  )
  yield gauge(
    "litefs_db_age_seconds",
    "Time since the database is known to have been up to date; +Inf if it never was.",
    ({ lag }) => secondsOf(lag),
  )
  yield gauge(
    "litefs_db_lag_transactions",
    "Transactions that are known to be missing.",
    ({ lag }) => lag.transactions,
  )
  yield gauge(
    "litefs_db_arriving",
    "Whether the primary has the database and nothing of it is here yet.",
    ({ condition }) => (condition === "arriving" ? 1 : 0),
  )
  yield gauge(
    "litefs_db_left_out",
    "Whether the database cannot be sent, or not be applied here, and the others go on.",
    ({ condition }) => (condition === "left-out" ? 1 : 0),
  )
  yield gauge("litefs_db_lag_bytes", "Bytes received and not applied.", ({ lag }) => lag.bytes)
  yield gauge("litefs_db_size_bytes", "Size of the database.", ({ commit, pageSize }) => {
    return commit * pageSize
  })
  yield counter(
    "litefs_db_commit_bytes_total",
    "Bytes of the LTX files of local commits.",
    Column.LTX_BYTES,
  )
  yield {
    name: "litefs_commit_seconds",
    type: "histogram",
    help: "Time a local commit took to become durable.",
    samples: () => (status.isPrimary ? counters.commitTime.samples() : []),
  } satisfies MetricFamily
}

function* streamMetrics(
  { status, streams, eventListenerCount }: MetricsContext,
  databases: readonly DatabaseStatus[],
) {
  const replicas = [...status.replicas()]
  yield single(
    "gauge",
    "litefs_http_stream_count",
    "Number of streams currently connected.",
    () => {
      return replicas.length
    },
  )
  yield single("gauge", "litefs_subscriber_count", "Number of connected subscribers", () => {
    return replicas.length + eventListenerCount()
  })
  yield {
    name: "litefs_http_frame_send_count",
    type: "counter",
    help: "Number of frames sent.",
    samples: () => streams.frameSamples(),
  } satisfies MetricFamily
  yield single("counter", "litefs_stream_sent_bytes_total", "Bytes sent to replicas.", () => {
    return status.isPrimary ? streams.size : undefined
  })
  yield {
    name: "litefs_replica_lag_transactions",
    type: "gauge",
    help: "Transactions that a connected replica has not been sent.",
    samples: () => replicaLags(replicas, databases),
  } satisfies MetricFamily
}

/** Replicas of one name count as one, by the one furthest behind: a series may appear only once. */
function* replicaLags(
  replicas: readonly ConnectedReplica[],
  databases: readonly DatabaseStatus[],
): Generator<Sample> {
  for (const replica of new Set(replicas.map(({ name }) => name))) {
    const namesakes = replicas.filter(({ name }) => name === replica)
    for (const { name: db, stored } of databases) {
      const missing = namesakes
        .filter((each) => each.isWanted(db))
        .map(({ sent }) => Number(stored.txid - (sent.get(db)?.txid ?? 0n)))
      if (missing.length === 0) continue
      yield { labels: { replica, db }, value: Math.max(0, ...missing) }
    }
  }
}

function* replicaMetrics({ progress }: MetricsContext) {
  if (progress === undefined) return
  const received = [...progress.received]
  const counter = (
    name: string,
    help: string,
    key: "transactions" | "bytes" | "snapshots" | "replacements" | "refusals",
  ): MetricFamily => {
    const samples = () => received.map(([db, counts]) => ({ labels: { db }, value: counts[key] }))
    return { name, type: "counter", help, samples }
  }
  yield counter("litefs_db_apply_count", "LTX files applied.", "transactions")
  yield counter("litefs_db_received_bytes_total", "Bytes of LTX files received.", "bytes")
  yield counter("litefs_db_snapshot_receive_count", "Snapshots received.", "snapshots")
  yield counter(
    "litefs_db_replacement_count",
    "Snapshots that took the place of another history.",
    "replacements",
  )
  yield counter("litefs_db_refusal_count", "LTX files that could not be applied.", "refusals")
  yield {
    name: "litefs_apply_seconds",
    type: "histogram",
    help: "Time from the arrival of an LTX file to its being visible to clients.",
    samples: () => progress.applyTime.samples(),
  } satisfies MetricFamily
}

function* mountMetrics({ counters }: MetricsContext) {
  const names = new Map<number, string>(
    Object.entries(Opcode).map(([name, code]) => [code, name.toLowerCase()]),
  )
  yield {
    name: "litefs_fuse_request_count",
    type: "counter",
    help: "Requests of the kernel.",
    *samples(): Generator<Sample> {
      for (const [code, value] of counters.requests.entries()) {
        if (value > 0) yield { labels: { op: names.get(code) ?? String(code) }, value }
      }
    },
  } satisfies MetricFamily
}

/** An unknown lag counts as infinite: an alert that compares would stay silent without a number. */
function secondsOf({ ms = Number.POSITIVE_INFINITY }: Lag): number {
  return ms / 1000
}

/** Undefined: there is no value for this one. */
type DatabaseValue = (database: DatabaseStatus) => number | undefined

function perDatabase(
  type: "counter" | "gauge",
  name: string,
  help: string,
  databases: readonly LabelledDatabase[],
  value: DatabaseValue,
): MetricFamily {
  function* samples(): Generator<Sample> {
    for (const database of databases) {
      const number = value(database)
      if (number !== undefined) yield { labels: database.labels, value: number }
    }
  }
  return { name, type, help, samples }
}
