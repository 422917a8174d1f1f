import { expect, test } from "bun:test"
import type { IncomingMessage, ServerResponse } from "node:http"
import { SyncReplicas } from "../../src/cluster/sync-replicas.ts"
import { AcknowledgedStreams } from "../../src/http/streams/acknowledge.ts"
import type { ReplicaStream } from "../../src/http/streams/replica-stream.ts"
import { encodeFrame } from "../../src/wire/frame.ts"
import { FakeClock } from "../support/fake-clock.ts"

const FRAME = encodeFrame({
  type: "acknowledged",
  pos: { txid: 1n, checksum: 1n },
  database: "a.db",
})
const FRAME_COUNT = 500 // of a part

test("Acknowledgements without end leave turns to everything else", async () => {
  const clock = new FakeClock()
  const sync = new SyncReplicas({
    options: { replicas: 1, mode: "strict", timeoutMs: 5000 },
    ...{ clock, position: () => undefined, isHeld: () => true, changed() {}, onStatus() {} },
  })
  sync.begin()
  const streams = new AcknowledgedStreams(sync, clock)
  const stream = {
    replica: { id: "A", name: "a" },
    ended: new Promise(() => {}),
    isWanted: () => true,
  }
  const end = streams.begin("token", stream as unknown as ReplicaStream)
  const part = Buffer.concat(Array.from({ length: FRAME_COUNT }, () => FRAME))
  let isOver = false
  let frameCount = 0
  async function* flood() {
    for (; !isOver && frameCount < 200_000; frameCount += FRAME_COUNT) yield part
  }
  const response = { end() {} } as unknown as ServerResponse
  const url = new URL("http://a/acknowledge?stream=token")
  const handled = streams.handle(flood() as unknown as IncomingMessage, response, url)
  const turns = async (count: number) => {
    for (let turn = 0; turn < count; turn++) await new Promise((done) => setTimeout(done, 0))
  }
  await turns(5)
  expect(frameCount).toBeLessThan(3 * 1024)
  const firstCount = frameCount
  for (let ms = 0; ms < 1000; ms++) {
    clock.advance(1)
    await turns(1)
  }
  expect(frameCount).toBeGreaterThan(firstCount + 10_000)
  expect(frameCount).toBeLessThan(50_000)
  isOver = true
  for (let turn = 0; turn < 100; turn++) {
    clock.advance(100)
    await turns(1)
  }
  await handled
  end()
})
