import { describe, expect, test } from "bun:test"
import type { FlockKind } from "../../src/fuse/filesystem.ts"
import { LkFlag, LockType, ReleaseFlag } from "../../src/fuse/flags.ts"
import { FlockTable } from "../../src/fuse/flock-table.ts"
import { Opcode } from "../../src/fuse/opcodes.ts"
import { InterruptIn, LkIn, ReleaseIn } from "../../src/fuse/requests.ts"
import { Errno } from "../../src/sys/errno.ts"
import { FakeKernel, record } from "../support/fake-kernel.ts"

const NODE = 5
const A = 1n
const B = 2n
const C = 3n
const D = 4n

/** A table whose waiters are named by their owner; `granted` fills as they get their locks. */
function table() {
  const locks = new FlockTable()
  const granted: string[] = []
  const waiting = new Map<bigint, { interrupt(): void }>()
  const set = (owner: bigint, kind: FlockKind, wait = false): string => {
    try {
      const deferred = locks.set(NODE, owner, kind, wait)
      if (deferred === undefined) return "ok"
      deferred.bind((errno) => granted.push(errno === 0 ? `${owner}` : `${owner} errno ${errno}`))
      waiting.set(owner, deferred)
      return "waits"
    } catch (error) {
      return (error as Error).message
    }
  }
  return { locks, granted, waiting, set }
}

describe("FlockTable", () => {
  test.each<[FlockKind, FlockKind, string]>([
    ["shared", "shared", "ok"],
    ["shared", "exclusive", "EAGAIN"],
    ["exclusive", "shared", "EAGAIN"],
    ["exclusive", "exclusive", "EAGAIN"],
    ["unlock", "exclusive", "ok"],
  ])("with a lock of another owner, %s then %s is %s", (held, asked, result) => {
    const { set } = table()
    expect(set(A, held)).toBe("ok")
    expect(set(B, asked)).toBe(result)
  })

  test.each<FlockKind>(["shared", "exclusive", "unlock"])("gives %s to its owner again", (kind) => {
    const { set } = table()
    set(A, kind)
    expect(set(A, kind)).toBe("ok")
    expect(set(A, kind, true)).toBe("ok")
  })

  test("changes a lock that nobody else has", () => {
    const { set } = table()
    set(A, "shared")
    expect(set(A, "exclusive")).toBe("ok")
    expect(set(B, "shared")).toBe("EAGAIN")
    expect(set(A, "shared")).toBe("ok")
    expect(set(B, "shared")).toBe("ok")
  })

  test("loses a lock that could not be changed, as Linux does", () => {
    const { set } = table()
    set(A, "shared")
    set(B, "shared")
    expect(set(A, "exclusive")).toBe("EAGAIN")
    expect(set(B, "exclusive")).toBe("ok")
  })

  test("keeps nodes apart", () => {
    const { locks, set } = table()
    set(A, "exclusive")
    expect(locks.set(NODE + 1, B, "exclusive", false)).toBeUndefined()
  })

  test("grants in the order of arrival when the lock goes", () => {
    const { granted, set } = table()
    set(A, "exclusive")
    expect(set(B, "exclusive", true)).toBe("waits")
    expect(set(C, "exclusive", true)).toBe("waits")
    set(A, "unlock")
    expect(granted).toEqual(["2"])
    set(B, "unlock")
    expect(granted).toEqual(["2", "3"])
    expect(set(D, "shared")).toBe("EAGAIN")
  })

  test("grants to all sharers at once, past an exclusive waiter", () => {
    const { granted, set } = table()
    set(A, "exclusive")
    for (const owner of [B, C]) set(owner, "shared", true)
    set(D, "exclusive", true)
    set(A, "unlock")
    expect(granted).toEqual(["2", "3"])
    set(B, "unlock")
    expect(granted).toEqual(["2", "3"])
    set(C, "unlock")
    expect(granted).toEqual(["2", "3", "4"])
  })

  test("grants shared waiters when the lock they wait for becomes shared", () => {
    const { granted, set } = table()
    set(A, "exclusive")
    set(B, "shared", true)
    set(A, "shared")
    expect(granted).toEqual(["2"])
  })

  test("gives way to a waiter when a holder waits to upgrade", () => {
    const { granted, set } = table()
    set(A, "shared")
    set(B, "shared")
    expect(set(A, "exclusive", true)).toBe("waits")
    expect(set(B, "exclusive", true)).toBe("ok")
    set(B, "unlock")
    expect(granted).toEqual(["1"])
  })

  test("frees the lock of an open file that is gone", () => {
    const { locks, granted, set } = table()
    set(A, "exclusive")
    set(B, "exclusive", true)
    locks.release(NODE, C)
    expect(granted).toEqual([])
    locks.release(NODE, A)
    expect(granted).toEqual(["2"])
  })

  test("forgets a waiter that was interrupted", () => {
    const { granted, waiting, set } = table()
    set(A, "exclusive")
    set(B, "exclusive", true)
    set(C, "exclusive", true)
    waiting.get(B)?.interrupt()
    expect(granted).toEqual(["2 errno 4"])
    set(A, "unlock")
    expect(granted).toEqual(["2 errno 4", "3"])
    set(C, "unlock")
    expect(set(D, "exclusive")).toBe("ok")
  })
})

test("flock(2) works from request to reply", () => {
  const locks = new FlockTable()
  const kernel = FakeKernel.started({
    flock: (nodeId, _handle, owner, kind, wait) => locks.set(nodeId, owner, kind, wait),
    release: (nodeId, _handle, owner) => {
      if (owner !== undefined) locks.release(nodeId, owner)
    },
  })
  const lock = (ownerLo: number, type: number, unique: number) => ({
    nodeId: NODE,
    unique,
    record: record(LkIn, { ownerLo, type, flags: LkFlag.FLOCK }),
  })
  expect(kernel.ask(Opcode.SETLK, lock(1, LockType.WRLCK, 10)).error).toBe(0)
  expect(kernel.ask(Opcode.SETLK, lock(2, LockType.WRLCK, 12)).error).toBe(-Errno.EAGAIN)
  expect(kernel.send(Opcode.SETLKW, lock(2, LockType.WRLCK, 14))).toBeUndefined()
  expect(kernel.send(Opcode.SETLKW, lock(3, LockType.WRLCK, 16))).toBeUndefined()
  kernel.send(Opcode.INTERRUPT, { record: record(InterruptIn, { uniqueLo: 14 }) })
  const releaseFlags = ReleaseFlag.FLOCK_UNLOCK
  kernel.ask(Opcode.RELEASE, {
    nodeId: NODE,
    record: record(ReleaseIn, { ownerLo: 1, releaseFlags }),
  })
  expect(kernel.later).toMatchObject([
    { unique: 14, error: -Errno.EINTR },
    { unique: 16, error: 0 },
  ])
})
