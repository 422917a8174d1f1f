import { describe, expect, test } from "bun:test"
import type { FlockKind, PosixLock, PosixLockRequest } from "../../src/fuse/filesystem.ts"
import { LkFlag, LockType } from "../../src/fuse/flags.ts"
import { OFFSET_MAX, without } from "../../src/fuse/lock-range.ts"
import { Opcode } from "../../src/fuse/opcodes.ts"
import { PosixLockTable } from "../../src/fuse/posix-lock-table.ts"
import { LkOut } from "../../src/fuse/replies.ts"
import { FlushIn, InterruptIn, LkIn, ReleaseIn } from "../../src/fuse/requests.ts"
import { Errno } from "../../src/sys/errno.ts"
import { FakeKernel, fieldsOf, record } from "../support/fake-kernel.ts"
import { testRandom } from "../support/random.ts"

const NODE = 5
const A = 1n
const B = 2n
const C = 3n

const random = testRandom()

/** A table whose waiters are named by their owner; `granted` fills as they get their locks. */
function table() {
  const lost: string[] = []
  const locks = new PosixLockTable((nodeId, { owner, start, end }) =>
    lost.push(`n${nodeId} ${owner} [${start}..${end}]`),
  )
  const granted: string[] = []
  const waiting = new Map<bigint, { interrupt(): void }>()
  const request = (
    owner: bigint,
    kind: FlockKind,
    start: number | bigint,
    end: number | bigint,
    handle = Number(owner),
  ): PosixLockRequest => ({
    ...{ owner, kind, handle, pid: 1000 + handle },
    ...{ start: BigInt(start), end: BigInt(end) },
  })
  const set = (
    owner: bigint,
    kind: FlockKind,
    start: number | bigint,
    end: number | bigint,
    { wait = false, nodeId = NODE, handle = Number(owner) } = {},
  ): string => {
    try {
      const deferred = locks.set(nodeId, request(owner, kind, start, end, handle), wait)
      if (deferred === undefined) return "ok"
      deferred.bind((errno) => granted.push(errno === 0 ? `${owner}` : `${owner} errno ${errno}`))
      waiting.set(owner, deferred)
      return "waits"
    } catch (error) {
      return (error as Error).message
    }
  }
  /** What keeps nobody's exclusive lock from being had: the locks on the file, first to last. */
  const held = (): string[] => {
    const found: string[] = []
    let start = 0n
    for (;;) {
      const lock = locks.conflict(NODE, request(99n, "exclusive", start, OFFSET_MAX))
      if (lock === undefined) return found
      found.push(`${lock.owner} ${lock.kind} [${lock.start}..${lock.end}]`)
      if (lock.end === OFFSET_MAX) return found
      start = lock.end + 1n
    }
  }
  return { locks, lost, granted, waiting, request, set, held }
}

