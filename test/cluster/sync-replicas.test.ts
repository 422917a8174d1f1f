import { describe, expect, test } from "bun:test"
import {
  type JoinedReplica,
  SyncReplicas,
  type SyncReplicasContext,
} from "../../src/cluster/sync-replicas.ts"
import type { SyncOptions } from "../../src/litefs-options.ts"
import type { Pos } from "../../src/ltx/pos.ts"
import { FakeClock } from "../support/fake-clock.ts"
import { LogLines } from "../support/log-lines.ts"

const at = (txid: number, checksum = txid + 100): Pos => ({
  txid: BigInt(txid),
  checksum: BigInt(checksum),
})

const TIMEOUT_MS = 5000
/** The timer that watches for silent replicas, as long as there are any. */
const WATCH = 1

class Cluster {
  readonly clock = new FakeClock()
  readonly sync: SyncReplicas
  readonly positions = new Map<string, Pos>([["a.db", at(1)]])
  generation = 0
  /** The lease of this node. */
  isHeld = true

  constructor(options: Partial<SyncOptions> = {}, isPrimary = true) {
    const context: SyncReplicasContext = {
      options: { replicas: 1, mode: "strict", timeoutMs: TIMEOUT_MS, ...options },
      clock: this.clock,
      position: (database) => this.positions.get(database),
      isHeld: () => this.isHeld,
      changed: () => {
        this.generation += 1
      },
      onStatus() {},
    }
    this.sync = new SyncReplicas(context)
    if (isPrimary) this.sync.begin()
  }

  replica(id = "A", databases?: readonly string[]) {
    const isWanted = (name: string) => databases === undefined || databases.includes(name)
    return this.sync.join({ id, name: `node-${id}`, isWanted })
  }

  commit(txid: number, database = "a.db") {
    this.positions.set(database, at(txid))
    return outcomeOf(this.sync.after(database, at(txid)))
  }

  /** Time passes, in which the replicas say that they are there. */
  pass(durationMs: number, ...replicas: JoinedReplica[]): void {
    for (let ms = 0; ms < durationMs; ms += 500) {
      this.clock.advance(500)
      for (const replica of replicas) replica.alive()
    }
  }

  get state() {
    return this.sync.status.state
  }
}

/** What the promise has come to by now. */
function outcomeOf<T>(promise: Promise<T>): { now(): Promise<T | "waits"> } {
  let outcome: T | "waits" = "waits"
  void promise.then((value) => {
    outcome = value
  })
  return {
    async now() {
      for (let turn = 0; turn < 5; turn++) await Promise.resolve()
      return outcome
    },
  }
}

