/** A node that has nothing but a lease in a store: its records, positions, and what it was told. */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { ElectedLease } from "../../src/cluster/role/elected-lease.ts"
import { StaticLease } from "../../src/cluster/role/static-lease.ts"
import type { LeaseStore } from "../../src/cluster/stores/lease-store.ts"
import { type Clock, systemClock } from "../../src/lib/clock.ts"
import type { Pos } from "../../src/ltx/pos.ts"
import { bootMs } from "../../src/sys/process/boot-clock.ts"

export interface ElectedNodeOptions {
  readonly name: string
  readonly store: LeaseStore
  readonly clock?: Clock
  readonly bootMs?: () => number
  readonly isCandidate?: boolean
  readonly cluster?: string
  /** TXIDs by database. */
  readonly positions?: Readonly<Record<string, number>>
}

export class ElectedNode implements AsyncDisposable {
  readonly name: string
  readonly records: StaticLease
  readonly lease: ElectedLease
  readonly problems: string[] = []
  /** The epochs in which it was told that it holds the lease. */
  readonly held: number[] = []
  positions: Map<string, Pos>
  clusterId: string | undefined
  commitUntilMs = Number.POSITIVE_INFINITY
  isLeaving = false
  keepFails = false
  readonly #directory = mkdtempSync(join(tmpdir(), "litefs-elected-"))

  constructor(options: ElectedNodeOptions) {
    const { name, store, clock = systemClock, isCandidate = true, positions = {} } = options
    this.name = name
    this.clusterId = options.cluster
    this.positions = positionsOf(positions)
    this.records = new StaticLease(join(this.#directory, "lease.json"), () =>
      BigInt(name.charCodeAt(0)),
    )
    this.lease = new ElectedLease({
      ...{ store, clock, isCandidate, records: this.records },
      bootMs: options.bootMs ?? bootMs,
      self: () => this.self,
      isLeaving: () => this.isLeaving,
      ineligibility: () =>
        this.clusterId === undefined ? "it has followed no primary" : undefined,
      isNew: () => this.clusterId === undefined,
      clusterId: () => this.clusterId,
      makeClusterId: () => `LFSC000000000000000${name.charCodeAt(0) % 10}`,
      positions: () => this.positions,
      livePositions: () => this.positions,
      commitUntil: (ms) => {
        this.commitUntilMs = ms
      },
      heard: ({ record, cluster }) => {
        this.clusterId ??= cluster
        this.records.keep(record)
      },
      keep: (record, cluster) => {
        if (this.keepFails) throw new Error("the disk is full")
        this.clusterId ??= cluster
        this.records.keep(record)
        this.records.setHistoryEpoch(record.epoch)
      },
      held: () => void this.held.push(this.records.record?.epoch ?? 0),
      problem: (text) => {
        if (text !== undefined && text !== this.problems.at(-1)) this.problems.push(text)
      },
    })
  }

  get self() {
    return { id: this.records.id, hostname: this.name, url: `http://${this.name}:1` }
  }

  get epoch(): number | undefined {
    return this.records.record?.epoch
  }

  /** Whether a commit would be taken now. */
  get mayCommit(): boolean {
    return this.records.record?.primary.id === this.records.id && this.lease.isHeld
  }

  start(): this {
    this.lease.start()
    return this
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.lease.close()
    rmSync(this.#directory, { recursive: true, force: true })
  }
}

export function positionsOf(txids: Readonly<Record<string, number>>): Map<string, Pos> {
  const pos = (txid: number) => ({ txid: BigInt(txid), checksum: (1n << 63n) | BigInt(txid) })
  return new Map(Object.entries(txids).map(([name, txid]) => [name, pos(txid)]))
}
