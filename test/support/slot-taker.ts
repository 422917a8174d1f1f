/**
 * A Worker that takes slots of Positions and frees them again as fast as it can. The state of each is made of a number,
 * and so is its name.
 */
import { Positions } from "../../src/store/positions.ts"
import { stateOf } from "./position-writer.ts"

declare const self: Worker

const AT_ONCE = 8

export function nameOf(n: number): string {
  return `database ${n}`
}

if (!Bun.isMainThread) {
  self.onmessage = ({ data }: MessageEvent<{ memory: SharedArrayBuffer; count: number }>) => {
    const positions = new Positions(data.memory)
    const taken: number[] = []
    for (let n = 1; n <= data.count; n++) {
      const slot = positions.add(nameOf(n))
      positions.write(slot, stateOf(n), undefined)
      taken.push(slot)
      if (taken.length > AT_ONCE) positions.free(taken.shift() as number)
    }
    postMessage("done")
  }
}
