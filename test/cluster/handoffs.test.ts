import { describe, expect, test } from "bun:test"
import type { NodeAnswer } from "../../src/cluster/node-client.ts"
import { Handoffs, type HandoffsContext } from "../../src/cluster/role/handoffs.ts"
import type { LeaseRecord } from "../../src/cluster/role/lease.ts"
import type { MemberState } from "../../src/cluster/role/member.ts"
import type { HandoffTarget } from "../../src/cluster/role/offer.ts"
import type { PeerAnswer } from "../../src/cluster/role/peer-check.ts"
import type { Pos } from "../../src/ltx/pos.ts"
import { FakeClock } from "../support/fake-clock.ts"
import { LogLines } from "../support/log-lines.ts"

function at(txid: number): Pos {
  return { txid: BigInt(txid), checksum: 1n << 63n }
}

const CLUSTER = "LFSC0000000000000001"

function idOf(name: string): string {
  return name === "f"
    ? "F".repeat(16)
    : name.charCodeAt(0).toString(16).toUpperCase().padStart(16, "0")
}

/** What the node says whose name the URL has; `old` and `new` are b. */
function answerOf(url: string): PeerAnswer {
  const name = new URL(url).hostname
  const id = idOf(name.length === 1 ? name : "b")
  return { id, run: name, clusterId: CLUSTER, lease: undefined, isPrimaryByFlag: false }
}

interface FakeStream {
  readonly name: string
  readonly txid: number // that it has been sent
  readonly isCandidate?: boolean
  readonly hasEverything?: boolean
  /** Of what it is a part; by default the name. */
  readonly url?: string
}

function streamOf({ name, txid, isCandidate = true, hasEverything = true, url }: FakeStream) {
  return {
    replica: { id: idOf(name), name, connectedMs: 0, url: url ?? `http://${name}:1`, isCandidate },
    ...{ hasEverything, sent: new Map([["a.db", at(txid)]]), offer: () => {} },
    ended: new Promise<void>(() => {}),
  }
}

/** A primary at TXID 9 with these replicas. */
class Scene {
  state: MemberState = "primary"
  isHeld = true
  readonly clock = new FakeClock()
  /** To whom the role was offered, in order. */
  readonly asked: string[] = []
  readonly handoffs: Handoffs

  constructor(streams: readonly FakeStream[], given: Partial<HandoffsContext> = {}, takes = "") {
    const scene = this
    this.handoffs = new Handoffs({
      member: {
        get state() {
          return scene.state
        },
        get isPrimary() {
          return scene.state === "primary"
        },
        get isHeld() {
          return scene.isHeld
        },
        settled: async () => {},
        handOff: async ({ node }: HandoffTarget) => {
          this.asked.push(node.url)
          this.clock.advance(5000)
          if (!node.url.includes(takes)) throw new Error("it does not answer")
          this.state = "draining"
        },
      },
      lease: { id: "F".repeat(16), record: undefined },
      streams: streams.map(streamOf),
      progress: { missing: () => ({ transactions: 0, bytes: 0 }) },
      ineligibility: () => undefined,
      isCandidate: true,
      clock: this.clock,
      positions: () => new Map([["a.db", at(9)]]),
      primaryName: () => undefined,
      isConnected: async () => false,
      lagMs: () => undefined,
      primaryUrl: () => "http://p:1",
      call: () => Promise.reject(new Error("nobody answers")),
      hear: () => {},
      reach: async (url) => answerOf(url),
      self: () => ({ id: "F".repeat(16), hostname: "f", url: "http://f:1" }),
      clusterId: () => CLUSTER,
      ownProblem: async () => undefined,
      isLeaving: () => false,
      reconnect: () => {},
      ...given,
    })
  }
}

