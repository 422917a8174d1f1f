import { describe, expect, test } from "bun:test"
import { AdvertisedUrl } from "../../src/cluster/role/advertised-url.ts"
import type { PeerAnswer } from "../../src/cluster/role/peer-answer.ts"
import { LitefsError, messageOf } from "../../src/lib/errors.ts"
import { FakeClock } from "../support/fake-clock.ts"

const URL = "http://a:1"
const A = "00000000000000AA"
const B = "00000000000000BB"

function answer(id: string | undefined, rest: Partial<PeerAnswer> = {}): PeerAnswer {
  const nothing = { lease: undefined, run: undefined, clusterId: undefined }
  return { ...nothing, id, isPrimaryByFlag: false, ...rest }
}

function ledBy(id: string): Partial<PeerAnswer> {
  const primary = { id, hostname: "x", url: "http://x:1" }
  return { lease: { record: { epoch: 1, primary }, cluster: undefined } }
}

class Scene {
  readonly clock = new FakeClock()
  readonly found: string[] = []
  asked = 0
  isPrimaryByFlag = true
  there: PeerAnswer | undefined

  constructor(there: PeerAnswer | undefined) {
    this.there = there
  }

  node(url: string | undefined = URL): AdvertisedUrl {
    return new AdvertisedUrl({
      ...{ url, id: A, clock: this.clock },
      isPrimaryByFlag: () => this.isPrimaryByFlag,
      ask: async () => {
        this.asked++
        if (this.there === undefined) throw new LitefsError("unavailable", "nobody is there")
        return this.there
      },
    })
  }

  async pass(seconds: number): Promise<void> {
    for (let second = 0; second < seconds; second++) {
      this.clock.advance(1000)
      for (let turn = 0; turn < 20; turn++) await Promise.resolve()
    }
  }
}

describe("A primary by its flags", () => {
  test.each<[string, PeerAnswer]>([
    ["by its flags", answer(B, { isPrimaryByFlag: true })],
    ["by a record", answer(B, ledBy(B))],
  ])("does not start where another is one %s", async (_, there) => {
    const problem = await new Scene(there).node().check().catch(messageOf)
    expect(problem).toContain(
      "another node is the primary at http://a:1, where this one tells others",
    )
    expect(problem).toContain("candidate: false in litefs.yml")
  })

  test.each<[string, PeerAnswer | undefined]>([
    ["itself is there", answer(A, { isPrimaryByFlag: true })],
    ["a replica is there", answer(B)],
    ["a node that follows it is there", answer(B, ledBy(A))],
    ["something else is there", answer(undefined)],
    ["nobody is there", undefined],
  ])("starts when %s", async (_, there) => {
    await new Scene(there).node().check()
  })

  test("ends when another comes up there later, and looks no more once it has been there itself", async () => {
    const scene = new Scene(undefined)
    scene.node().watch(({ message }) => scene.found.push(message))
    await scene.pass(20)
    expect(scene.asked).toBeGreaterThan(2)
    scene.there = answer(B, { isPrimaryByFlag: true })
    await scene.pass(10)
    expect(scene.found).toHaveLength(1)

    const other = new Scene(answer(A))
    const node = other.node()
    await node.check()
    node.watch(({ message }) => other.found.push(message))
    other.there = answer(B, { isPrimaryByFlag: true })
    await other.pass(20)
    expect([other.asked, other.found]).toEqual([1, []])
  })

  test("asks nobody when a record decides, or when its URL is its own making", async () => {
    const scene = new Scene(answer(B, { isPrimaryByFlag: true }))
    scene.isPrimaryByFlag = false
    await scene.node().check()
    scene.isPrimaryByFlag = true
    const made = new AdvertisedUrl({
      ...{ url: undefined, id: A, clock: scene.clock, isPrimaryByFlag: () => true },
      ask: async () => {
        scene.asked++
        return answer(B)
      },
    })
    await made.check()
    made.watch(() => {})
    await scene.pass(20)
    expect(scene.asked).toBe(0)
  })
})
