/** A node that only tells what it is: the routes for that on a real port, over positions that the test makes. */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { DatabaseRemark } from "../../src/cluster/node-status.ts"
import { LagTracker } from "../../src/cluster/replica/lag-tracker.ts"
import { ReplicaProgress } from "../../src/cluster/replica/replica-progress.ts"
import type { LeaseRecord } from "../../src/cluster/role/lease.ts"
import { ApiServer } from "../../src/http/server/server.ts"
import { StatusApi } from "../../src/http/status/status-api.ts"
import type { ReplicaStream } from "../../src/http/streams/replica-stream.ts"
import { StreamTotals } from "../../src/http/streams/stream-counters.ts"
import { Gate } from "../../src/lib/gate.ts"
import type { Pos } from "../../src/ltx/pos.ts"
import { Counters } from "../../src/store/counters.ts"
import { DataDir } from "../../src/store/data-dir.ts"
import { Positions } from "../../src/store/positions.ts"
import { SharedLag } from "../../src/store/shared-lag.ts"
import { FakeClock } from "./fake-clock.ts"

export function posOf(txid: number): Pos {
  return { txid: BigInt(txid), checksum: (1n << 63n) | BigInt(txid) }
}

export class StatusNode implements AsyncDisposable {
  readonly clock = new FakeClock()
  readonly positions = Positions.create()
  readonly counters = Counters.create()
  readonly directory = mkdtempSync(join(tmpdir(), "litefs-status-"))
  readonly dataDir = new DataDir(this.directory)
  /** Resolves when what has come is to be applied. */
  readonly applies = Promise.withResolvers<void>()
  readonly streams = new Set<ReplicaStream>()
  readonly totals = new StreamTotals()
  readonly remarked = new Map<string, DatabaseRemark>()
  /** With a record the node is a candidate. */
  record: LeaseRecord | undefined
  readonly lag: SharedLag
  readonly tracker: LagTracker
  readonly progress: ReplicaProgress | undefined
  readonly api: StatusApi
  readonly #server: ApiServer
  url = ""

  private constructor(role: "primary" | "replica") {
    const isPrimary = role === "primary"
    this.clock.advance(1.7e12)
    this.lag = SharedLag.create(isPrimary)
    const sink = { write: () => {}, applied: () => this.applies.promise, abort: () => {} }
    this.progress = isPrimary
      ? undefined
      : new ReplicaProgress(sink, this.clock, this.lag, {
          hasHistory: () => false,
          isListed: () => true,
        })
    const hasRecord = () => this.record !== undefined
    this.api = new StatusApi({
      ...this,
      remarks: () => this.remarked,
      identity: {
        id: "00000000000000AB",
        hostname: "one",
        version: "9.8.7",
        dataDir: "/data",
        fuseDir: "/litefs",
        advertiseUrl: isPrimary ? "http://one:20202" : undefined,
        primaryUrl: isPrimary ? undefined : "http://zero:20202",
        clusterId: () => "LFSC0000000000000001",
        get isCandidate() {
          return isPrimary || hasRecord()
        },
        lease: () => this.record,
      },
    })
    this.tracker = new LagTracker(this.lag, this.clock, () => this.api.status.changed())
    const options = { headers: {}, authToken: undefined, tls: undefined, clock: this.clock }
    this.#server = new ApiServer(this.api.routes, options)
  }

  static async start(role: "primary" | "replica" = "primary"): Promise<StatusNode> {
    const node = new StatusNode(role)
    const port = await node.#server.listen({ host: "127.0.0.1", port: 0 })
    node.url = `http://127.0.0.1:${port}`
    return node
  }

  get nowMs(): number {
    return this.clock.wallMs()
  }

  /** A transaction of `commit` pages, now, of which everybody hears unless it is part of a bunch. */
  commit(database: string, txid: number, { commit = 2, isLast = true } = {}): void {
    mkdirSync(this.dataDir.ltxDir(database), { recursive: true })
    const state = { pos: posOf(txid), timestampMs: this.nowMs, pageSize: 4096, commit }
    this.positions.write(this.positions.add(database), state, posOf(txid))
    if (isLast) this.api.positionsChanged()
  }

  /** As a primary does every second. Resolves when it counts. */
  async heartbeat(): Promise<void> {
    const changed = new Gate()
    const unsubscribe = this.api.status.onChange(() => changed.open())
    const waiting = changed.wait()
    this.tracker.heartbeat(this.nowMs, Promise.resolve())
    await waiting
    unsubscribe()
  }

  get(path: string, init: RequestInit = {}): Promise<Response> {
    return fetch(this.url + path, init)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.close()
    rmSync(this.directory, { recursive: true })
  }
}
