/** Nodes that only have a role: real lease records and state machines, no databases. Calls between them are direct. */
import { copyFileSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { findPrimary } from "../../src/cluster/role/find-primary.ts"
import type { LeaseRecord } from "../../src/cluster/role/lease.ts"
import { Member, type RoleActions } from "../../src/cluster/role/member.ts"
import type { HandoffTarget } from "../../src/cluster/role/offer.ts"
import type { PeerAnswer } from "../../src/cluster/role/peer-check.ts"
import { StaticLease } from "../../src/cluster/role/static-lease.ts"
import { LitefsError } from "../../src/lib/errors.ts"
import type { RoleOptions } from "../../src/litefs-options.ts"
import type { Pos } from "../../src/ltx/pos.ts"
import { FakeClock } from "./fake-clock.ts"

export class FakeCluster implements Disposable {
  readonly root = mkdtempSync(join(tmpdir(), "litefs-cluster-"))
  readonly nodes = new Map<string, FakeMember>()
  readonly clock = new FakeClock()
  /** Pairs of nodes that cannot reach each other. */
  readonly cut = new Set<string>()

  node(name: string, flags: FakeFlags = {}): FakeMember {
    const node = new FakeMember(this, name, flags)
    this.nodes.set(name, node)
    return node
  }

  /** Both hear what the other knows, as with any call between nodes. */
  call(from: FakeMember, url: string): LeaseRecord | undefined {
    const { lease } = this.ask(from, url)
    if (lease !== undefined) from.member?.hear(lease, true)
    return lease?.record
  }

  isCopy(from: FakeMember, url: string): boolean {
    const { id, run, lease } = this.ask(from, url)
    return id === from.lease.id && run !== from.name && lease?.record.primary.id === id
  }

  /** The one that asks has not heard the answer yet. */
  ask(from: FakeMember, url: string): PeerAnswer {
    const to = [...this.nodes.values()].find((node) => node.url === url)
    const isCut = this.cut.has(`${from.name}${to?.name}`) || this.cut.has(`${to?.name}${from.name}`)
    if (to?.member === undefined || isCut) throw new LitefsError("unavailable", "nobody answers")
    if (from.lease.record !== undefined)
      to.member.hear({ record: from.lease.record, cluster: from.clusterId, seal: from.seal }, false)
    const { id, record } = to.lease
    return {
      ...{ id, run: to.name, clusterId: to.clusterId },
      lease: record && { record, cluster: to.clusterId },
      isPrimaryByFlag: record === undefined && to.flags.primary === true,
    }
  }

  /** Lets everything happen that is due, for some seconds. */
  async settle(): Promise<void> {
    for (let second = 0; second < 3; second++) {
      for (let turn = 0; turn < 50; turn++) await Promise.resolve()
      this.clock.advance(1000)
    }
    for (let turn = 0; turn < 50; turn++) await Promise.resolve()
  }

  get primaries(): string[] {
    return [...this.nodes.values()].filter((node) => node.member?.isPrimary).map(({ name }) => name)
  }

  [Symbol.dispose](): void {
    rmSync(this.root, { recursive: true })
  }
}

const CLUSTER = "LFSC0000000000000001"

export interface FakeFlags {
  readonly primary?: boolean
  readonly primaryUrl?: string
  readonly peers?: readonly string[]
}

export class FakeMember {
  readonly name: string
  readonly url: string
  flags: FakeFlags
  lease!: StaticLease
  member: Member | undefined
  /** What was done, in order: "shut", "drain", "resume", "hand over", "inherit", "fail". */
  readonly done: string[] = []
  actions: Partial<RoleActions> = {}
  positions: ReadonlyMap<string, Pos> = new Map([["a.db", { txid: 5n, checksum: 1n << 63n }]])
  /** Of its records, when it has the key. */
  seal: string | undefined = "sealed"
  /** Undefined in a directory that is new. */
  clusterId: string | undefined
  readonly #cluster: FakeCluster

  constructor(cluster: FakeCluster, name: string, flags: FakeFlags) {
    this.#cluster = cluster
    this.name = name
    this.url = `http://${name}:1`
    this.flags = flags
  }

  async start(flags: FakeFlags = this.flags): Promise<this> {
    this.flags = flags
    const role: RoleOptions = flags.primary
      ? { kind: "primary" }
      : { kind: "replica", primaryUrl: flags.primaryUrl ?? "http://nobody:1" }
    const id = BigInt(this.name.charCodeAt(0))
    this.lease = new StaticLease(this.#path, () => id + BigInt(this.wipes * 256))
    const note = (what: string) => void this.done.push(what)
    const actions: RoleActions = {
      shut: () => note("shut"),
      drain: async () => {
        note("drain")
        return this.positions
      },
      resume: () => note("resume"),
      handOver: async () => note("hand over"),
      inherit: async () => note("inherit"),
      ...this.actions,
    }
    const member = new Member({
      ...{ lease: this.lease, clock: this.#cluster.clock },
      isPrimaryByFlag: flags.primary === true,
      primaryUrl: () => flags.primaryUrl ?? "http://nobody:1",
      self: () => ({ id: this.lease.id, hostname: this.name, url: this.url }),
      clusterId: () => this.clusterId,
      onChange: () => {},
      peers: flags.peers ?? [],
      fail: () => note("fail"),
      tell: async (url) => this.#cluster.call(this, url),
      isCopy: async (url) => this.#cluster.isCopy(this, url),
      ask: async (url) => this.#cluster.ask(this, url),
      isProven: ({ seal }) => seal !== undefined && seal === this.seal,
    })
    await findPrimary({
      recallCluster: () => {},
      ...{ member, lease: this.lease, role, url: this.url, peers: flags.peers ?? [] },
      ...{ clusterId: () => this.clusterId, hasDatabases: () => this.clusterId !== undefined },
      check: {
        copyProblem: ({ id, run }) =>
          id === this.lease.id && run !== this.name ? "a copy" : undefined,
      },
      ask: async (url) => this.#cluster.ask(this, url),
      leadsHere: async (url) => url === this.url,
    })
    this.clusterId ??= CLUSTER
    member.begin(actions)
    this.beforeStart(member)
    member.start()
    this.member = member
    return this
  }

  async stop(): Promise<void> {
    const { member } = this
    this.member = undefined
    await member?.close()
  }

  /** Its data directory is one of the other's. */
  copy(other: FakeMember): void {
    copyFileSync(other.#path, this.#path)
    this.clusterId = other.clusterId
  }

  /** What comes while its threads start. */
  beforeStart: (member: Member) => void = () => {}

  wipes = 0
  /** Its data directory is lost. */
  wipe(): void {
    rmSync(this.#path, { force: true })
    this.clusterId = undefined
    this.wipes += 1
  }

  get #path(): string {
    return join(this.#cluster.root, `${this.name}.json`)
  }

  get target(): HandoffTarget {
    return {
      node: { id: this.lease.id, hostname: this.name, url: this.url },
      offer: () => {},
      gone: new Promise(() => {}),
    }
  }
}