describe("Handoffs.leave(false)", () => {
  test.each<[what: string, streams: FakeStream[], takes: string, asked: string[]]>([
    ["nobody", [], "", []],
    [
      "the one that lacks least",
      [
        { name: "b", txid: 7 },
        { name: "c", txid: 9 },
      ],
      "",
      ["c"],
    ],
    [
      "the next one when that does not take it",
      [
        { name: "b", txid: 7 },
        { name: "c", txid: 9 },
      ],
      "b",
      ["c", "b"],
    ],
    [
      "all of them, one after the other",
      [
        { name: "b", txid: 9 },
        { name: "c", txid: 8 },
      ],
      "none",
      ["b", "c"],
    ],
    [
      "no node that is no candidate",
      [
        { name: "b", txid: 9, isCandidate: false },
        { name: "c", txid: 1 },
      ],
      "",
      ["c"],
    ],
    ["no node with some of the databases", [{ name: "b", txid: 9, hasEverything: false }], "", []],
  ])("asks %s", async (_, streams, takes, asked) => {
    const scene = new Scene(streams, {}, takes === "" ? "" : `//${takes}:`)
    await scene.handoffs.leave(false)
    expect(scene.asked).toEqual(asked.map((name) => `http://${name}:1`))
  })

  test("asks nobody any more after 10 seconds", async () => {
    const streams = ["b", "c", "d"].map((name) => ({ name, txid: 9 }))
    const scene = new Scene(streams, {}, "none")
    await scene.handoffs.leave(false)
    expect(scene.asked).toEqual(["http://b:1", "http://c:1"])
  })

  test("does nothing on a node that is not the primary", async () => {
    const scene = new Scene([{ name: "b", txid: 9 }])
    scene.state = "replica"
    await scene.handoffs.leave(false)
    expect(scene.asked).toEqual([])
  })

  test("asks a node that was started again once, by its last stream", async () => {
    const streams = [
      { name: "b", txid: 9, url: "http://old:1" },
      { name: "b", txid: 8, url: "http://new:1" },
    ]
    const scene = new Scene(streams, {}, "none")
    await scene.handoffs.leave(false)
    expect(scene.asked).toEqual(["http://new:1"])
  })
})

describe("a forced promotion says what may be lost", () => {
  test.each<[given: Partial<HandoffsContext>, lines: RegExp]>([
    [
      {},
      /the previous primary took after .*a.db {2}0000000000000009\/8000000000000000\n.*not been in sync/s,
    ],
    [{ lagMs: () => 61_000 }, /It is not connected: this node had everything 61.0 s ago\./],
    [
      { lagMs: () => 400, primaryName: () => "p" },
      /What p took after .*It was connected: this node had everything 0.4 s ago\./s,
    ],
    [
      { progress: { missing: () => ({ transactions: 3, bytes: 0 }) } },
      /a.db {2}.*, 3 more are known to be missing/,
    ],
  ])("%#", (given, lines) => {
    expect(new Scene([], given).handoffs.possibleLoss()).toMatch(lines)
  })
})

describe("a promotion that is not forced", () => {
  test("says how to do without the primary when there is none", async () => {
    const scene = new Scene([])
    scene.state = "replica"
    await expect(scene.handoffs.promote()).rejects.toThrow(/if it is gone, use --force/)
  })

  test.each<[given: Partial<HandoffsContext>, isForced: boolean, problem: string | undefined]>([
    [{}, false, undefined],
    [
      { isCandidate: false },
      false,
      "it was started without --candidate, start it with --candidate, or force it when the primary is gone (--force)",
    ],
    [{ isCandidate: false }, true, undefined],
    [
      { ineligibility: () => "it has some of the databases only" },
      true,
      "it has some of the databases only",
    ],
  ])("%#: whether the node may become the primary", (given, isForced, problem) => {
    const found = new Scene([], given).handoffs.ineligibility(isForced)
    expect(found).toBe(problem && `not eligible to become primary: ${problem}`)
  })
})