describe("PosixLockTable", () => {
  test.each<[FlockKind, FlockKind, string]>([
    ["shared", "shared", "ok"],
    ["shared", "exclusive", "EAGAIN"],
    ["exclusive", "shared", "EAGAIN"],
    ["exclusive", "exclusive", "EAGAIN"],
    ["exclusive", "unlock", "ok"],
    ["unlock", "exclusive", "ok"],
  ])("with a lock of another owner, %s then %s is %s", (held, asked, result) => {
    const { set } = table()
    expect(set(A, held, 10, 19)).toBe("ok")
    expect(set(B, asked, 19, 25)).toBe(result)
  })

  test("does not mind locks beside the range, and on other nodes", () => {
    const { set } = table()
    set(A, "exclusive", 10, 19)
    expect(set(B, "exclusive", 0, 9)).toBe("ok")
    expect(set(B, "exclusive", 20, OFFSET_MAX)).toBe("ok")
    expect(set(B, "exclusive", 10, 19, { nodeId: NODE + 1 })).toBe("ok")
  })

  test("splits a lock when a part of it is unlocked, or changed", () => {
    const { set, held } = table()
    set(A, "exclusive", 10, 19)
    set(A, "unlock", 12, 13)
    expect(held()).toEqual(["1 exclusive [10..11]", "1 exclusive [14..19]"])
    set(A, "shared", 15, 15)
    expect(held()).toEqual([
      "1 exclusive [10..11]",
      "1 exclusive [14..14]",
      "1 shared [15..15]",
      "1 exclusive [16..19]",
    ])
  })

  test("makes one of what meets and is alike", () => {
    const { set, held } = table()
    set(A, "shared", 10, 14)
    set(A, "shared", 20, 24)
    set(A, "shared", 15, 19)
    expect(held()).toEqual(["1 shared [10..24]"])
    set(A, "exclusive", 12, 30)
    expect(held()).toEqual(["1 shared [10..11]", "1 exclusive [12..30]"])
    set(A, "exclusive", 0, 11)
    expect(held()).toEqual(["1 exclusive [0..30]"])
  })

  test("keeps what an owner has when it is refused more", () => {
    const { set, held } = table()
    set(A, "shared", 10, 19)
    set(B, "shared", 15, 15)
    expect(set(A, "exclusive", 10, 19)).toBe("EAGAIN")
    expect(held()).toEqual(["1 shared [10..19]"])
    expect(set(A, "exclusive", 10, 14)).toBe("ok")
  })

  test("knows the last byte of the largest file, and bytes that a double cannot tell apart", () => {
    const { set, held } = table()
    const far = 1n << 60n
    expect(set(A, "exclusive", OFFSET_MAX, OFFSET_MAX)).toBe("ok")
    expect(set(A, "exclusive", far, far)).toBe("ok")
    expect(set(B, "exclusive", far + 1n, OFFSET_MAX - 1n)).toBe("ok")
    expect(set(B, "shared", far, far)).toBe("EAGAIN")
    expect(held()).toEqual([
      `1 exclusive [${far}..${far}]`,
      `2 exclusive [${far + 1n}..${OFFSET_MAX - 1n}]`,
      `1 exclusive [${OFFSET_MAX}..${OFFSET_MAX}]`,
    ])
    set(B, "unlock", 0, OFFSET_MAX)
    expect(set(A, "exclusive", 0, OFFSET_MAX)).toBe("ok")
    expect(held()).toEqual([`1 exclusive [0..${OFFSET_MAX}]`])
  })

  test("names the first lock in the way, with its process", () => {
    const { locks, set, request } = table()
    set(B, "shared", 30, 39)
    set(A, "shared", 10, 19)
    set(C, "shared", 0, 99)
    const of = (owner: bigint, kind: FlockKind) => {
      const found = locks.conflict(NODE, request(owner, kind, 5, OFFSET_MAX))
      return found && { owner: found.owner, pid: found.pid, start: found.start }
    }
    expect(of(C, "exclusive")).toEqual({ owner: A, pid: 1001, start: 10n })
    expect(of(A, "exclusive")).toEqual({ owner: C, pid: 1003, start: 0n })
    expect(of(A, "shared")).toBeUndefined()
  })

  test("grants to those who wait in the order of arrival, past those who still cannot have theirs", () => {
    const { granted, set } = table()
    set(A, "exclusive", 0, 9)
    expect(set(B, "exclusive", 0, 20, { wait: true })).toBe("waits")
    set(4n, "shared", 15, 15)
    expect(set(C, "exclusive", 5, 5, { wait: true })).toBe("waits")
    expect(set(5n, "exclusive", 5, 5, { wait: true })).toBe("waits")
    set(A, "unlock", 0, 9)
    expect(granted).toEqual(["3"])
    set(4n, "unlock", 0, OFFSET_MAX)
    expect(granted).toEqual(["3"])
    set(C, "unlock", 5, 5)
    expect(granted).toEqual(["3", "2"])
    set(B, "unlock", 5, 5)
    expect(granted).toEqual(["3", "2", "5"])
  })

  test("grants shared waiters when the lock they wait for becomes shared, also by a wait that ends", () => {
    const { granted, set } = table()
    set(A, "exclusive", 0, 9)
    set(B, "exclusive", 20, 29)
    expect(set(C, "shared", 0, 9, { wait: true })).toBe("waits")
    expect(set(A, "shared", 0, 29, { wait: true })).toBe("waits")
    expect(granted).toEqual([])
    set(B, "unlock", 20, 29)
    expect(granted).toEqual(["1", "3"])
  })

  test("frees all locks of an owner, and those made through a handle", () => {
    const { locks, lost, granted, set, held } = table()
    set(A, "exclusive", 0, 9)
    set(A, "shared", 20, 29)
    set(B, "exclusive", 30, 39, { handle: 7 })
    set(B, "exclusive", 40, 49, { handle: 8 })
    set(C, "exclusive", 5, 5, { wait: true })
    locks.releaseOwner(NODE, A)
    expect(granted).toEqual(["3"])
    locks.releaseHandle(NODE, 8)
    expect(held()).toEqual(["3 exclusive [5..5]", "2 exclusive [30..39]"])
    expect(lost).toEqual(["n5 1 [0..9]", "n5 2 [40..49]"])
  })

  test("forgets a waiter that was interrupted", () => {
    const { granted, waiting, set } = table()
    set(A, "exclusive", 0, 9)
    set(B, "exclusive", 0, 0, { wait: true })
    set(C, "exclusive", 0, 0, { wait: true })
    waiting.get(B)?.interrupt()
    expect(granted).toEqual(["2 errno 4"])
    set(A, "unlock", 0, 9)
    expect(granted).toEqual(["2 errno 4", "3"])
  })

  test("says what is exclusive no longer, when it is so", () => {
    const { lost, set } = table()
    set(A, "exclusive", 0, 9)
    set(A, "exclusive", 5, 14)
    set(A, "shared", 20, 29)
    expect(lost).toEqual([])
    set(A, "shared", 8, 8)
    set(A, "unlock", 0, OFFSET_MAX)
    expect(lost).toEqual(["n5 1 [8..8]", "n5 1 [0..7]", "n5 1 [9..14]"])
  })

  test("refuses a wait that could never end, on one node or over several, and no other", () => {
    const { set, waiting, granted } = table()
    set(A, "exclusive", 0, 0)
    set(B, "exclusive", 1, 1)
    set(C, "exclusive", 2, 2, { nodeId: 6 })
    expect(set(A, "exclusive", 1, 1, { wait: true })).toBe("waits")
    expect(set(C, "shared", 0, 0, { wait: true })).toBe("waits")
    expect(set(B, "exclusive", 0, 0, { wait: true })).toBe("EDEADLK")
    expect(set(B, "exclusive", 2, 2, { wait: true, nodeId: 6 })).toBe("EDEADLK")
    expect(set(B, "exclusive", 2, 2, { nodeId: 6 })).toBe("EAGAIN")
    waiting.get(C)?.interrupt()
    expect(set(B, "exclusive", 2, 2, { wait: true, nodeId: 6 })).toBe("waits")
    set(C, "unlock", 2, 2, { nodeId: 6 })
    set(B, "unlock", 1, 1)
    expect(granted).toEqual(["3 errno 4", "2", "1"])
  })

  test("two that share a lock and both wait to have it alone are a deadlock", () => {
    const { set } = table()
    set(A, "shared", 0, 9)
    set(B, "shared", 0, 9)
    expect(set(A, "exclusive", 0, 9, { wait: true })).toBe("waits")
    expect(set(B, "exclusive", 0, 9, { wait: true })).toBe("EDEADLK")
    expect(set(C, "exclusive", 0, 9, { wait: true })).toBe("waits")
  })
})

