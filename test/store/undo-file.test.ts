import { expect, test } from "bun:test"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { BackedFile } from "../../src/store/backed-file.ts"
import { readUndo, UndoFile } from "../../src/store/undo-file.ts"
import type { Region } from "../../src/sys/memory.ts"
import { withByte } from "../support/bytes.ts"
import { bytesSource } from "../support/bytes-source.ts"
import { TemporaryDirectory } from "../support/temporary-directory.ts"

const POS = { txid: 5n, checksum: 0x8123456789abcdefn }
const BEFORE = { pos: POS, pageSize: 512, commit: 9 }
const fill = (pgno: number, into: Region) => void into.bytes.fill(pgno, 0, 512)

/** The file after pages 3 and 4, and page 9 in another batch. */
function sample(): Uint8Array {
  using directory = new TemporaryDirectory()
  const path = join(directory.path, "undo")
  const file = new UndoFile(new BackedFile("undo", path))
  file.save(BEFORE, [3, 4], fill)
  file.save(BEFORE, [9], fill)
  const bytes = new Uint8Array(readFileSync(path))
  file.end()
  return bytes
}

function pgnosOf(bytes: Uint8Array, pos = POS): number[] {
  const pgnos: number[] = []
  for (const { pgno, page } of readUndo(bytesSource(bytes), pos)) {
    expect(page.every((byte) => byte === pgno)).toBe(true)
    pgnos.push(pgno)
  }
  return pgnos
}

test("readUndo() reads what was saved at its position, and nothing at another", () => {
  const bytes = sample()
  expect(pgnosOf(bytes)).toEqual([3, 4, 9])
  expect(pgnosOf(bytes, { ...POS, txid: 6n })).toEqual([])
  expect(pgnosOf(bytes, { ...POS, checksum: POS.checksum + 1n })).toEqual([])
  expect(pgnosOf(new Uint8Array(0))).toEqual([])
})

test("readUndo() ends at the first record that is not whole, wherever the file ends", () => {
  const bytes = sample()
  const record = 16 + 512
  for (let size = 0; size < bytes.length; size++) {
    const count = Math.max(0, Math.floor((size - 48) / record))
    expect(pgnosOf(bytes.subarray(0, size))).toEqual([3, 4, 9].slice(0, count))
  }
})

test("readUndo() takes no page whose bytes are others, and none of another transaction", () => {
  const bytes = sample()
  for (let at = 0; at < bytes.length; at += 3) {
    const isPadding = at >= 48 && (at - 48) % 528 >= 4 && (at - 48) % 528 < 8
    if (isPadding) continue
    const count = Math.max(0, Math.floor((at - 48) / 528))
    const found = pgnosOf(withByte(bytes, at, ((bytes[at] as number) + 1) % 256))
    expect(found).toEqual([3, 4, 9].slice(0, count))
  }
  const other = sample() // the same pages at the same position
  expect(pgnosOf(Buffer.concat([other.subarray(0, 48), bytes.subarray(48)]))).toEqual([])
})
