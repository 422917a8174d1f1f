import { describe, expect, test } from "bun:test"
import type { FakeMember } from "../support/fake-cluster.ts"
import { FakeCluster } from "../support/fake-cluster.ts"
import { LogLines } from "../support/log-lines.ts"

const A = { primary: true }
const B = { primaryUrl: "http://a:1" }

/** A hands over to B, as both see it when all goes well. */
async function handOver(from: FakeMember, to: FakeMember, positions = from.positions) {
  const offered = Promise.withResolvers<string>()
  const target = { ...to.target, offer: offered.resolve }
  const done = from.member?.handOff(target)
  done?.catch(() => {})
  const token = await Promise.race([offered.promise, done?.then(() => "")])
  const record = await from.member?.accept(token ?? "", positions)
  if (record !== undefined) to.member?.hear({ record, cluster: to.clusterId }, true)
  await done
}

async function pair(): Promise<{ cluster: FakeCluster; a: FakeMember; b: FakeMember }> {
  const cluster = new FakeCluster()
  const a = await cluster.node("a", A).start()
  const b = await cluster.node("b", B).start()
  return { cluster, a, b }
}

describe("Member starts", () => {
  /** What happens, who is the primary afterwards, and who must never take writes after its last start. */
  const CASES: [
    what: string,
    run: (cluster: FakeCluster, a: FakeMember, b: FakeMember) => Promise<unknown>,
    primaries: string[],
  ][] = [
    ["nothing has happened: the flags say it", async () => {}, ["a"]],
    ["after a handoff", (_, a, b) => handOver(a, b), ["b"]],
    [
      "after a handoff, the old primary first",
      async (_, a, b) => {
        await handOver(a, b)
        await a.stop()
        await b.stop()
        await a.start()
        expect(a.member?.isPrimary).toBe(false)
        await b.start()
      },
      ["b"],
    ],
    [
      "after a handoff, the new primary first, with the flags of a replica",
      async (_, a, b) => {
        await handOver(a, b)
        await a.stop()
        await b.stop()
        await b.start()
        await a.start()
      },
      ["b"],
    ],
    [
      "after a handoff, while the new primary is away",
      async (_, a, b) => {
        await handOver(a, b)
        await b.stop()
        await a.stop()
        await a.start()
      },
      [],
    ],
    [
      "the target of a handoff has not heard the answer, and calls",
      async (cluster, a, b) => {
        const offered = Promise.withResolvers<string>()
        const done = a.member?.handOff({ ...b.target, offer: offered.resolve })
        await a.member?.accept(await offered.promise, a.positions)
        await done
        expect([a.member?.isPrimary, b.member?.isPrimary]).toEqual([false, false])
        const record = cluster.call(b, a.url)
        if (record !== undefined) b.member?.hear({ record, cluster: b.clusterId }, true)
      },
      ["b"],
    ],
    [
      "forced while the old primary is away, which comes back and is told",
      async (cluster, a, b) => {
        await a.stop()
        await b.member?.force()
        await cluster.settle()
        await a.start()
        expect(a.member?.isPrimary).toBe(true) // it cannot know
      },
      ["b"],
    ],
    [
      "forced while the old primary is away, which comes back and asks",
      async (_, a, b) => {
        await a.stop()
        await b.member?.force()
        await a.start({ ...A, peers: ["http://b:1"] })
        expect(a.member?.isPrimary).toBe(false)
      },
      ["b"],
    ],
    [
      "forced, and both restart: what the old primary has to hear is not forgotten",
      async (cluster, a, b) => {
        await a.stop()
        await b.member?.force()
        await cluster.settle()
        await b.stop()
        await a.start({ ...A, peers: ["http://b:1"] })
        expect(a.member?.isPrimary).toBe(true) // its peer is away
        await b.start()
      },
      ["b"],
    ],
    [
      "an old primary with an empty directory that asks",
      async (_, a, b) => {
        await handOver(a, b)
        await a.stop()
        a.wipe()
        await a.start({ ...A, peers: ["http://b:1"] })
        expect(a.member?.isPrimary).toBe(false)
      },
      ["b"],
    ],
    [
      "the primary of the record with an empty directory: nobody is, until somebody is made it by force",
      async (cluster, a, b) => {
        await handOver(a, b)
        await handOver(b, a)
        await a.stop()
        a.wipe()
        await a.start({ ...A, peers: ["http://b:1"] })
        expect(cluster.primaries).toEqual([])
        await b.member?.force()
      },
      ["b"],
    ],
    [
      "two with --primary, of which the second asks the first",
      async (cluster, a, b) => {
        await b.stop()
        await expect(b.start({ ...A, peers: [a.url] })).rejects.toThrow(
          /is started with --primary too/,
        )
        cluster.nodes.delete("b")
      },
      ["a"],
    ],
    [
      "a primary with an empty directory that asks, while no record says anything",
      async (_, a, b) => {
        await a.stop()
        a.wipe()
        const peers = { ...A, peers: [b.url] }
        await expect(a.start(peers)).rejects.toThrow(
          /nothing in the data directory, and http:\/\/b:1/,
        )
        await b.member?.force()
        await a.start(peers)
      },
      ["b"],
    ],
    [
      "a copy of the primary of the record, which asks where the record says that it is",
      async (cluster, a, b) => {
        await handOver(a, b)
        const c = cluster.node("c", B)
        c.copy(b)
        await expect(c.start()).rejects.toThrow("a copy")
        cluster.nodes.delete("c")
      },
      ["b"],
    ],
    [
      "a copy of a replica, which hears that the replica has become the primary",
      async (cluster, a, b) => {
        const c = cluster.node("c", B)
        c.copy(b)
        await c.start()
        await handOver(a, b)
        cluster.call(a, c.url)
        expect(c.done).toEqual([])
      },
      ["b"],
    ],
    [
      "two are forced who are peers",
      async (cluster, a, b) => {
        await b.stop()
        await b.start({ ...B, peers: ["http://c:1"] })
        await cluster.node("c", { ...B, peers: [b.url] }).start()
        await a.stop()
        await Promise.all(["b", "c"].map((name) => cluster.nodes.get(name)?.member?.force()))
      },
      ["c"],
    ],
    [
      "two are forced who cannot hear of each other, and then can",
      async (cluster, a, b) => {
        const c = await cluster.node("c", B).start()
        await a.stop()
        cluster.cut.add("bc")
        await b.member?.force()
        await c.member?.force()
        expect(cluster.primaries).toEqual(["b", "c"])
        cluster.cut.clear()
        cluster.call(b, c.url)
        cluster.call(c, b.url)
      },
      ["c"],
    ],
  ]

  test.each(CASES)("%s", async (_, run, primaries) => {
    const { cluster, a, b } = await pair()
    using _cluster = cluster
    await run(cluster, a, b)
    await cluster.settle()
    expect(cluster.primaries).toEqual(primaries)
    for (const node of cluster.nodes.values()) await node.stop()
  })
})

