import { expect, test } from "bun:test"
import { disguiseHeader } from "../../src/mount/header-disguise.ts"

function header(): Uint8Array {
  const bytes = Uint8Array.from({ length: 512 }, (_, index) => index % 256)
  const view = new DataView(bytes.buffer)
  view.setUint32(24, 0xffffffff)
  view.setUint32(92, 0xffffffff)
  view.setUint32(40, 5)
  return bytes
}

test("disguiseHeader() adds to the change counter, its copy and the schema cookie, and to nothing else", () => {
  const bytes = header()
  disguiseHeader(bytes, 0, 3)
  const view = new DataView(bytes.buffer)
  expect([24, 92, 40].map((at) => view.getUint32(at))).toEqual([2, 2, 8])
  const differing = [...bytes.keys()].filter((at) => bytes[at] !== header()[at])
  const isCounter = (at: number) => [24, 40, 92].some((start) => at >= start && at < start + 4)
  expect(differing.every(isCounter)).toBe(true)
})

test("disguiseHeader() leaves what is not the header alone", () => {
  const bytes = header()
  disguiseHeader(bytes, 512, 3)
  expect(bytes).toEqual(header())
  const short = header().subarray(0, 99)
  disguiseHeader(short, 0, 3)
  expect(short).toEqual(header().subarray(0, 99))
})