describe("Handoffs.promote() whose answer is lost", () => {
  async function promote(exchange: (scene: Scene) => Promise<NodeAnswer>, record?: LeaseRecord) {
    const lease: { id: string; record: LeaseRecord | undefined } = { id: ID, record: undefined }
    const scene: Scene = new Scene([], {
      lease,
      isConnected: async () => true,
      call: (_url, _method, path) => {
        if (path.startsWith("/handoff")) return Promise.reject(new Error("socket hang up"))
        lease.record = record
        if (record !== undefined) scene.state = "primary"
        return exchange(scene)
      },
    })
    scene.state = "replica"
    const done = scene.handoffs.promote()
    const timer = setInterval(() => scene.clock.advance(500), 1)
    await done.finally(() => clearInterval(timer))
  }

  const ID = "F".repeat(16)
  const ANSWER = { status: 200, headers: {}, text: "" }

  test("is done when the record says so", async () => {
    const primary = { id: ID, hostname: "f", url: "http://f:1" }
    await promote(async () => ANSWER, { epoch: 3, primary })
  })

  test("did not happen when the primary goes on", async () => {
    await expect(promote(async () => ANSWER)).rejects.toThrow(
      "handoff failed: the answer is lost (socket hang up); it did not happen, http://p:1 is the primary as before",
    )
  })

  test("is not known to have happened when nobody answers", async () => {
    await expect(promote(() => Promise.reject(new Error("no route")))).rejects.toThrow(
      /it is not known whether it happened, http:\/\/p:1 does not answer/,
    )
  })
})

test.each([
  ["that stops", { isLeaving: () => true }, ""],
  [
    "without a cluster",
    { ineligibility: () => "it does not know its cluster" },
    "this node cannot take it",
  ],
] as const)(
  "Handoffs.takeOffer() on a node %s takes no role, and has the primary hear that",
  async (_, given, told) => {
    using log = new LogLines()
    const done: string[] = []
    const scene = new Scene([], {
      ...given,
      reconnect: () => done.push("reconnect"),
      call: async () => {
        done.push("accepted")
        return { status: 200, headers: {}, text: "" }
      },
    })
    await scene.handoffs.takeOffer("t", "http://p:1")
    expect(done).toEqual(["reconnect"])
    expect(log.text).toContain(told)
  },
)

test.each([
  [
    "cannot handoff: node is not currently primary",
    "handoff failed: node is not currently primary",
  ],
  ["Cannot stop writes to database: they go on", "Cannot stop writes to database: they go on"],
])("Handoffs.promote() says once that it cannot: %s", async (text, said) => {
  const scene = new Scene([], {
    isConnected: async () => true,
    call: async () => ({ status: 503, headers: {}, text }),
  })
  scene.state = "replica"
  await expect(scene.handoffs.promote()).rejects.toThrow(new Error(said))
})

test("Handoffs.takeOffer() answers one offer at a time, and of a flood the last", async () => {
  using log = new LogLines()
  const answers: PromiseWithResolvers<NodeAnswer>[] = []
  const asked: string[] = []
  const scene = new Scene([], {
    call: (_url, _method, path) => {
      asked.push(path)
      const answer = Promise.withResolvers<NodeAnswer>()
      answers.push(answer)
      return answer.promise
    },
  })
  const taken = Array.from({ length: 10_000 }, (_, i) =>
    scene.handoffs.takeOffer(`t${i}`, "http://p:1"),
  )
  expect(asked).toEqual(["/handoff?token=t0"])
  answers[0]?.reject(new Error("it went away"))
  while (answers.length < 2) await Promise.resolve()
  answers[1]?.reject(new Error("it went away"))
  await Promise.all(taken)
  expect(asked).toEqual(["/handoff?token=t0", "/handoff?token=t9999"])
  expect(log.lines.length).toBe(1)
})

