import { afterEach, beforeEach, describe, expect, test } from "bun:test"
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { SnapshotImage } from "../../src/peer/receive/snapshot-image.ts"
import { ltxHeader } from "../support/ltx-file.ts"
import { testRandom } from "../support/random.ts"

const random = testRandom()
let directory: string

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "litefs-image-"))
})
afterEach(() => rmSync(directory, { recursive: true }))

describe("SnapshotImage", () => {
  test.each([512, 4096, 65536])(
    "SnapshotImage writes the pages of %p bytes of several that arrive at a time, and leaves out a lock page",
    (pageSize) => {
      const count = 40
      const images = [1, 2, 3].map((number) => {
        const path = join(directory, `next-${number}`)
        const content = random.bytes(count * pageSize)
        content.fill(0, 6 * pageSize, 7 * pageSize) // one that never comes
        const image = new SnapshotImage(path, ltxHeader({ pageSize, commit: count }))
        return { path, content, image, next: 1 }
      })
      const open = [...images]
      while (open.length > 0) {
        const each = random.pick(open)
        for (let run = random.between(1, 10); run > 0 && each.next <= count; run--) {
          const pgno = each.next++
          const data = each.content.subarray((pgno - 1) * pageSize, pgno * pageSize)
          if (pgno !== 7) each.image.page(pgno, data)
        }
        if (each.next <= count) continue
        each.image.finish()
        open.splice(open.indexOf(each), 1)
      }
      for (const { path, content } of images) {
        expect(Buffer.compare(readFileSync(path), content)).toBe(0)
      }
    },
  )

  test("SnapshotImage leaves nothing when it is discarded, before or after its end", () => {
    for (const isFinished of [false, true]) {
      const path = join(directory, "next")
      const image = new SnapshotImage(path, ltxHeader({ pageSize: 512, commit: 2 }))
      image.page(1, random.bytes(512))
      if (isFinished) image.finish()
      image.discard()
      expect(existsSync(path)).toBe(false)
    }
  })

  test("SnapshotImage takes no room for what a header only says", () => {
    const path = join(directory, "next")
    const image = new SnapshotImage(path, ltxHeader({ pageSize: 65536, commit: 16384 })) // 1 GiB
    image.page(1, random.bytes(65536))
    expect(statSync(path).blocks * 512).toBeLessThan(128 * 1024 * 1024)
    image.discard()
    const impossible = ltxHeader({ pageSize: 65536, commit: 2 ** 31 })
    expect(() => new SnapshotImage(path, impossible)).toThrow(
      /it needs 128\.0 TiB, .* are free in ".*": make room there/,
    )
    expect(existsSync(path)).toBe(false)
  })
})