describe("SyncReplicas in strict mode", () => {
  test("after() waits until the replica has the position", async () => {
    const cluster = new Cluster()
    const replica = cluster.replica()
    const commit = cluster.commit(2)
    replica.acknowledge("a.db", at(1))
    expect(await commit.now()).toBe("waits")
    replica.acknowledge("a.db", at(2))
    expect(await commit.now()).toBeUndefined()
  })

  test("after() waits without a limit, and the status says so", async () => {
    const cluster = new Cluster()
    const replica = cluster.replica()
    const commit = cluster.commit(2)
    expect(cluster.state).toBe("synchronous")
    cluster.pass(3_600_000, replica)
    expect(await commit.now()).toBe("waits")
    expect(cluster.sync.status).toMatchObject({
      ...{ state: "waiting", acknowledging: 1, replicas: 1 },
      reason: "waiting for 1 replica: have 1, but not all of them acknowledge in time",
    })
    replica.acknowledge("a.db", at(2))
    expect(await commit.now()).toBeUndefined()
    expect(cluster.state).toBe("synchronous")
  })

  test("after() counts a node once, however many streams it has", async () => {
    const cluster = new Cluster({ replicas: 2 })
    const [one, again, other] = [cluster.replica("A"), cluster.replica("A"), cluster.replica("B")]
    const commit = cluster.commit(2)
    one.acknowledge("a.db", at(2))
    again.acknowledge("a.db", at(2))
    expect(await commit.now()).toBe("waits")
    other.acknowledge("a.db", at(2))
    expect(await commit.now()).toBeUndefined()
  })

  test("after() does not count another history", async () => {
    const cluster = new Cluster()
    const replica = cluster.replica()
    const commit = cluster.commit(2)
    replica.acknowledge("a.db", at(2, 7)) // another transaction 2
    replica.acknowledge("a.db", at(9, 7)) // nobody knows of what
    expect(await commit.now()).toBe("waits")
  })

  test("after() counts a later position of ours", async () => {
    const cluster = new Cluster()
    const replica = cluster.replica()
    const [second, third] = [cluster.commit(2), cluster.commit(3)]
    const fourth = cluster.commit(4)
    replica.acknowledge("a.db", at(3))
    expect([await second.now(), await third.now()]).toEqual([undefined, undefined])
    expect(await fourth.now()).toBe("waits")
  })

  test("after() does not count who has left, nor what it says then", async () => {
    const cluster = new Cluster({ replicas: 2 })
    const [one, other] = [cluster.replica("A"), cluster.replica("B")]
    const commit = cluster.commit(2)
    one.acknowledge("a.db", at(2))
    one.leave()
    expect(cluster.generation).toBe(1)
    other.acknowledge("a.db", at(2))
    one.acknowledge("a.db", at(2))
    expect(await commit.now()).toBe("waits")
  })

  test("after() does not count a replica that does not want the database", async () => {
    const cluster = new Cluster()
    const replica = cluster.replica("A", ["b.db"])
    const commit = cluster.commit(2)
    replica.acknowledge("a.db", at(2))
    expect(await commit.now()).toBe("waits")
  })

  test("after() gives up when nobody waits any more", async () => {
    const cluster = new Cluster()
    cluster.replica()
    const gone = new AbortController()
    const commit = outcomeOf(cluster.sync.after("a.db", at(1), gone.signal))
    gone.abort()
    expect(await commit.now()).toBe("unavailable")
    expect(cluster.clock.timerCount).toBe(WATCH)
  })

  test("before() waits for the replica to have what came before, and then refuses", async () => {
    const cluster = new Cluster()
    const replica = cluster.replica()
    const early = outcomeOf(cluster.sync.before("a.db"))
    expect(await early.now()).toBe("waits")
    replica.acknowledge("a.db", at(1))
    expect(await early.now()).toBeUndefined()
    cluster.positions.set("a.db", at(2))
    const late = outcomeOf(cluster.sync.before("a.db"))
    cluster.clock.advance(TIMEOUT_MS)
    expect(await late.now()).toBe("unavailable")
  })

  test("before() lets the first transaction of a database pass when a replica will take it", async () => {
    const cluster = new Cluster()
    const first = outcomeOf(cluster.sync.before("new.db"))
    expect(await first.now()).toBe("waits")
    cluster.replica("A", ["a.db"])
    expect(await first.now()).toBe("waits")
    cluster.replica("B")
    expect(await first.now()).toBeUndefined()
  })

  test("before() refuses at once when there have been too few replicas for the timeout", async () => {
    const cluster = new Cluster()
    cluster.clock.advance(TIMEOUT_MS)
    expect(await outcomeOf(cluster.sync.before("a.db")).now()).toBe("unavailable")
    const replica = cluster.replica()
    replica.acknowledge("a.db", at(1))
    expect(await outcomeOf(cluster.sync.before("a.db")).now()).toBeUndefined()
    replica.leave()
    expect(await outcomeOf(cluster.sync.before("a.db")).now()).toBe("waits")
  })

  test("end() tells those who wait that nobody knows, and what comes later counts for nothing", async () => {
    const cluster = new Cluster()
    const replica = cluster.replica()
    const commit = cluster.commit(2)
    cluster.sync.end()
    expect(await commit.now()).toBe("no-primary")
    replica.acknowledge("a.db", at(2))
    expect(await cluster.commit(3).now()).toBe("no-primary")
    cluster.sync.begin()
    replica.acknowledge("a.db", at(3))
    expect(await cluster.commit(3).now()).toBe("waits")
  })

  test("the log says once what has changed", () => {
    using lines = new LogLines()
    const cluster = new Cluster({ replicas: 2 })
    cluster.replica("A")
    cluster.replica("B").leave()
    expect(lines.lines).toEqual([
      expect.stringContaining("commits wait for replicas to acknowledge them"),
      expect.stringContaining("enough replicas acknowledge transactions"),
      expect.stringContaining("commits wait for replicas to acknowledge them"),
    ])
  })

  test("a database at rest costs nothing", async () => {
    const cluster = new Cluster()
    const replica = cluster.replica()
    for (let txid = 2; txid < 10; txid++) {
      const commit = cluster.commit(txid)
      replica.acknowledge("a.db", at(txid))
      expect(await commit.now()).toBeUndefined()
    }
    expect(cluster.clock.timerCount).toBe(WATCH)
    replica.leave()
    cluster.clock.advance(TIMEOUT_MS)
    expect(cluster.clock.timerCount).toBe(0)
  })

  test("before() does not count a replica that has fallen silent, and after() does", async () => {
    const cluster = new Cluster()
    const replica = cluster.replica()
    replica.acknowledge("a.db", at(1))
    cluster.pass(10_000, replica)
    expect(await outcomeOf(cluster.sync.before("a.db")).now()).toBeUndefined()
    const { generation } = cluster
    cluster.clock.advance(3000)
    expect(cluster.generation).toBeGreaterThan(generation)
    expect(cluster.sync.status).toMatchObject({ state: "waiting", acknowledging: 0 })
    expect(await cluster.commit(1).now()).toBeUndefined() // it has said so
    const next = outcomeOf(cluster.sync.before("a.db"))
    expect(await next.now()).toBe("waits")
    expect(await outcomeOf(cluster.sync.before("a.db", false)).now()).toBe("unavailable")
    replica.alive()
    expect(await next.now()).toBeUndefined()
    expect(cluster.state).toBe("synchronous")
  })
})