describe("Member", () => {
  test("hands over in this order, and only when the target has everything", async () => {
    const { cluster, a, b } = await pair()
    using _ = cluster
    const behind = new Map([["a.db", { txid: 4n, checksum: 1n << 63n }]])
    const failed = handOver(a, b, behind)
    await expect(failed).rejects.toThrow(/"a.db" is at 0000000000000004/)
    expect(a.lease.record).toBeUndefined()
    cluster.clock.advance(5000)
    await cluster.settle()
    expect(a.done).toEqual(["drain", "resume"])
    expect(cluster.primaries).toEqual(["a"])
    await handOver(a, b)
    await cluster.settle()
    expect(a.done).toEqual(["drain", "resume", "drain", "hand over"])
    expect(b.done).toEqual(["inherit"])
    expect(a.lease.record).toEqual(b.lease.record)
    await expect(a.member?.accept("", a.positions)).rejects.toThrow(/the offer is no longer open/)
  })

  test("goes on as the primary when the target says nothing", async () => {
    const { cluster, a, b } = await pair()
    using _ = cluster
    const tokens: string[] = []
    const done = a.member?.handOff({ ...b.target, offer: (token) => tokens.push(token) })
    done?.catch(() => {})
    await cluster.settle()
    cluster.clock.advance(5000)
    await expect(done).rejects.toThrow(/has not accepted in 5 s/)
    expect(a.done).toEqual(["drain", "resume"])
    await expect(a.member?.accept(tokens[0] as string, a.positions)).rejects.toThrow(
      /no longer open/,
    )
    expect(cluster.primaries).toEqual(["a"])
  })

  test("goes on as the primary half a second after the target has gone", async () => {
    const { cluster, a, b } = await pair()
    using _ = cluster
    const done = a.member?.handOff({ ...b.target, gone: Promise.resolve() })
    done?.catch(() => {})
    await cluster.settle()
    cluster.clock.advance(500)
    await expect(done).rejects.toThrow(/"b" is no longer connected/)
    expect(cluster.primaries).toEqual(["a"])
  })

  test("stops taking writes before anything else when it hears of another, also in a handoff", async () => {
    const { cluster, a, b } = await pair()
    using _ = cluster
    const done = a.member?.handOff({ ...b.target, offer: () => {} })
    done?.catch(() => {})
    const c = await cluster.node("c", B).start()
    await c.member?.force()
    cluster.call(c, a.url)
    await expect(done).rejects.toThrow()
    await cluster.settle()
    expect(a.done.includes("resume")).toBe(false)
    expect(a.done.at(-1)).toBe("hand over")
    expect(cluster.primaries).toEqual(["c"])
  })

  test("is no settled primary when it hears of another while it starts", async () => {
    using cluster = new FakeCluster()
    const a = cluster.node("a", A)
    const record = { epoch: 9, primary: { id: "F".repeat(16), hostname: "x", url: "http://x:1" } }
    const settled: (boolean | undefined)[] = []
    a.beforeStart = (member) => {
      settled.push(member.isSettled)
      member.hear({ record, cluster: a.clusterId }, true)
      settled.push(member.isSettled)
    }
    await a.start()
    await cluster.settle()
    expect(settled).toEqual([true, false])
    expect([a.member?.isSettled, cluster.primaries]).toEqual([true, []])
  })

  test("takes no word from another cluster", async () => {
    const { cluster, a } = await pair()
    using _ = cluster
    const record = { epoch: 9, primary: { id: "F".repeat(16), hostname: "x", url: "http://x:1" } }
    a.member?.hear({ record, cluster: "LFSC0000000000000002" }, false)
    await cluster.settle()
    expect([cluster.primaries, a.done, a.lease.record]).toEqual([["a"], [], undefined])
    a.member?.hear({ record, cluster: "LFSC0000000000000001", seal: a.seal }, false)
    await cluster.settle()
    expect([cluster.primaries, a.done]).toEqual([[], ["shut", "hand over"]])
  })

  test("says of each word from another cluster who has sent it, and of so many at most", async () => {
    const { cluster, a } = await pair()
    using _ = cluster
    using log = new LogLines()
    const record = { epoch: 9, primary: { id: "F".repeat(16), hostname: "x", url: "http://x:1" } }
    for (let i = 0; i < 500; i++) a.member?.hear({ record, cluster: `${i % 2}` }, false, "10.0.0.9")
    const lines = () => log.lines.filter((line) => line.includes("not believed"))
    expect(lines()).toHaveLength(2)
    expect(lines()[0]).toContain("from=10.0.0.9 epoch=9")
    for (let i = 0; i < 500; i++) a.member?.hear({ record, cluster: `${i}` }, false, "10.0.0.9")
    expect(lines()).toHaveLength(100)
  })

  describe("hears of a record without a proof", () => {
    const STRANGER = { id: "F".repeat(16), hostname: "x", url: "http://x:1" }

    /** A stranger says to A that a node is the primary. */
    async function claimed(
      of: (c: FakeMember) => typeof STRANGER,
      prepare: (c: FakeMember) => void = () => {},
      peers: readonly string[] = [],
    ) {
      const cluster = new FakeCluster()
      const a = await cluster.node("a", { ...A, peers }).start()
      const c = await cluster.node("c", B).start()
      prepare(c)
      a.member?.hear({ record: { epoch: 2, primary: of(c) }, cluster: a.clusterId }, false, "::1")
      const before = [...a.done]
      await cluster.settle()
      await cluster.settle()
      cluster[Symbol.dispose]()
      return { before, done: a.done }
    }

    test.each<[string, Parameters<typeof claimed>]>([
      ["nobody is there", [() => STRANGER]],
      ["another node is there", [(c) => ({ ...c.target.node, id: STRANGER.id })]],
      ["the node there does not confirm it", [(c) => c.target.node]],
      [
        "the node there goes by an older one",
        [(c) => c.target.node, (c) => c.lease.keep({ epoch: 1, primary: c.target.node })],
      ],
      [
        "the node there says so of another",
        [(c) => c.target.node, (c) => c.lease.keep({ epoch: 2, primary: STRANGER })],
      ],
      [
        "the node there is in another cluster",
        [
          (c) => c.target.node,
          (c) => {
            c.lease.keep({ epoch: 2, primary: c.target.node })
            c.clusterId = "LFSC0000000000000002"
          },
        ],
      ],
    ])("and takes writes on: %s", async (_, given) => {
      expect((await claimed(...given)).done).toEqual([])
    })

    test("and asks the node that it names, before it stops", async () => {
      const of = (c: FakeMember) => c.target.node
      const { before, done } = await claimed(of, (c) => {
        c.lease.keep({ epoch: 2, primary: c.target.node })
      })
      expect([before, done]).toEqual([[], ["shut", "hand over"]])
    })

    test("and asks its peers, when that one cannot be reached", async () => {
      const { done } = await claimed(
        () => STRANGER,
        (c) => c.lease.keep({ epoch: 2, primary: STRANGER }),
        ["http://c:1"],
      )
      expect(done).toEqual(["shut", "hand over"])
    })

    test("and does not become the primary because a stranger says so", async () => {
      const { cluster, b } = await pair()
      using _ = cluster
      const record = { epoch: 9, primary: b.target.node }
      b.member?.hear({ record, cluster: b.clusterId }, false)
      b.member?.hear({ record, cluster: b.clusterId, seal: "other" }, false)
      await cluster.settle()
      expect([cluster.primaries, b.lease.record]).toEqual([["a"], undefined])
    })
  })

  test("believes no epoch that is far off, of who turns to it or of whom it follows", async () => {
    const { cluster, a } = await pair()
    using _ = cluster
    const primary = { id: "F".repeat(16), hostname: "x", url: "http://x:1" }
    const own = "LFSC0000000000000001"
    for (const epoch of [2 ** 53 - 1, 2 ** 48, 2 ** 16 + 1]) {
      a.member?.hear({ record: { epoch, primary }, cluster: own }, false)
    }
    a.member?.hear({ record: { epoch: 1, primary }, cluster: undefined }, false)
    expect([cluster.primaries, a.lease.record]).toEqual([["a"], undefined])
    // A node that has never heard of any may be late.
    a.member?.hear({ record: { epoch: 2 ** 20, primary }, cluster: own }, true)
    expect(a.lease.record?.epoch).toBe(2 ** 20)
    a.member?.hear({ record: { epoch: 2 ** 40, primary }, cluster: own }, true)
    a.member?.hear({ record: { epoch: 2 ** 20 + 2 ** 16, primary }, cluster: own }, true)
    expect(a.lease.record?.epoch).toBe(2 ** 20 + 2 ** 16)
    await cluster.settle()
    expect(a.done.at(-1)).toBe("hand over")
  })

  test("is not forced by a node that has never been in a cluster, and that nobody could follow", async () => {
    const { cluster, b } = await pair()
    using _ = cluster
    b.clusterId = undefined
    await expect(b.member?.force()).rejects.toThrow(
      /^Cannot promote by force: this node does not know its cluster id yet, .* start it with --primary$/,
    )
    expect(b.member?.isPrimary).toBe(false)
    await cluster.settle()
  })

  test("is not forced to an epoch that there is not", async () => {
    const { cluster, b } = await pair()
    using _ = cluster
    const primary = { id: "F".repeat(16), hostname: "x", url: "http://x:1" }
    b.lease.keep({ epoch: 2 ** 48, primary })
    await expect(b.member?.force()).rejects.toThrow(/epochs are used up, take "epoch" and/)
    const beyond = { epoch: 2 ** 48 + 1, primary }
    expect(() => b.lease.keep(beyond)).toThrow(
      /its epoch is 281474976710657, it should be 281474976710656 at most/,
    )
    expect(b.lease.record?.epoch).toBe(2 ** 48)
    await cluster.settle()
    expect([cluster.primaries, b.done]).toEqual([["a"], []])
  })

  test("takes no writes when a copy of it is the primary, and only when that says so", async () => {
    const { cluster, a } = await pair()
    using _ = cluster
    const primary = { ...a.target.node, url: "http://c:1" }
    a.member?.hear({ record: { epoch: 1, primary }, cluster: a.clusterId }, false)
    await cluster.settle()
    expect([cluster.primaries, a.done]).toEqual([["a"], []])
    const c = cluster.node("c", B)
    await a.stop()
    c.copy(a)
    await a.start()
    await c.start()
    await c.member?.force()
    cluster.call(c, a.url)
    await cluster.settle()
    expect([cluster.primaries, a.done]).toEqual([["c"], ["shut", "hand over"]])
    await a.member?.force()
    cluster.call(a, c.url)
    await cluster.settle()
    expect([cluster.primaries, c.done.at(-1)]).toEqual([["a"], "hand over"])
  })

  test("tries again when it cannot become what the record says", async () => {
    const cluster = new FakeCluster()
    using _ = cluster
    const b = cluster.node("b", B)
    let failures = 2
    b.actions = {
      inherit: async () => {
        if (failures-- > 0) throw new Error("not yet")
      },
    }
    await b.start()
    const self = { id: b.lease.id, hostname: "b", url: b.url }
    b.member?.hear({ record: { epoch: 3, primary: self }, cluster: b.clusterId }, true)
    await cluster.settle()
    expect([failures, cluster.primaries]).toEqual([-1, ["b"]])
  })

  test("cannot go on when it could not step down", async () => {
    const { cluster, a, b } = await pair()
    using _ = cluster
    await a.stop()
    a.actions = { handOver: () => Promise.reject(new Error("disk")) }
    await a.start()
    await handOver(a, b)
    expect(a.done).toContain("fail")
    await cluster.settle()
    expect(cluster.primaries).toEqual(["b"])
  })
})
