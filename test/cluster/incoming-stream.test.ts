import { expect, test } from "bun:test"
import type { IncomingMessage } from "node:http"
import { IncomingStream } from "../../src/cluster/replica/incoming-stream.ts"
import { encodeFrame } from "../../src/wire/frame.ts"
import { FakeClock } from "../support/fake-clock.ts"

const POS = { txid: 7n, checksum: 1n << 63n }
const SINK = { write: () => {}, applied: () => Promise.resolve(), abort: () => {} }

test("IncomingStream takes a list of all databases soon, and no more of it than is cheap", async () => {
  const clock = new FakeClock()
  let count = 0
  const stream = new IncomingStream(
    { clock, sink: SINK, onListed: () => (count += 1) },
    undefined,
    { onApplied: () => {}, onReady: () => {} },
  )
  const bytes = Buffer.concat(
    Array.from({ length: 100_000 }, (_, number) =>
      encodeFrame({
        type: "listed",
        database: `${number % 16_384}.db`,
        pos: POS,
        state: "present",
      }),
    ),
  )
  async function* parts() {
    for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536)
  }
  const reading = stream.read(parts() as unknown as IncomingMessage).catch((error) => error)
  const run = async (durationMs: number) => {
    for (let ms = 0; ms < durationMs; ms += 10) {
      for (let turn = 0; turn < 200; turn++) {
        await Promise.resolve()
        clock.advance(0)
      }
      clock.advance(10)
    }
  }
  await run(600)
  expect(count).toBeGreaterThanOrEqual(16_384)
  expect(count).toBeLessThan(40_000)
  await run(4000)
  expect(count).toBe(100_000)
  await reading
})