test("without() leaves the parts of a range that are in no other", () => {
  const range = { start: 10n, end: 19n }
  expect(without(range, [])).toEqual([range])
  expect(without(range, [{ start: 0n, end: 99n }])).toEqual([])
  expect(
    without(range, [
      { start: 12n, end: 13n },
      { start: 0n, end: 10n },
      { start: 17n, end: 30n },
      { start: 40n, end: 50n },
    ]),
  ).toEqual([
    { start: 11n, end: 11n },
    { start: 14n, end: 16n },
  ])
})

/**
 * The file as a row of cells, each of which is either free, or exclusive to an owner, or shared by some. Ranges of a
 * request begin and end where cells do, so a cell says all about its bytes. An owner that waits asks for nothing.
 */
const EDGES = [0n, 1n, 2n, 3n, 1n << 30n, (1n << 53n) - 1n, 1n << 53n, (1n << 53n) + 1n, OFFSET_MAX]
const OWNERS = [1n, 2n, 3n, 4n]

interface CellRequest {
  owner: bigint
  kind: FlockKind
  first: number
  last: number
}

class Model {
  cells = EDGES.map(() => new Map<bigint, "shared" | "exclusive">())
  waiters: CellRequest[] = []
  lost = new Set<string>()

  /** The owners in the way. */
  blockers({ owner, kind, first, last }: CellRequest): bigint[] {
    if (kind === "unlock") return []
    return this.cells
      .slice(first, last + 1)
      .flatMap((cell) => [...cell])
      .filter(([other, held]) => other !== owner && (kind === "exclusive" || held === "exclusive"))
      .map(([other]) => other)
  }

