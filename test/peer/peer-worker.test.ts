import { expect, test } from "bun:test"
import { PeerWorker } from "../../src/peer/peer-worker.ts"

test("PeerWorker.write() sends a part of an LTX file, and not the memory in which it lies", () => {
  const sent: { bytes: Uint8Array; given: readonly ArrayBuffer[] }[] = []
  const worker = {
    addEventListener() {},
    postMessage: ({ bytes }: { bytes: Uint8Array }, given: ArrayBuffer[]) => {
      sent.push({ bytes, given })
    },
  }
  const peer = new PeerWorker(
    worker as unknown as Worker,
    () => {},
    () => {},
  )
  const slab = Buffer.alloc(64 * 1024, 7)
  const part = slab.subarray(100, 400)
  peer.write(1, "a.db", part, true, () => {})
  const [message] = sent
  expect(message?.bytes).toEqual(new Uint8Array(300).fill(7))
  expect(message?.bytes.buffer.byteLength).toBe(300)
  expect(message?.given).toEqual([message?.bytes.buffer as ArrayBuffer])
  part.fill(8) // it is still its owner's
  expect(message?.bytes[0]).toBe(7)
})