describe("SyncReplicas in degrade mode", () => {
  const degrade = (replicas = 1) => new Cluster({ mode: "degrade", replicas })

  test("after() goes on at the timeout, and from then on at once", async () => {
    const cluster = degrade()
    cluster.replica()
    const commit = cluster.commit(2)
    cluster.clock.advance(TIMEOUT_MS - 1)
    expect(await commit.now()).toBe("waits")
    cluster.clock.advance(1)
    expect(await commit.now()).toBeUndefined()
    expect(cluster.sync.status).toMatchObject({ state: "degraded", degraded: ["a.db"] })
    expect(await cluster.commit(3).now()).toBeUndefined()
  })

  test("before() never waits", async () => {
    expect(await outcomeOf(degrade().sync.before("a.db")).now()).toBeUndefined()
  })

  test("it is synchronous again when the replica has everything", async () => {
    const cluster = degrade()
    const replica = cluster.replica()
    cluster.commit(2)
    cluster.clock.advance(TIMEOUT_MS)
    replica.acknowledge("a.db", at(1))
    expect(cluster.state).toBe("degraded")
    replica.acknowledge("a.db", at(2))
    expect(cluster.state).toBe("synchronous")
    expect(await cluster.commit(3).now()).toBe("waits")
  })

  test("it is synchronous again under load, when the replica is less than the timeout behind", async () => {
    const cluster = degrade()
    const replica = cluster.replica()
    cluster.commit(2)
    cluster.clock.advance(TIMEOUT_MS)
    expect(cluster.state).toBe("degraded")
    // It needs too long for the first look, and then catches up.
    for (let txid = 3; txid <= 10; txid++) {
      expect(await cluster.commit(txid).now()).toBeUndefined()
      cluster.clock.advance(1000)
      replica.acknowledge("a.db", at(txid < 9 ? 1 : txid - 1))
    }
    expect(cluster.state).toBe("synchronous")
  })

  test("when there are too few replicas for long, no commit waits", async () => {
    const cluster = degrade(2)
    cluster.replica("A")
    expect(cluster.state).toBe("waiting")
    cluster.clock.advance(TIMEOUT_MS)
    expect(cluster.state).toBe("degraded")
    expect(await cluster.commit(2).now()).toBeUndefined()
    expect(await cluster.commit(2, "b.db").now()).toBeUndefined()
    cluster.replica("B")
    expect(cluster.state).toBe("degraded") // they have not said yet that they have it
  })

  test("only the database is degraded whose commits wait", async () => {
    const cluster = degrade()
    const replica = cluster.replica("A", ["b.db"])
    cluster.commit(2)
    cluster.clock.advance(TIMEOUT_MS)
    expect(cluster.sync.status.degraded).toEqual(["a.db"])
    const commit = cluster.commit(2, "b.db")
    expect(await commit.now()).toBe("waits")
    replica.acknowledge("b.db", at(2))
    expect(await commit.now()).toBeUndefined()
  })
})

test("without --sync-replicas nobody waits", async () => {
  const cluster = new Cluster({ replicas: 0 })
  expect(await cluster.commit(2).now()).toBeUndefined()
  expect(await outcomeOf(cluster.sync.before("a.db")).now()).toBeUndefined()
})

describe("SyncReplicas while the lease has run out", () => {
  test("after() is not acknowledged, though the replica has it by now", async () => {
    const cluster = new Cluster()
    const replica = cluster.replica()
    const commit = cluster.commit(2)
    cluster.isHeld = false // another node may be the primary
    replica.acknowledge("a.db", at(2))
    expect(await commit.now()).toBe("waits")
    cluster.sync.end()
    expect(await commit.now()).toBe("no-primary")
  })

  test("after() waits if it begins then", async () => {
    const cluster = new Cluster()
    cluster.replica().acknowledge("a.db", at(2))
    cluster.isHeld = false
    const commit = cluster.commit(2)
    expect(await commit.now()).toBe("waits")
    cluster.isHeld = true
    cluster.sync.held()
    expect(await commit.now()).toBeUndefined()
  })

  test("after() goes on when this node holds the lease again", async () => {
    const cluster = new Cluster()
    const replica = cluster.replica()
    const commit = cluster.commit(2)
    cluster.isHeld = false
    replica.acknowledge("a.db", at(2))
    cluster.pass(3_600_000, replica)
    expect(await commit.now()).toBe("waits")
    cluster.isHeld = true
    cluster.sync.held()
    expect(await commit.now()).toBeUndefined()
  })

  test("after() does not go on without acknowledgements in degrade mode, until it holds the lease again", async () => {
    const cluster = new Cluster({ mode: "degrade" })
    const replica = cluster.replica()
    const commit = cluster.commit(2)
    cluster.isHeld = false
    cluster.pass(2 * TIMEOUT_MS, replica)
    expect(await commit.now()).toBe("waits")
    const next = cluster.commit(3)
    expect(await next.now()).toBe("waits")
    cluster.isHeld = true
    cluster.sync.held()
    expect([await commit.now(), await next.now()]).toEqual([undefined, undefined])
  })
})
