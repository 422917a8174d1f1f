/** What a node tells of itself: its routes, and the parts that must hear when something changes. */
import { readdirSync } from "node:fs"
import { type DatabaseRemark, type NodeIdentity, NodeStatus } from "../../cluster/node-status.ts"
import type { ReplicaProgress } from "../../cluster/replica/replica-progress.ts"
import type { SyncReplicas } from "../../cluster/sync-replicas.ts"
import type { Clock } from "../../lib/clock.ts"
import type { MetricFamily } from "../../lib/metrics.ts"
import type { Pos } from "../../ltx/pos.ts"
import { Column, type Counters } from "../../store/counters.ts"
import type { DataDir } from "../../store/data-dir.ts"
import { readJournalMode } from "../../store/journal-mode.ts"
import { LtxDirectory } from "../../store/ltx/ltx-directory.ts"
import { readLtxTransaction } from "../../store/ltx/ltx-transaction.ts"
import type { Positions } from "../../store/positions.ts"
import type { SharedLag } from "../../store/shared-lag.ts"
import type { ApiRoutes } from "../server/routes.ts"
import type { Handler } from "../server/server.ts"
import type { ReplicaStream } from "../streams/replica-stream.ts"
import type { StreamTotals } from "../streams/stream-counters.ts"
import { EventFeed } from "./events.ts"
import { handleHealth } from "./health.ts"
import { handleInfo, infoText } from "./info.ts"
import { LtxUsage, type Usage } from "./ltx-usage.ts"
import { handleMetrics, metricsText } from "./metrics.ts"
import { SharedAnswer } from "./shared-answer.ts"

export interface StatusApiContext {
  readonly identity: NodeIdentity
  readonly dataDir: DataDir
  readonly positions: Positions
  readonly lag: SharedLag
  readonly counters: Counters
  readonly clock: Clock
  readonly streams: ReadonlySet<ReplicaStream>
  readonly totals: StreamTotals
  readonly sync?: SyncReplicas
  /** Up to where a database of a replica is durable, if anybody has asked for it. */
  durable?(database: string): Pos | undefined
  /** Remarks about single databases. */
  remarks?(): ReadonlyMap<string, DatabaseRemark>
  /** On a node that is or was a replica. */
  readonly progress: ReplicaProgress | undefined
  /** Makes the other threads measure themselves, for the next time. */
  readonly measure?: () => void
  /** Resolves when the positions have what clients have committed; without it they always have. */
  readonly captured?: (() => Promise<void>) | undefined
  /** The problem that keeps the node from its work. */
  readonly problem?: () => string | undefined
}

export class StatusApi {
  readonly status: NodeStatus
  readonly #context: StatusApiContext
  readonly #events: EventFeed
  readonly ltx: LtxUsage
  readonly #reaped = new Map<string, number>()
  #others: () => Iterable<MetricFamily> = () => []

  constructor(context: StatusApiContext) {
    const { identity, dataDir, positions, streams } = context
    this.#context = context
    this.status = new NodeStatus(identity, {
      ...context,
      replicas: () =>
        [...streams].flatMap((stream) => {
          const { replica, sent, leftOut, silentMs } = stream
          const isWanted = (database: string) => stream.isWanted(database)
          return replica === undefined ? [] : [{ ...replica, sent, isWanted, leftOut, silentMs }]
        }),
      missing: (database, txid) => context.progress?.missing(database, txid) ?? NOTHING,
    })
    this.ltx = new LtxUsage({
      made: (database) => this.#made(database),
      directory: (database) => dataDir.ltxDir(database),
    })
    this.#events = new EventFeed({
      positions,
      leadership: () => {
        const { isPrimary, primaryName } = this.status
        return { isPrimary, hostname: isPrimary ? undefined : primaryName }
      },
      readTransaction: (database, txid) => {
        return readLtxTransaction(new LtxDirectory(dataDir.ltxDir(database)).filePath(txid, txid))
      },
    })
  }

  get routes(): ApiRoutes {
    const { status } = this
    const context = this.#context
    const { dataDir, positions, counters, clock } = context
    const info = {
      status,
      journalMode: (name: string) => readJournalMode(dataDir.path(name, "database")),
      divergedCount: () => this.divergedCount,
    }
    const metrics = {
      status,
      positions,
      counters,
      get progress() {
        return context.progress
      },
      streams: context.totals,
      reaped: this.#reaped,
      ltx: this.ltx,
      eventListenerCount: () => this.#events.listenerCount,
      divergedCount: () => this.divergedCount,
      measure: () => this.#context.measure?.(),
      others: () => [...(context.sync?.families() ?? []), ...this.#others()],
    }
    const infos = new SharedAnswer(clock, async (turns) => {
      await context.captured?.()
      return infoText(info, turns)
    })
    const allMetrics = new SharedAnswer(clock, (turns) => metricsText(metrics, turns))
    return {
      "/info": readable((_, response, url) => handleInfo(infos, response, url)),
      "/metrics": readable((_, response, url) => handleMetrics(allMetrics, response, url)),
      "/health": readable(async (_, response, url) => {
        await context.captured?.()
        return handleHealth({ status, clock }, response, url)
      }),
      "/events": {
        GET: (request, response, url) => this.#events.handle(request, response, url),
      },
    }
  }

  /** The number of histories that were kept when another replaced them. */
  get divergedCount(): number {
    return countEntries(this.#context.dataDir.divergedDir(""))
  }

  /** Adds the metrics of a part above this one: the proxy. */
  tellAlso(others: () => Iterable<MetricFamily>): void {
    this.#others = others
  }

  positionsChanged(): void {
    this.#events.positionsChanged()
    this.status.changed()
  }

  /** This node is the primary now, or no longer is. */
  roleChanged(): void {
    this.status.changed()
    this.#events.primaryChanged()
  }

  /** On a replica: the primary that it is connected to; undefined when it is not connected. */
  setPrimaryName(name: string | undefined): void {
    if (name === this.status.primaryName) return
    this.status.setPrimaryName(name)
    this.#events.primaryChanged()
  }

  /** The LTX files made since the start. */
  #made(database: string): Usage {
    const { positions, counters, progress } = this.#context
    const slot = positions.find(database)
    const received = progress?.of(database)
    if (slot === undefined) return { count: 0, size: 0 }
    return {
      count: counters.read(slot, Column.COMMITS) + (received?.transactions ?? 0),
      size: counters.read(slot, Column.LTX_BYTES) + (received?.bytes ?? 0),
    }
  }

  countReaped(database: string, count: number): void {
    this.#reaped.set(database, (this.#reaped.get(database) ?? 0) + count)
  }
}

/** Load balancers may ask with HEAD, of whose answer the library leaves out the body. */
function readable(handler: Handler): { GET: Handler; HEAD: Handler } {
  return { GET: handler, HEAD: handler }
}

const NOTHING = { transactions: 0, bytes: 0 }

function countEntries(directory: string): number {
  try {
    return readdirSync(directory).length
  } catch {
    return 0 // it is made on demand
  }
}
