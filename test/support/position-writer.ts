/** A Worker that writes a slot of Positions as fast as it can. Every state it writes is made of one number. */
import { type DatabaseState, Positions, type Slot } from "../../src/store/positions.ts"

export function stateOf(n: number): DatabaseState {
  const checksum = (BigInt(n) << 32n) | BigInt(n)
  return { pos: { txid: checksum, checksum }, timestampMs: n * 4096, pageSize: n, commit: n }
}

declare const self: Worker

self.onmessage = ({
  data,
}: MessageEvent<{ memory: SharedArrayBuffer; slot: Slot; last: number }>) => {
  const positions = new Positions(data.memory)
  for (let n = 1; n <= data.last; n++) {
    const state = stateOf(n)
    positions.write(data.slot, state, n % 2 === 0 ? state.pos : undefined)
    if (n % 3 === 0) positions.markStored(data.slot)
  }
  positions.add("added by the other thread")
  postMessage("done")
}
