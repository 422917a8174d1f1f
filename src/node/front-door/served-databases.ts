/**
 * What others get of the databases of this node, and give for them: streams to replicas, exports, imports.
 *
 * The peer thread reads whole databases, and the thread that has them keeps them frozen meanwhile. http/ has the
 * protocol.
 */
import type { Halting } from "../../cluster/locks/halting.ts"
import { CLUSTER_KEY_HEADER } from "../../cluster/role/cluster-key.ts"
import type { Member } from "../../cluster/role/member.ts"
import type { SyncReplicas } from "../../cluster/sync-replicas.ts"
import { RequestLog, senderOf } from "../../http/server/request-log.ts"
import type { ApiRoutes } from "../../http/server/routes.ts"
import { AcknowledgedStreams } from "../../http/streams/acknowledge.ts"
import type { StreamCounters } from "../../http/streams/database-sender.ts"
import { existingSnapshots, limited, snapshotsOf } from "../../http/streams/database-snapshots.ts"
import { LeftOutDatabases } from "../../http/streams/left-out-databases.ts"
import type { PastTransactions } from "../../http/streams/past-transactions.ts"
import { neededTxid, type ReplicaStream } from "../../http/streams/replica-stream.ts"
import { ParkedSnapshots } from "../../http/streams/resumable-snapshot.ts"
import { SnapshotPlaces } from "../../http/streams/snapshot-places.ts"
import type { SnapshotSource } from "../../http/streams/snapshot-source.ts"
import { handleStream, STALL_MS_MAX, type StreamContext } from "../../http/streams/stream.ts"
import { STALL_MS_MAX as EXPORT_STALL_MS_MAX, handleExport } from "../../http/transfers/export.ts"
import { handleImport, type ImportContext } from "../../http/transfers/import.ts"
import type { Clock } from "../../lib/clock.ts"
import { LitefsError } from "../../lib/errors.ts"
import type { Txid } from "../../ltx/pos.ts"
import { checkImport } from "../../peer/serve/check-worker.ts"
import type { DataDir } from "../../store/data-dir.ts"
import { ADVERTISE_URL_HEADER } from "../../wire/protocol.ts"
import type { OtherNodes } from "../membership/other-nodes.ts"
import type { ThisNode } from "../membership/this-node.ts"
import type { Databases } from "../storage/databases.ts"
import type { Threads } from "../storage/threads.ts"

/** How long a replica's request for a stream waits for this node to become the primary. */
const SETTLE_MS_MAX = 3000

/** Snapshots that are sent to replicas at a time. Another waits in line, or takes the place of one that is not read. */
const SNAPSHOT_COUNT_MAX = 32

/** Bytes per second for checking whether unreadable databases are readable again. */
const CHECK_RATE = 64 * 1024 * 1024

export interface ServedDatabasesContext {
  readonly databases: Databases
  readonly dataDir: DataDir
  readonly clock: Clock
  /** Of which replicas get what they lack; undefined: what is in the data directory. */
  readonly past?: PastTransactions
  readonly threads: Pick<Threads, "fs" | "peer" | "recovered" | "mounted">
  readonly halting: Halting
  readonly member: Member
  readonly others: OtherNodes
  readonly streams: Set<ReplicaStream>
  readonly node: Pick<ThisNode, "clusterId" | "clusterKey" | "url">
  readonly sync: SyncReplicas
  readonly counters: StreamCounters
  /** Bytes per second, for replicas; undefined: no limit. */
  readonly snapshotRate: number | undefined
  /** That this node is connected to, on a replica. */
  primaryName(): string | undefined
  /** A thread of peer/serve/check-thread.ts. */
  newCheckWorker(): Worker
}

export class ServedDatabases {
  /** Databases as files of their pages. */
  readonly raw: SnapshotSource
  readonly #context: ServedDatabasesContext
  readonly #parked: ParkedSnapshots
  readonly #stream: StreamContext
  readonly #acknowledged: AcknowledgedStreams
  /** The databases that cannot be sent to replicas. */
  readonly leftOut: LeftOutDatabases