  set({ owner, kind, first, last }: CellRequest): void {
    for (let index = first; index <= last; index++) {
      const cell = this.cells[index]
      if (cell?.get(owner) === "exclusive" && kind !== "exclusive")
        this.lost.add(`${owner} ${index}`)
      if (kind === "unlock") cell?.delete(owner)
      else cell?.set(owner, kind)
    }
  }

  grant(): bigint[] {
    const granted: bigint[] = []
    for (;;) {
      const index = this.waiters.findIndex((waiter) => this.blockers(waiter).length === 0)
      const [waiter] = index < 0 ? [] : this.waiters.splice(index, 1)
      if (waiter === undefined) return granted
      this.set(waiter)
      granted.push(waiter.owner)
    }
  }

  waitsFor(from: bigint, to: bigint, seen = new Set<bigint>()): boolean {
    if (seen.has(from)) return false
    seen.add(from)
    return this.waiters
      .filter(({ owner }) => owner === from)
      .flatMap((waiter) => this.blockers(waiter))
      .some((other) => other === to || this.waitsFor(other, to, seen))
  }
}

test("the table keeps what a model keeps that has every byte by itself", () => {
  for (let round = 0; round < 60; round++) {
    const { locks, lost, granted, waiting, request, set } = table()
    const model = new Model()
    const rangeOf = (first: number, last: number) =>
      [
        EDGES[first] as bigint,
        last + 1 === EDGES.length ? OFFSET_MAX : (EDGES[last + 1] as bigint) - 1n,
      ] as const
    const history: string[] = []
    for (let step = 0; step < 40; step++) {
      granted.length = 0
      const owner = random.pick(OWNERS)
      const [x, y] = [random.below(EDGES.length), random.below(EDGES.length)]
      const [first, last] = [Math.min(x, y), Math.max(x, y)]
      const kind = random.pick<FlockKind>(["shared", "exclusive", "exclusive", "unlock"])
      const wait = random.below(2) === 0
      let expected = "ok"
      let found = "ok"
      let expectedGrants: bigint[] = []
      if (model.waiters.some((waiter) => waiter.owner === owner)) {
        if (random.below(3) > 0) continue
        history.push(`interrupt ${owner}`)
        model.waiters = model.waiters.filter((waiter) => waiter.owner !== owner)
        waiting.get(owner)?.interrupt()
        expect(granted.shift()).toBe(`${owner} errno ${Errno.EINTR}`)
      } else if (random.below(12) === 0) {
        history.push(`release ${owner}`)
        model.set({ owner, kind: "unlock", first: 0, last: EDGES.length - 1 })
        expectedGrants = model.grant()
        if (random.below(2) === 0) locks.releaseOwner(NODE, owner)
        else locks.releaseHandle(NODE, Number(owner))
      } else {
        history.push(`${owner} ${kind} ${first}..${last}${wait ? " wait" : ""}`)
        const asked = { owner, kind, first, last }
        const blockers = model.blockers(asked)
        if (blockers.length === 0) {
          model.set(asked)
          expectedGrants = model.grant()
        } else if (!wait) {
          expected = "EAGAIN"
        } else if (blockers.some((other) => model.waitsFor(other, owner))) {
          expected = "EDEADLK"
        } else {
          expected = "waits"
          model.waiters.push(asked)
        }
        found = set(owner, kind, ...rangeOf(first, last), { wait })
      }
      expect({ history, result: found, granted }).toEqual({
        history,
        result: expected,
        granted: expectedGrants.map(String),
      })
      const problems = model.cells.flatMap((cell, index) =>
        [...OWNERS, 99n].flatMap((other) =>
          (["shared", "exclusive"] as const).filter((asked) => {
            const one = { owner: other, kind: asked, first: index, last: index }
            const isFree = model.blockers(one).length === 0
            const lock = locks.conflict(NODE, request(other, asked, ...rangeOf(index, index)))
            if (lock === undefined || isFree) return (lock === undefined) !== isFree
            return cell.get(lock.owner) !== lock.kind || !isWhole(lock, model, rangeOf)
          }),
        ),
      )
      expect({ history, problems }).toEqual({ history, problems: [] })
    }
    expect(cellsOf(lost, rangeOf)).toEqual(model.lost)
  }
}, 30_000)

