import { describe, expect, test } from "bun:test"
import { Deferred } from "../../src/fuse/deferred.ts"
import type { Caller, FlockKind } from "../../src/fuse/filesystem.ts"
import { FuseError } from "../../src/fuse/fuse-error.ts"
import { FileLocks } from "../../src/mount/databases/file-locks.ts"
import type { FileEntry } from "../../src/mount/files/entry.ts"
import { Errno } from "../../src/sys/errno.ts"

const NODE = 5
const A = 1n
const B = 2n
const PEER = 9n

/** Locks of a node whose entry answers with `answer`; `heard` is what it was asked and told. */
function fileLocks(answer: () => Deferred | undefined = () => undefined) {
  const heard: string[] = []
  const entry: Pick<FileEntry, "locking" | "unlocked"> = {
    locking: ({ start, end }, owner, { pid }) => {
      heard.push(`locking ${owner} [${start}..${end}] p${pid}`)
      return answer()
    },
    unlocked: ({ start, end }, owner) => heard.push(`unlocked ${owner} [${start}..${end}]`),
  }
  const locks = new FileLocks((nodeId) => (nodeId === NODE ? (entry as FileEntry) : undefined))
  locks.openedByPeer(Number(PEER))
  const answers: string[] = []
  const waiting = new Map<bigint, Deferred>()
  const set = (owner: bigint, kind: FlockKind, start: number, end = start, wait = false) => {
    const handle = Number(owner)
    const request = { owner, kind, handle, pid: handle, start: BigInt(start), end: BigInt(end) }
    const caller: Caller = { pid: 100 + handle, uid: 0, gid: 0 }
    try {
      const deferred = locks.set(NODE, request, wait, caller)
      if (deferred === undefined) return "ok"
      waiting.set(owner, deferred)
      deferred.bind((errno) => answers.push(`${owner} ${errno}`))
      return "waits"
    } catch (error) {
      return (error as Error).message
    }
  }
  /** Whether a lock of another owner is in the way. */
  const isLocked = (byte: number) => {
    const range = { start: BigInt(byte), end: BigInt(byte) }
    const asked = { owner: 77n, kind: "shared", handle: 77, pid: 77, ...range } as const
    return locks.get(NODE, asked) !== undefined
  }
  return { locks, heard, answers, waiting, set, isLocked }
}

describe("FileLocks: an entry", () => {
  test("is asked before an exclusive lock, and told when it is given up in part or at all", () => {
    const { heard, set } = fileLocks()
    expect(set(A, "exclusive", 0, 9)).toBe("ok")
    expect(heard).toEqual(["locking 1 [0..9] p101"])
    set(A, "unlock", 3)
    set(A, "shared", 5)
    set(A, "unlock", 0, 99)
    expect(heard.slice(1)).toEqual([
      "unlocked 1 [3..3]",
      "unlocked 1 [5..5]",
      "unlocked 1 [0..2]",
      "unlocked 1 [4..4]",
      "unlocked 1 [6..9]",
    ])
  })

  test("is not asked about shared locks, about what the owner has, and about what somebody else has", () => {
    const { heard, set } = fileLocks()
    set(A, "shared", 0, 9)
    set(A, "unlock", 0, 9)
    expect(heard).toEqual([])
    set(A, "exclusive", 0, 9)
    set(A, "exclusive", 4, 5)
    expect(set(B, "exclusive", 5)).toBe("EAGAIN")
    expect(heard).toEqual(["locking 1 [0..9] p101"])
  })

  test("hears nothing of the peer thread's locks, which are in the way like any other", () => {
    const { locks, heard, set } = fileLocks()
    expect(set(PEER, "exclusive", 0, 9)).toBe("ok")
    expect(set(A, "exclusive", 5)).toBe("EAGAIN")
    set(PEER, "shared", 0, 9)
    expect(set(A, "shared", 5)).toBe("ok")
    expect(set(PEER, "exclusive", 5)).toBe("EAGAIN")
    set(PEER, "exclusive", 0)
    locks.released(NODE, Number(PEER))
    expect(heard).toEqual([])
    expect(set(A, "exclusive", 0, 9)).toBe("ok")
  })

  test("is told when the owner closes the file, and when the open file is gone", () => {
    const { locks, heard, set } = fileLocks()
    set(A, "exclusive", 0)
    set(B, "exclusive", 1)
    heard.length = 0
    locks.flushed(NODE, A, undefined)
    locks.released(NODE, Number(B))
    expect(heard).toEqual(["unlocked 1 [0..0]", "unlocked 2 [1..1]"])
    locks.flushed(NODE, A, undefined)
    expect(heard.length).toBe(2)
  })

  test("can refuse, and hears no more of it", () => {
    const { heard, set, isLocked } = fileLocks(() => {
      throw FuseError.of(Errno.EROFS)
    })
    expect(set(A, "exclusive", 0)).toBe("EROFS")
    expect(isLocked(0)).toBe(false)
    set(A, "unlock", 0)
    expect(heard).toEqual(["locking 1 [0..0] p101"])
  })

  test("is told when a lock that it let pass would wait for ever, or was waited for in vain", () => {
    const { heard, waiting, answers, set } = fileLocks()
    set(A, "exclusive", 0)
    set(B, "exclusive", 1)
    expect(set(A, "exclusive", 1, 1, true)).toBe("waits")
    expect(set(B, "exclusive", 0, 0, true)).toBe("EDEADLK")
    waiting.get(A)?.interrupt()
    expect(answers).toEqual(["1 4"])
    expect(heard.slice(2)).toEqual([
      "locking 1 [1..1] p101",
      "locking 2 [0..0] p102",
      "unlocked 2 [0..0]",
      "unlocked 1 [1..1]",
    ])
  })
})

