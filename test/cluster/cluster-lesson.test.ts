import { expect, test } from "bun:test"
import { ClusterLesson } from "../../src/cluster/role/cluster-lesson.ts"
import type { PeerAnswer } from "../../src/cluster/role/peer-answer.ts"
import { FakeClock } from "../support/fake-clock.ts"
import { LogLines } from "../support/log-lines.ts"

const URL = "http://p:1"
const CLUSTER = "LFSC0000000000000001"

/** A node without a cluster, whose primary `p` has begun a stream. */
class Scene {
  readonly clock = new FakeClock()
  readonly log = new LogLines()
  readonly clusterId = {
    value: undefined as string | undefined,
    check(id: string) {
      this.value = id
    },
  }
  asked = 0
  answer: Partial<PeerAnswer> | Error = { id: "p", clusterId: CLUSTER }
  readonly lesson = new ClusterLesson({
    ...{ clock: this.clock, clusterId: this.clusterId },
    ask: async () => {
      this.asked += 1
      if (this.answer instanceof Error) throw this.answer
      return this.answer as PeerAnswer
    },
  })

  constructor() {
    this.lesson.answered("p")
  }

  async heartbeat(): Promise<string | undefined> {
    this.lesson.heartbeat(URL)
    for (let turn = 0; turn < 10; turn++) await Promise.resolve()
    return this.clusterId.value
  }

  [Symbol.dispose](): void {
    this.log[Symbol.dispose]()
  }
}

test("a node learns its cluster with the first heartbeat, and asks no more then", async () => {
  using scene = new Scene()
  expect(await scene.heartbeat()).toBe(CLUSTER)
  scene.clock.advance(10_000)
  await scene.heartbeat()
  expect(scene.asked).toBe(1)
})

test.each<[what: string, answer: Partial<PeerAnswer> | Error]>([
  ["does not know it yet", { id: "p", clusterId: undefined }],
  ["does not answer", new Error("nobody listens")],
  ["is not the one that answers", { id: "q", clusterId: "LFSC0000000000000002" }],
])("a node whose primary %s asks again, every five seconds", async (_, answer) => {
  using scene = new Scene()
  scene.answer = answer
  expect(await scene.heartbeat()).toBeUndefined()
  scene.answer = { id: "p", clusterId: CLUSTER }
  scene.clock.advance(4999)
  expect([await scene.heartbeat(), scene.asked]).toEqual([undefined, 1])
  scene.clock.advance(1)
  expect([await scene.heartbeat(), scene.asked]).toEqual([CLUSTER, 2])
})

test("a node that knows its cluster asks nobody", async () => {
  using scene = new Scene()
  scene.clusterId.value = CLUSTER
  await scene.heartbeat()
  expect(scene.asked).toBe(0)
})
