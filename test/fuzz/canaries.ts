/** Parsers with mistakes that a fuzzer has to find, or it is none. */
import { refusesAsRange, type Target, textSeeds } from "./target.ts"

const SEEDS = textSeeds("RIFF\0\0\0\x08abcdefgh")

/** Takes a record of a text and its size, like "RIFF", u32 8, and 8 letters. */
function canary(name: string, mistake: (input: Uint8Array, size: number) => void): Target {
  return {
    name,
    seeds: () => SEEDS,
    run(input) {
      if (input.length < 8) throw new RangeError("Cannot decode canary: it is too short")
      const size = new DataView(input.buffer, input.byteOffset).getUint32(4)
      mistake(input, size)
    },
    refuses: refusesAsRange,
  }
}

export const CANARIES: readonly Target[] = [
  canary("canary-error", (input, size) => {
    const last = [...input][8 + size - 1]
    if (last === undefined) (undefined as unknown as Uint8Array).at(0)
  }),
  canary("canary-memory", (_input, size) => {
    new Uint8Array(Math.min(size, 2 ** 30))
  }),
  canary("canary-hang", (_input, size) => {
    for (let at = 0; at < 12; at += size);
  }),
]
