import { describe, expect, test } from "bun:test"
import type { NodeAnswer } from "../../src/cluster/node-client.ts"
import { Handoffs, type HandoffsContext } from "../../src/cluster/role/handoffs.ts"
import type { LeaseRecord } from "../../src/cluster/role/lease.ts"
import type { MemberState } from "../../src/cluster/role/member.ts"
import type { HandoffTarget } from "../../src/cluster/role/offer.ts"
import type { Pos } from "../../src/ltx/pos.ts"
import { FakeClock } from "../support/fake-clock.ts"
import { LogLines } from "../support/log-lines.ts"

function at(txid: number): Pos {
  return { txid: BigInt(txid), checksum: 1n << 63n }
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
  const id = name.charCodeAt(0).toString(16).toUpperCase().padStart(16, "0")
  return {
    replica: { id, name, connectedMs: 0, url: url ?? `http://${name}:1`, isCandidate },
    ...{ hasEverything, sent: new Map([["a.db", at(txid)]]), offer: () => {} },
    ended: new Promise<void>(() => {}),
  }
}

/** A primary at TXID 9 with these replicas. */
class Scene {
  state: MemberState = "primary"
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
      /the previous primary took after .*a.db\t0000000000000009\/8000000000000000\n.*not been in sync/s,
    ],
    [{ lagMs: () => 61_000 }, /It is not connected: this node had everything 61.0 s ago\./],
    [
      { lagMs: () => 400, primaryName: () => "p" },
      /What p took after .*It was connected: this node had everything 0.4 s ago\./s,
    ],
    [
      { progress: { missing: () => ({ transactions: 3, bytes: 0 }) } },
      /a.db\t.*, 3 more are known to be missing/,
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

test("Handoffs.takeOffer() on a node that stops takes no role, and has the primary hear that", async () => {
  using _ = new LogLines()
  const done: string[] = []
  const scene = new Scene([], {
    isLeaving: () => true,
    reconnect: () => done.push("reconnect"),
    call: async () => {
      done.push("accepted")
      return { status: 200, headers: {}, text: "" }
    },
  })
  await scene.handoffs.takeOffer("t", "http://p:1")
  expect(done).toEqual(["reconnect"])
})
