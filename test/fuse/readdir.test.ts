import { describe, expect, test } from "bun:test"
import { DirectoryOffsets } from "../../src/fuse/directory-offsets.ts"
import type { DirectoryEntry } from "../../src/fuse/filesystem.ts"
import { Opcode } from "../../src/fuse/opcodes.ts"
import { Dirent, OpenOut } from "../../src/fuse/replies.ts"
import { OpenIn, ReadIn, ReleaseIn } from "../../src/fuse/requests.ts"
import { Errno } from "../../src/sys/errno.ts"
import {
  FakeKernel,
  fieldsOf,
  record,
  WITHOUT_OPENLESS_DIRECTORIES,
} from "../support/fake-kernel.ts"

const file = (name: string): DirectoryEntry => ({ name, nodeId: name.length, kind: "file" })

interface Listed {
  name: string
  ino: number
  offset: number
  type: number
}

function parse(payload: Uint8Array): Listed[] {
  const entries: Listed[] = []
  if (payload.length === 0) return entries
  const dirent = Dirent.view(payload)
  for (let at = 0; at < payload.length; ) {
    const { ino, offset, nameLength, type } = dirent.at(at)
    const start = at + Dirent.size
    const end = start + nameLength
    const next = Math.ceil(end / 8) * 8
    expect(payload.subarray(end, next).every((byte) => byte === 0)).toBe(true)
    entries.push({ name: Buffer.from(payload.subarray(start, end)).toString(), ino, offset, type })
    at = next
  }
  return entries
}

function read(kernel: FakeKernel, offset: number, size = 4096): Listed[] {
  const { error, payload } = kernel.ask(Opcode.READDIR, {
    record: record(ReadIn, { offset, size }),
  })
  expect(error).toBe(0)
  expect(payload.length).toBeLessThanOrEqual(size)
  return parse(payload)
}

/** Reads the whole directory in pieces of `size`; `between` runs after each. */
function readAll(kernel: FakeKernel, size: number, between: () => void = () => {}): string[] {
  const names: string[] = []
  for (let offset = 0; ; ) {
    const piece = read(kernel, offset, size)
    const last = piece.at(-1)
    if (last === undefined) return names
    names.push(...piece.map(({ name }) => name))
    offset = last.offset
    between()
  }
}

describe("READDIR", () => {
  test("lists the dots and the entries", () => {
    const kernel = FakeKernel.started({
      list: () => [file("größe.db"), { name: "dir", nodeId: 9, kind: "directory" }],
    })
    expect(read(kernel, 0)).toEqual([
      { name: ".", ino: 1, offset: 1, type: 4 },
      { name: "..", ino: 1, offset: 2, type: 4 },
      { name: "größe.db", ino: 8, offset: 3, type: 8 },
      { name: "dir", ino: 9, offset: 4, type: 4 },
    ])
    expect(read(kernel, 4)).toEqual([])
  })

  test.each([32, 40, 48, 100, 4096])("is the same in pieces of %d bytes", (size) => {
    const names = Array.from({ length: 50 }, (_, index) => `db${index}`)
    const kernel = FakeKernel.started({ list: () => names.map(file) })
    expect(readAll(kernel, size)).toEqual([".", "..", ...names])
  })

  test("is EINVAL when not even one entry fits, since nothing would mean the end", () => {
    const kernel = FakeKernel.started({ list: () => [file("a-name-of-more-than-eight")] })
    const parts = { record: record(ReadIn, { offset: 2, size: 40 }) }
    expect(kernel.ask(Opcode.READDIR, parts).error).toBe(-Errno.EINVAL)
  })

  test("misses nothing and repeats nothing while entries come and go", () => {
    let entries = Array.from({ length: 40 }, (_, index) => `stable${index}`)
    let made = 0
    const kernel = FakeKernel.started({ list: () => entries.toReversed().map(file) })
    for (const size of [40, 64, 96, 256]) {
      const seen = readAll(kernel, size, () => {
        if (made % 3 === 2) entries = entries.filter((name) => name.startsWith("stable"))
        if (made++ < 200) entries.unshift(`passing${made}`)
      })
      const stable = seen.filter((name) => name.startsWith("stable"))
      expect(stable.length).toBe(40)
      expect(new Set(seen).size).toBe(seen.length)
    }
  })

  test("serves many readers at once, each where it is", () => {
    const names = ["a", "b", "c", "d"]
    const kernel = FakeKernel.started({ list: () => names.map(file) })
    const first = read(kernel, 0, 96).map(({ name }) => name)
    names.splice(0, 1)
    names.push("e")
    const second = readAll(kernel, 4096)
    expect(first).toEqual([".", "..", "a"])
    expect(second).toEqual([".", "..", "b", "c", "d", "e"])
    expect(read(kernel, 3).map(({ name }) => name)).toEqual(["b", "c", "d", "e"])
  })
})

describe("DirectoryOffsets", () => {
  const names = (offsets: DirectoryOffsets, nodeId: number, listed: string[], after: number) =>
    offsets.after(nodeId, listed.map(file), after).map((placed) => placed.entry.name)

  test("keeps a number as long as its name is there, and never gives it to another", () => {
    const offsets = new DirectoryOffsets()
    expect(names(offsets, 1, ["a", "b"], 2)).toEqual(["a", "b"])
    expect(names(offsets, 1, ["b"], 2)).toEqual(["b"])
    expect(names(offsets, 1, ["c", "b", "a"], 4)).toEqual(["c", "a"])
  })

  test("keeps directories apart", () => {
    const offsets = new DirectoryOffsets()
    names(offsets, 1, ["a", "b"], 0)
    expect(offsets.after(9, [file("b")], 1)).toEqual([
      { offset: 2, entry: { name: "..", nodeId: 1, kind: "directory" } },
      { offset: 3, entry: file("b") },
    ])
  })
})

describe("OPENDIR", () => {
  const parts = { record: record(OpenIn, {}) }

  test("is not needed by a kernel that can do without", () => {
    expect(FakeKernel.started().ask(Opcode.OPENDIR, parts).error).toBe(-Errno.ENOSYS)
  })

  test("succeeds when the kernel does not offer that", () => {
    const kernel = FakeKernel.started({}, {}, WITHOUT_OPENLESS_DIRECTORIES)
    const { error, payload } = kernel.ask(Opcode.OPENDIR, parts)
    expect(error).toBe(0)
    expect(fieldsOf(OpenOut, payload)).toEqual({ handle: 0, openFlags: 0, backingId: 0 })
    expect(kernel.ask(Opcode.RELEASEDIR, { record: record(ReleaseIn, {}) }).error).toBe(0)
  })
})
