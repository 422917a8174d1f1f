/** Requests of the kernel, and what a client writes into a WAL through it. */
import type { FileSystem } from "../../src/fuse/filesystem.ts"
import { Opcode } from "../../src/fuse/opcodes.ts"
import { OPERATIONS } from "../../src/fuse/operations.ts"
import { OutHeader } from "../../src/fuse/replies.ts"
import { InHeader } from "../../src/fuse/requests.ts"
import { entry } from "../support/fake-filesystem.ts"
import { FakeKernel } from "../support/fake-kernel.ts"
import { TrackedWal } from "../support/tracked-wal.ts"
import { chainWal, firstPage, walFile } from "./sqlite-targets.ts"
import { refusesWith, type Target } from "./target.ts"

const OPCODES = Object.values(Opcode)

/** Checks what it is given. */
const suspicious: Partial<FileSystem> = {
  lookup: (_parentId, name) => (isName(name) ? entry() : undefined),
  create: (_parentId, name) => {
    if (!isName(name)) throw new Error(`"${name}" is no name`)
    return entry()
  },
  rename: (_parentId, name, _newParentId, newName) => {
    if (!isName(name) || !isName(newName)) throw new Error(`"${name}" or "${newName}" is no name`)
  },
  read: (_nodeId, _handle, offset, size, into) => checkRange(offset, size, into.bytes.length),
  write: (_nodeId, _handle, offset, size, from) => checkRange(offset, size, from.bytes.length),
  list: () => [{ name: "app.db", nodeId: 5, kind: "file" }],
}

function isName(name: string): boolean {
  return name.length > 0 && !/[/\0]/.test(name) && name !== "." && name !== ".."
}

function checkRange(offset: number, size: number, room: number): number {
  if (Number.isSafeInteger(offset + size) && size <= room) return size
  throw new Error(`${size} bytes at ${offset}, there is room for ${room}`)
}

let kernel: FakeKernel | undefined

/** There is a reply to each that is to have one, and it is one that the kernel takes. */
const requests: Target = {
  name: "fuse-request",
  seeds: () =>
    OPCODES.flatMap((opcode) => {
      const encoder = FakeKernel.started()
      const record = new Uint8Array(64)
      record[0] = 1
      return [
        encoder.encode(opcode, { names: ["app.db", "b.db-wal"] }),
        encoder.encode(opcode, { record, data: new Uint8Array(100).fill(7) }),
      ]
    }),
  words: ["app.db\0", "..\0", "/", "\0", "\u{fffd}\0", "x".repeat(300)],
  run(input) {
    kernel ??= FakeKernel.started(suspicious)
    kernel.faults.length = 0
    kernel.request.bytes.set(input)
    const size = kernel.server.handle(input.length)
    if (kernel.faults.length > 0) throw kernel.faults[0]
    const header = InHeader.view(kernel.request.bytes)
    if (input.length < InHeader.size || OPERATIONS[header.opcode]?.isSilent === true) {
      if (size !== 0) throw new Error("there is a reply to what has none")
      return
    }
    const reply = OutHeader.view(kernel.reply.bytes)
    const isRight =
      size >= OutHeader.size &&
      reply.len === size &&
      (reply.error < 0 ? reply.error > -512 && size === OutHeader.size : reply.error === 0) &&
      reply.uniqueLo === header.uniqueLo &&
      reply.uniqueHi === header.uniqueHi
    if (!isRight) throw new Error(`a reply of ${size} bytes, ${reply.len}, errno ${reply.error}`)
  },
  repair(input) {
    if (input.length >= 4)
      new DataView(input.buffer, input.byteOffset).setUint32(0, input.length, true)
  },
}

const PAGE_SIZE = 512

/** What is captured of a WAL is what SQLite would find in it, whatever is written, and how. */
const capture: Target = {
  name: "wal-capture",
  seeds: () => [walFile(PAGE_SIZE)],
  run(input, random) {
    if (largestClaim(input) > PAGE_COUNT_MAX) return
    const content = new Uint8Array(2 * PAGE_SIZE).map((_, at) => 1 + Math.floor(at / PAGE_SIZE))
    content.set(firstPage(1, PAGE_SIZE).data)
    using wal = new TrackedWal(content, PAGE_SIZE)
    let offset = 0
    // The kernel cuts at pages, so a header comes whole.
    const pieces = [input.subarray(0, 32), ...random.split(input.subarray(32))]
    for (const bytes of pieces) {
      wal.put({ offset, bytes: bytes.slice() })
      offset += bytes.length
    }
    wal.check()
  },
  refuses: refusesWith("position-mismatch", "damaged", "unsupported"),
  repair: chainWal,
}

/** What a frame says of the size of the database costs that much, so only moderate claims are tried here. */
const PAGE_COUNT_MAX = 5000

function largestClaim(input: Uint8Array): number {
  const view = new DataView(input.buffer, input.byteOffset, input.length)
  let largest = 0
  for (let at = 32; at + 8 <= input.length; at += 24 + PAGE_SIZE) {
    largest = Math.max(largest, view.getUint32(at + 4))
  }
  return largest
}

export const FUSE_TARGETS: readonly Target[] = [requests, capture]
