import { expect, test } from "bun:test"
import type { Message } from "../../src/lib/port.ts"
import { type PeerListener, PeerWorker } from "../../src/peer/peer-worker.ts"

const NOBODY: PeerListener = {
  changed() {},
  unmade() {},
  refused() {},
  segmentMissing() {},
  logged() {},
  replace: () => Promise.reject(new Error("nothing is to be replaced")),
}

test("PeerWorker.write() sends a part of an LTX file, and not the memory in which it lies", () => {
  const sent: Message[] = []
  const worker = {
    addEventListener() {},
    postMessage: (message: Message) => void sent.push(message),
  }
  const peer = new PeerWorker(worker as unknown as Worker, NOBODY, () => {})
  const part = Buffer.alloc(64 * 1024, 7).subarray(100, 400)
  peer.write(1, "a.db", part, true, () => {})
  const bytes = sent[0]?.find((given) => given instanceof Uint8Array)
  expect(bytes).toEqual(new Uint8Array(300).fill(7))
  expect(bytes?.buffer.byteLength).toBe(300)
})