describe("FileLocks: an entry that lets the client wait", () => {
  function waitingEntry(onInterrupt?: (asked: Deferred) => void) {
    const asked: Deferred[] = []
    const context = fileLocks(() => {
      const deferred = new Deferred()
      if (onInterrupt) deferred.onInterrupt = () => onInterrupt(deferred)
      asked.push(deferred)
      return deferred
    })
    return { ...context, asked }
  }

  test("lets it have the lock when it is done", () => {
    const { asked, answers, heard, set, isLocked } = waitingEntry()
    expect(set(A, "exclusive", 0)).toBe("waits")
    expect(isLocked(0)).toBe(false)
    asked[0]?.done()
    expect([isLocked(0), answers]).toEqual([true, ["1 0"]])
    set(A, "unlock", 0)
    expect(heard.slice(1)).toEqual(["unlocked 1 [0..0]"])
  })

  test("fails with what the client is told", () => {
    const { asked, answers, heard, set, isLocked } = waitingEntry()
    set(A, "exclusive", 0)
    asked[0]?.fail(Errno.EAGAIN)
    expect([isLocked(0), answers, heard.length]).toEqual([false, [`1 ${Errno.EAGAIN}`], 1])
  })

  test("is told at once when somebody was faster", () => {
    const { asked, answers, heard, set } = waitingEntry()
    set(A, "exclusive", 0)
    set(B, "exclusive", 0)
    asked[1]?.done()
    asked[0]?.done()
    expect(answers).toEqual(["2 0", `1 ${Errno.EAGAIN}`])
    expect(heard.slice(2)).toEqual(["unlocked 1 [0..0]"])
  })

  test("is waited for before others are", () => {
    const { asked, answers, heard, set } = waitingEntry()
    set(PEER, "exclusive", 0)
    expect(set(A, "exclusive", 0, 0, true)).toBe("waits")
    set(B, "exclusive", 0, 0, true)
    asked[0]?.done()
    asked[1]?.done()
    expect(answers).toEqual([])
    set(PEER, "unlock", 0)
    expect(answers).toEqual(["1 0"])
    set(A, "unlock", 0)
    expect(answers).toEqual(["1 0", "2 0"])
    expect(heard.slice(2)).toEqual(["unlocked 1 [0..0]"])
  })

  test("is told to withdraw when the client is interrupted, and hears no more when it does", () => {
    let withdrawn = 0
    const { answers, heard, waiting, set, isLocked } = waitingEntry(() => {
      withdrawn += 1
    })
    set(A, "exclusive", 0)
    waiting.get(A)?.interrupt()
    expect([withdrawn, answers, heard.length]).toEqual([1, [`1 ${Errno.EINTR}`], 1])
    expect(isLocked(0)).toBe(false)
  })

  test.each<[string, ((asked: Deferred) => void) | undefined]>([
    ["cannot withdraw", undefined],
    ["has it already", (asked) => asked.done()],
  ])("and %s when the client is interrupted hears the end, and nothing is had", (_what, on) => {
    const { asked, answers, heard, waiting, set, isLocked } = waitingEntry(on)
    set(A, "exclusive", 0)
    waiting.get(A)?.interrupt()
    expect(answers).toEqual([`1 ${Errno.EINTR}`])
    if (asked[0]?.isWaiting) asked[0].done()
    expect([isLocked(0), answers.length]).toEqual([false, 1])
    expect(heard.slice(1)).toEqual(["unlocked 1 [0..0]"])
  })

  test("can be interrupted while others are waited for", () => {
    const { asked, answers, heard, waiting, set, isLocked } = waitingEntry()
    set(PEER, "exclusive", 0)
    set(A, "exclusive", 0, 0, true)
    asked[0]?.done()
    waiting.get(A)?.interrupt()
    expect(answers).toEqual([`1 ${Errno.EINTR}`])
    expect(heard.slice(1)).toEqual(["unlocked 1 [0..0]"])
    set(PEER, "unlock", 0)
    expect(isLocked(0)).toBe(false)
  })

  test("is not told of bytes that the same owner has, or still asks for", () => {
    const { asked, heard, set } = waitingEntry()
    set(A, "exclusive", 0, 4)
    set(A, "exclusive", 3, 7) // another thread of the process
    asked[0]?.done()
    set(A, "unlock", 0, 99)
    expect(heard.slice(2)).toEqual(["unlocked 1 [0..2]"])
    set(B, "exclusive", 7)
    asked[2]?.done()
    asked[1]?.done()
    expect(heard.slice(3)).toEqual(["locking 2 [7..7] p102", "unlocked 1 [3..7]"])
  })
})

test("FileLocks keeps the locks of who closes a file until the entry has answered", () => {
  const { locks, answers, set, isLocked } = fileLocks()
  set(A, "exclusive", 0)
  for (const errno of [0, Errno.EIO]) {
    set(A, "exclusive", 0)
    const answer = new Deferred()
    locks.flushed(NODE, A, answer)?.bind((found) => answers.push(`flushed ${found}`))
    expect([isLocked(0), answers.length]).toEqual([true, errno === 0 ? 0 : 1])
    if (errno === 0) answer.done()
    else answer.fail(errno)
    expect([isLocked(0), answers.at(-1)]).toEqual([false, `flushed ${errno}`])
  }
})