describe("Handoffs.handOff()", () => {
  const REFUSALS: readonly (readonly [what: string, Partial<HandoffsContext>, problem: string])[] =
    [
      [
        "a node that leads the primary to itself",
        { reach: async () => answerOf("http://f:1") },
        "it cannot be reached at http://b:1 (the primary itself answers there), give it --http-addr and --advertise-url that other nodes reach",
      ],
      [
        "a node in whose place another answers",
        { reach: async () => answerOf("http://c:1") },
        "it cannot be reached at http://b:1 (another node answers there), give it",
      ],
      [
        "a node with a name that nobody knows",
        {
          reach: () =>
            Promise.reject(Object.assign(new Error("getaddrinfo"), { code: "ENOTFOUND" })),
        },
        'it cannot be reached at http://b:1 (there is no host named "b" (ENOTFOUND)), give it',
      ],
      [
        "a node that does not know its cluster",
        { reach: async (url) => ({ ...answerOf(url), clusterId: undefined }) },
        "it does not know its cluster id yet, which it learns from its primary; if that is gone, copy the file clusterid",
      ],
      [
        "a node of another cluster",
        { reach: async (url) => ({ ...answerOf(url), clusterId: "LFSC0000000000000002" }) },
        "it is in cluster LFSC0000000000000002, the primary in LFSC0000000000000001",
      ],
      [
        "anybody when this node does not know its own",
        { clusterId: () => undefined },
        "the primary does not know its cluster id",
      ],
    ]

  async function handOff(given: Partial<HandoffsContext>) {
    const scene = new Scene([{ name: "b", txid: 9 }], given)
    const target = scene.handoffs.target(idOf("b")) as HandoffTarget
    return { scene, done: scene.handoffs.handOff(target) }
  }

  test("asks the target at its URL first", async () => {
    const reached: string[] = []
    const { scene, done } = await handOff({
      reach: async (url) => {
        reached.push(url)
        return answerOf(url)
      },
    })
    await done
    expect([reached, scene.asked]).toEqual([["http://b:1"], ["http://b:1"]])
  })

  test.each(REFUSALS)("refuses %s", async (_, given, problem) => {
    const { scene, done } = await handOff(given)
    await expect(done).rejects.toThrow(`Cannot hand over to b: ${problem}`)
    expect(scene.asked).toEqual([])
  })

  test("refuses a node that does not answer in 3 seconds", async () => {
    const { scene, done } = await handOff({ reach: () => new Promise(() => {}) })
    const caught = done.catch((error) => error.message)
    scene.clock.advance(2999)
    scene.clock.advance(1)
    expect(await caught).toContain(
      'it cannot be reached at http://b:1 (no answer in 3 s, perhaps the primary cannot resolve "b"), give it',
    )
    expect(scene.asked).toEqual([])
  })

  test("has a primary that stops take another candidate, or none", async () => {
    using log = new LogLines()
    const streams = [
      { name: "b", txid: 9 },
      { name: "c", txid: 8 },
    ]
    const reach = async (url: string) => answerOf(url === "http://b:1" ? "http://f:1" : url)
    const scene = new Scene(streams, { reach })
    await scene.handoffs.leave(false)
    expect(scene.asked).toEqual(["http://c:1"])
    expect(log.text).toMatch(
      /cannot hand the role of primary over.*Cannot hand over to b: it cannot/,
    )
    const alone = new Scene(streams.slice(0, 1), { reach })
    await alone.handoffs.leave(false)
    expect([alone.asked, alone.state]).toEqual([[], "primary"])
  })
})

describe("a forced promotion", () => {
  test.each<[what: string, given: Partial<HandoffsContext>, problem: string | undefined]>([
    ["says nothing where the node answers at its URL", {}, undefined],
    [
      "warns where another does",
      { reach: async () => answerOf("http://b:1") },
      "it cannot be reached at http://f:1 (another node answers there), give it --http-addr and --advertise-url that other nodes reach",
    ],
    [
      "warns where the URL leads every machine to itself",
      { ownProblem: async () => "itself" },
      "itself",
    ],
  ])("%s", async (_, given, problem) => {
    using log = new LogLines()
    expect(await new Scene([], given).handoffs.unreachable()).toBe(problem as string)
    expect(log.text.includes("may not be able to reach this node")).toBe(problem !== undefined)
  })
})

test("Handoffs.promote() says when the record that makes this node the primary is not believed", async () => {
  const scene = new Scene([], {
    isConnected: async () => true,
    call: async () => ({ status: 200, headers: {}, text: "" }),
  })
  scene.state = "replica"
  await expect(scene.handoffs.promote()).rejects.toThrow(
    "promote: http://p:1 has handed over its role, but this node has not taken the lease record, see its log",
  )
})

test("Handoffs.promote() of a primary resolves only while it holds the lease", async () => {
  const scene = new Scene([])
  await scene.handoffs.promote()
  scene.isHeld = false
  await expect(scene.handoffs.promote()).rejects.toThrow(
    /does not hold the lease now and takes no writes; it goes on by itself/,
  )
})