  constructor(context: ServedDatabasesContext) {
    const { databases, dataDir, clock, past, threads, halting, streams, counters } = context
    const { peer } = threads
    this.#context = context
    this.#parked = new ParkedSnapshots(clock)
    this.raw = snapshotsOf(halting, peer, "raw")
    this.leftOut = new LeftOutDatabases({
      clock,
      refused: databases.refused,
      refusalCount: () => databases.refusalCount,
      check: (database) => readWhole(limited(this.raw, CHECK_RATE, clock), database),
      onChange: () => databases.announceChange(),
    })
    this.#acknowledged = new AcknowledgedStreams(context.sync, clock)
    this.#stream = {
      acknowledged: this.#acknowledged,
      cutLog: new RequestLog("stream", clock),
      leftOut: this.leftOut,
      positions: databases.positions,
      recent: databases.recent,
      ...{ dataDir, clock, ...(past && { past }) },
      stallMs: STALL_MS_MAX,
      parked: this.#parked,
      snapshotPlaces: new SnapshotPlaces(SNAPSHOT_COUNT_MAX, clock),
      snapshots: limited(snapshotsOf(halting, peer, "ltx"), context.snapshotRate, clock),
      counters,
      streams,
      onChange: (listener: () => void) => databases.subscribe(listener),
    }
  }

  get routes(): ApiRoutes {
    const { databases, dataDir, clock, threads, member, others, streams, node } = this.#context
    const exports = {
      stallMs: EXPORT_STALL_MS_MAX,
      clock,
      files: existingSnapshots(this.raw, dataDir, databases.positions, threads.mounted),
    }
    const imports = this.#imports()
    return {
      "/stream": {
        POST: async (request, response) => {
          // Before that there seem to be no databases, and the replica would get all of them anew.
          await threads.recovered
          if (!member.isPrimary) await member.settled(SETTLE_MS_MAX)
          if (!member.isPrimary) throw new LitefsError("no-primary", "lease expired")
          node.clusterId.checkKnown("replicate")
          others.check.checkFollower(request.headers, streams, senderOf(request).from)
          const key = node.clusterKey.value
          // The original has no use for it.
          if (key !== undefined && request.headers[ADVERTISE_URL_HEADER] !== undefined)
            response.setHeader(CLUSTER_KEY_HEADER, key)
          response.setHeader(ADVERTISE_URL_HEADER, node.url)
          return handleStream(this.#stream, request, response)
        },
      },
      "/acknowledge": {
        POST: (request, response, url) => this.#acknowledged.handle(request, response, url),
      },
      "/export": {
        GET: (request, response, url) => handleExport(exports, request, response, url),
      },
      "/import": {
        POST: (request, response, url) => handleImport(imports, request, response, url),
      },
    }
  }

  #imports(): ImportContext {
    const { dataDir, clock, threads, halting, member, others, sync } = this.#context
    const { primaryName, newCheckWorker } = this.#context
    const imports = {
      ...{ dataDir, clock },
      checkWritable: (name: string) => {
        if (member.isPrimary) return
        const [primary = "the primary", url] = [primaryName(), others.urls.known]
        const there = url === undefined ? "there" : `there (--url ${url})`
        const advice = `which is ${primary}, import it ${there} or make this node the primary (litefs promote)`
        const problem = `this node is not the primary, ${advice}`
        throw new LitefsError("no-primary", `Cannot import "${name}": ${problem}`)
      },
      prepare: (database: string, file: number, isThorough: boolean) => {
        const request = { dataDir: dataDir.root, database, file, isThorough }
        return checkImport(newCheckWorker(), request)
      },
      replace: async (name: string, file: number) => {
        await threads.mounted
        imports.checkWritable(name)
        const pos = await halting.whileNotLent(name, async () => {
          await sync.allowed(name)
          return threads.peer.call("import", name, file)
        })
        this.leftOut.retry(name)
        if (pos !== undefined) await sync.acknowledged(name)
        return pos
      },
    }
    return imports
  }

  /** The first transaction of a database that a replica lacks; undefined when none lacks any. */
  neededTxid(database: string): Txid | undefined {
    return neededTxid(this.#context.streams, database)
  }

  close(): void {
    this.leftOut.close()
    this.#parked.close()
  }
}

/** Throws when its pages are wrong. */
async function readWhole(source: SnapshotSource, database: string): Promise<void> {
  const snapshot = await source.snapshot(database)
  if (snapshot === undefined) return
  for await (const _ of snapshot.parts) {
    // The pages go nowhere.
  }
}
