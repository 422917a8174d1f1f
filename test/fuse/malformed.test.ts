/**
 * Whatever bytes a request has, handle() returns, and what it returns is a reply that the kernel
 * takes: to this request, with a length that is its own and an errno that exists.
 */
import { describe, expect, test } from "bun:test"
import type { FileSystem } from "../../src/fuse/filesystem.ts"
import { Opcode } from "../../src/fuse/opcodes.ts"
import { OPERATIONS } from "../../src/fuse/operations.ts"
import { OutHeader } from "../../src/fuse/replies.ts"
import { InHeader } from "../../src/fuse/requests.ts"
import { entry } from "../support/fake-filesystem.ts"
import { FakeKernel } from "../support/fake-kernel.ts"
import { testRandom } from "../support/random.ts"

const random = testRandom()
const OPCODES = Object.values(Opcode)

/** Checks what it is given, and returns something that depends on it. */
const suspicious: Partial<FileSystem> = {
  lookup: (_parentId, name) => (isName(name) ? entry() : undefined),
  create: (_parentId, name) => {
    expect(isName(name)).toBe(true)
    return entry()
  },
  rename: (_parentId, name, _newParentId, newName) => {
    expect([isName(name), isName(newName)]).toEqual([true, true])
  },
  read: (_nodeId, _handle, offset, size, into) => {
    expect(Number.isSafeInteger(offset + size)).toBe(true)
    expect(into.bytes.length).toBeGreaterThanOrEqual(size)
    return size
  },
  write: (_nodeId, _handle, offset, size, from) => {
    expect(Number.isSafeInteger(offset + size)).toBe(true)
    expect(from.bytes.length).toBeGreaterThanOrEqual(size)
    return size
  },
  list: () => [{ name: "app.db", nodeId: 5, kind: "file" }],
}

function isName(name: string): boolean {
  return name.length > 0 && !/[/\0]/.test(name) && name !== "." && name !== ".."
}

function isSilent(opcode: number): boolean {
  return OPERATIONS[opcode]?.isSilent === true
}

/** Sends the bytes and checks the reply. */
function provoke(kernel: FakeKernel, bytes: Uint8Array): number {
  kernel.request.bytes.set(bytes)
  const size = kernel.server.handle(bytes.length)
  const header = InHeader.view(kernel.request.bytes)
  if (bytes.length < InHeader.size || isSilent(header.opcode)) {
    expect(size).toBe(0)
    return 0
  }
  const reply = OutHeader.view(kernel.reply.bytes)
  expect(size).toBeGreaterThanOrEqual(OutHeader.size)
  expect(reply.len).toBe(size)
  expect(reply.error <= 0 && reply.error > -512).toBe(true)
  if (reply.error < 0) expect(size).toBe(OutHeader.size)
  expect([reply.uniqueLo, reply.uniqueHi]).toEqual([header.uniqueLo, header.uniqueHi])
  return reply.error
}

describe("handle()", () => {
  test.each(Object.entries(Opcode))("takes a %s of every length", (_name, opcode) => {
    const kernel = FakeKernel.started(suspicious)
    for (const fill of [0, 1, 0x61, 0xff]) {
      for (let length = 0; length <= 160; length++) {
        const bytes = kernel.encode(opcode, { data: new Uint8Array(160).fill(fill) })
        const truncated = bytes.slice(0, length)
        const error = provoke(kernel, truncated)
        if (length >= InHeader.size && !isSilent(opcode)) expect(error).toBeLessThan(0) // not its `len`

        if (length < InHeader.size) continue
        new DataView(truncated.buffer).setUint32(0, length, true)
        provoke(kernel, truncated)
      }
    }
    expect(kernel.faults).toEqual([])
  })

  test("takes anything at all", () => {
    const trace = (line: string) => expect(line).toMatch(/^[rt]x /)
    const kernel = FakeKernel.started(suspicious, { trace })
    for (let round = 0; round < 20_000; round++) {
      const bytes = random.bytes(InHeader.size + random.below(140))
      const mask = random.pick([0xff, 0x0f]) // small numbers get further
      for (let index = 0; index < bytes.length; index++) {
        bytes[index] = random.below(10) < 4 ? 0 : (bytes[index] as number) & mask
      }
      const view = new DataView(bytes.buffer)
      if (random.below(10) > 0) view.setUint32(0, bytes.length, true)
      view.setUint32(4, random.pick(OPCODES), true)
      provoke(kernel, bytes)
    }
    expect(kernel.faults.map(String)).toEqual([])
  })

  test("does not read what an earlier request has left behind", () => {
    const kernel = FakeKernel.started({ lookup: () => entry() })
    kernel.ask(Opcode.LOOKUP, { names: ["a-long-name"] })
    const bytes = kernel.encode(Opcode.LOOKUP, { data: new Uint8Array(Buffer.from("a-long")) })
    expect(provoke(kernel, bytes)).toBeLessThan(0)
  })
})