/** Whether the lock is all that the owner has of that kind, to both sides as far as it goes. */
function isWhole(
  { owner, kind, start, end }: PosixLock,
  { cells }: Model,
  rangeOf: (first: number, last: number) => readonly [bigint, bigint],
): boolean {
  const first = EDGES.indexOf(start)
  const last = EDGES.findIndex((_, index) => rangeOf(index, index)[1] === end)
  if (first < 0 || last < 0) return false
  const isAll = cells.slice(first, last + 1).every((cell) => cell.get(owner) === kind)
  return isAll && cells[first - 1]?.get(owner) !== kind && cells[last + 1]?.get(owner) !== kind
}

function cellsOf(
  lost: readonly string[],
  rangeOf: (first: number, last: number) => readonly [bigint, bigint],
): Set<string> {
  const cells = new Set<string>()
  for (const line of lost) {
    const [, owner, start, end] = /^n5 (\d+) \[(\d+)\.\.(\d+)\]$/.exec(line) ?? []
    for (const index of EDGES.keys()) {
      const [from, to] = rangeOf(index, index)
      if (from <= BigInt(end ?? "") && BigInt(start ?? "") <= to) cells.add(`${owner} ${index}`)
    }
  }
  return cells
}

describe("fcntl(2) locks, from request to reply", () => {
  function kernelWithLocks() {
    const locks = new PosixLockTable()
    return FakeKernel.started(
      {
        getLock: (nodeId, request) => locks.conflict(nodeId, request),
        setLock: (nodeId, request, wait) => locks.set(nodeId, request, wait),
        flush: (nodeId, _handle, owner) => void locks.releaseOwner(nodeId, owner),
        release: (nodeId, handle) => locks.releaseHandle(nodeId, handle),
      },
      { posixLocks: true },
    )
  }
  const lock = (ownerLo: number, type: number, [start, end]: [number, number], unique = 10) => ({
    nodeId: NODE,
    unique,
    record: record(LkIn, {
      ...{ handle: 100 + ownerLo, ownerLo, ownerHi: 7, type, pid: 1000 + ownerLo },
      ...{ startLo: start, endLo: end < 0 ? 0xffffffff : end, endHi: end < 0 ? 0x7fffffff : 0 },
    }),
  })
  const BYTE = 0x40000001
  const TO_END = -1

  test("SETLK locks a range, refuses with EAGAIN and unlocks; GETLK says who has it", () => {
    const kernel = kernelWithLocks()
    const found = (ownerLo: number, type: number) => {
      const { error, payload } = kernel.ask(Opcode.GETLK, lock(ownerLo, type, [0, TO_END]))
      expect({ error, size: payload.length }).toEqual({ error: 0, size: LkOut.size })
      return fieldsOf(LkOut, payload)
    }
    expect(kernel.ask(Opcode.SETLK, lock(1, LockType.RDLCK, [BYTE, TO_END])).error).toBe(0)
    expect(kernel.ask(Opcode.SETLK, lock(2, LockType.WRLCK, [BYTE, BYTE])).error).toBe(
      -Errno.EAGAIN,
    )
    expect(found(2, LockType.WRLCK)).toEqual({
      ...{ startLo: BYTE, startHi: 0, endLo: 0xffffffff, endHi: 0x7fffffff },
      ...{ type: LockType.RDLCK, pid: 1001 },
    })
    expect(found(2, LockType.RDLCK)).toMatchObject({ type: LockType.UNLCK })
    expect(found(1, LockType.WRLCK)).toMatchObject({ type: LockType.UNLCK })
    expect(kernel.ask(Opcode.SETLK, lock(1, LockType.UNLCK, [0, TO_END])).error).toBe(0)
    expect(kernel.ask(Opcode.SETLK, lock(2, LockType.WRLCK, [BYTE, BYTE])).error).toBe(0)
    expect(found(1, LockType.RDLCK)).toMatchObject({ type: LockType.WRLCK, pid: 1002 })
  })

  test("SETLKW waits until FLUSH or RELEASE frees the range, or an INTERRUPT comes", () => {
    const kernel = kernelWithLocks()
    kernel.ask(Opcode.SETLK, lock(1, LockType.WRLCK, [BYTE, BYTE]))
    kernel.ask(Opcode.SETLK, lock(2, LockType.WRLCK, [120, 120]))
    expect(kernel.send(Opcode.SETLKW, lock(3, LockType.WRLCK, [BYTE, BYTE], 14))).toBeUndefined()
    expect(kernel.send(Opcode.SETLKW, lock(4, LockType.WRLCK, [BYTE, BYTE], 16))).toBeUndefined()
    expect(kernel.send(Opcode.SETLKW, lock(5, LockType.WRLCK, [120, 120], 18))).toBeUndefined()
    kernel.send(Opcode.INTERRUPT, { record: record(InterruptIn, { uniqueLo: 14 }) })
    const flush = record(FlushIn, { handle: 3, ownerLo: 1, ownerHi: 7 })
    kernel.ask(Opcode.FLUSH, { nodeId: NODE, record: flush })
    kernel.ask(Opcode.RELEASE, { nodeId: NODE, record: record(ReleaseIn, { handle: 102 }) })
    expect(kernel.later).toMatchObject([
      { unique: 14, error: -Errno.EINTR },
      { unique: 16, error: 0 },
      { unique: 18, error: 0 },
    ])
  })

  test("flock(2) goes its own way", () => {
    const kernel = kernelWithLocks()
    kernel.ask(Opcode.SETLK, lock(1, LockType.WRLCK, [0, TO_END]))
    const flags = LkFlag.FLOCK
    const flock = record(LkIn, { ownerLo: 2, type: LockType.WRLCK, flags })
    expect(kernel.ask(Opcode.SETLK, { nodeId: NODE, record: flock }).error).toBe(0)
  })

  test.each([
    ["a type that does not exist", { type: 3 }],
    ["an end before its start", { startLo: 2, endLo: 1 }],
    ["an end that no file reaches", { endHi: 0x80000000 }],
  ])("a request with %s is EINVAL", (_what, fields) => {
    const kernel = kernelWithLocks()
    for (const opcode of [Opcode.SETLK, Opcode.SETLKW, Opcode.GETLK]) {
      expect(kernel.ask(opcode, { record: record(LkIn, fields) }).error).toBe(-Errno.EINVAL)
    }
  })

  test("GETLK is not for unlocking", () => {
    const unlock = record(LkIn, { type: LockType.UNLCK })
    expect(kernelWithLocks().ask(Opcode.GETLK, { record: unlock }).error).toBe(-Errno.EINVAL)
  })

  test("they are the kernel's when it does not offer to send them", () => {
    const kernel = FakeKernel.started({}, { posixLocks: true }, { flags: 0 })
    for (const opcode of [Opcode.SETLK, Opcode.GETLK]) {
      expect(kernel.ask(opcode, lock(1, LockType.WRLCK, [0, 0])).error).toBe(-Errno.ENOSYS)
    }
  })
})
