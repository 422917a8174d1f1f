import { describe, expect, test } from "bun:test"
import { readFileSync } from "node:fs"
import { Overlay } from "../../src/capture/overlay.ts"
import { allocate } from "../../src/sys/memory.ts"
import { testRandom } from "../support/random.ts"

const random = testRandom()
const region = allocate(1 << 20)

function write(overlay: Overlay, offset: number, size: number, fill: number, fileSize = 0) {
  region.bytes.fill(fill, 0, size)
  return overlay.write(offset, size, region, 512, fileSize)
}

describe("Overlay", () => {
  test("Overlay is empty until something is written, and again when it is cleared", () => {
    const overlay = new Overlay()
    expect([overlay.isEmpty, overlay.size]).toEqual([true, undefined])
    write(overlay, 512, 512, 7, 512)
    expect([overlay.isEmpty, overlay.size]).toEqual([false, 1024])
    overlay.clear()
    expect([overlay.isEmpty, overlay.size, overlay.page(2)]).toEqual([true, undefined, undefined])
  })

  test.each([
    ["in the middle of a page", 100, 512, 512],
    ["of half a page", 0, 256, 512],
    ["without a page size", 0, 512, 0],
    ["of another page size", 0, 1024, 1024],
  ])("Overlay does not take a write %s", (_, offset, size, pageSize) => {
    const overlay = new Overlay()
    if (pageSize === 1024) write(overlay, 0, 512, 1)
    expect(overlay.write(offset, size, region, pageSize, 0)).toBe(false)
    overlay.clear()
  })

  test("Overlay takes no more than there is room for, and gives the room back", () => {
    const overlay = new Overlay()
    let taken = 0
    while (overlay.write(taken * 65536, 65536, region, 65536, 0)) taken += 1
    expect(taken * 65536).toBe(64 * 1024 * 1024)
    const other = new Overlay()
    expect(write(other, 0, 512, 1)).toBe(false)
    expect(overlay.write(0, 65536, region, 65536, 0)).toBe(true) // a page that it has already
    overlay.clear()
    expect(write(other, 0, 512, 1)).toBe(true)
    other.clear()
  })

  test("Overlay holds no memory for long after a large transaction", () => {
    const overlay = new Overlay()
    const fill = (byte: number) => {
      region.bytes.fill(byte)
      for (let taken = 0; taken < 60; taken++) overlay.write(taken << 20, 1 << 20, region, 65536, 0)
    }
    fill(9)
    const [full, size] = [residentSize(), overlay.size]
    overlay.clear()
    expect(size).toBe(60 << 20)
    expect(full - residentSize()).toBeGreaterThan(40 << 20)
    // What it takes next has nothing of that in it.
    fill(8)
    const expected = Buffer.alloc(65536, 8)
    const [other] = [...overlay.pages()].filter(([, { bytes }]) => !expected.equals(bytes))
    expect(other).toBeUndefined()
    overlay.clear()
  })

  test("Overlay shows a file as the transaction has written it", () => {
    for (let round = 0; round < 30; round++) {
      const overlay = new Overlay()
      const file = random.bytes(512 * random.below(8))
      let model: Uint8Array = file.slice()
      for (let step = 0; step < 20; step++) {
        if (random.below(6) === 0) {
          const size = 512 * random.below(10)
          overlay.truncate(size)
          const cut = new Uint8Array(size)
          cut.set(model.subarray(0, size))
          model = cut
        } else {
          const count = random.between(1, 3)
          // As SQLite does, only at the end or before it: never past a hole.
          const offset = 512 * random.below(model.length / 512 + 1)
          const bytes = random.bytes(512 * count)
          region.bytes.set(bytes)
          expect(overlay.write(offset, bytes.length, region, 512, file.length)).toBe(true)
          const grown = new Uint8Array(Math.max(model.length, offset + bytes.length))
          grown.set(model)
          grown.set(bytes, offset)
          model = grown
        }
        expect(overlay.size).toBe(model.length)
        const offset = random.below(model.length + 1)
        const size = random.below(model.length - offset + 1)
        const read = new Uint8Array(size)
        read.set(file.subarray(offset, offset + size))
        overlay.patch(read, offset, size)
        // What a truncation has cut off reads as zeros only when it was written again.
        const known = new Uint8Array(size)
        known.set(model.subarray(offset, offset + size))
        for (const [pgno, page] of overlay.pages()) {
          expect(page.bytes).toEqual(model.subarray((pgno - 1) * 512, pgno * 512))
          const start = (pgno - 1) * 512
          const from = Math.max(start, offset) - offset
          const to = Math.min(start + 512, offset + size) - offset
          if (from < to) expect(read.subarray(from, to)).toEqual(known.subarray(from, to))
        }
      }
      overlay.clear()
    }
  })
})

/** Bytes of this process that are of no file. */
function residentSize(): number {
  return Number(/^RssAnon:\s*(\d+)/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1]) * 1024
}
