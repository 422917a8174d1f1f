import { expect, test } from "bun:test"
import type { Deferred } from "../../src/fuse/deferred.ts"
import type { ErrorCode } from "../../src/lib/errors.ts"
import {
  Acknowledgements,
  type Commit,
  Unsynced,
} from "../../src/mount/databases/acknowledgements.ts"
import { Errno } from "../../src/sys/errno.ts"
import { FakeClock } from "../support/fake-clock.ts"

type Then = (code: ErrorCode | undefined) => void

const commit = (txid: number, thread = 7): Commit => ({
  ...{ database: "a.db", pos: { txid: BigInt(txid), checksum: 1n }, isBorrowed: false, thread },
})

class Thread {
  readonly clock = new FakeClock()
  readonly dying = new Set<number>()
  readonly before: Then[] = []
  readonly after: Then[] = []
  generation = 0
  readonly acknowledgements: Acknowledgements

  constructor(mode: "strict" | "degrade" | "off" = "strict") {
    this.acknowledgements = new Acknowledgements({
      ...{ clock: this.clock, isOn: mode !== "off", isStrict: mode === "strict" },
      generation: () => this.generation,
      askBefore: (_, __, then) => this.before.push(then),
      askAfter: (_, then) => this.after.push(then),
      isDying: (thread) => this.dying.has(thread),
    })
  }

  /** A request that makes the transaction, as the directory does it. */
  request(made: Commit): Deferred | undefined {
    const { acknowledgements } = this
    const act = () => {
      acknowledgements.check(made.database, made.pos.txid - 1n)
      acknowledgements.committed(made)
    }
    try {
      return acknowledgements.request(act)
    } catch (error) {
      if (!(error instanceof Unsynced)) throw error
      return acknowledgements.hold(error, { thread: made.thread, isPatient: true }, act, () => {})
    }
  }
}

/** What the client hears. */
function answerOf(deferred: Deferred | undefined): { errno: number | undefined } {
  const answer: { errno: number | undefined } = { errno: undefined }
  deferred?.bind((errno) => {
    answer.errno = errno
  })
  return answer
}

test("the first commit asks before and after, the next one only after", () => {
  const thread = new Thread()
  const first = answerOf(thread.request(commit(2)))
  expect([thread.before.length, thread.after.length]).toEqual([1, 0])
  thread.before[0]?.(undefined)
  expect(first.errno).toBeUndefined()
  thread.after[0]?.(undefined)
  expect(first.errno).toBe(0)
  const second = answerOf(thread.request(commit(3)))
  expect([thread.before.length, thread.after.length]).toEqual([1, 2])
  thread.after[1]?.(undefined)
  expect(second.errno).toBe(0)
})

test("a commit asks before when replicas may be gone, and when the last one was not acknowledged", () => {
  const thread = new Thread()
  thread.request(commit(2))?.bind(() => {})
  thread.before[0]?.(undefined)
  thread.after[0]?.(undefined)
  thread.generation += 1
  thread.request(commit(3))?.bind(() => {})
  expect(thread.before).toHaveLength(2)
  thread.before[1]?.(undefined) // and its client is killed
  thread.request(commit(4))?.bind(() => {})
  expect(thread.before).toHaveLength(3)
})

test("a commit that may not be made is refused", () => {
  const thread = new Thread()
  const answer = answerOf(thread.request(commit(2)))
  thread.before[0]?.("unavailable")
  expect(answer.errno).toBe(Errno.EIO)
  expect(thread.after).toHaveLength(0)
})

test("a commit that fails when it is repeated gets its errno", () => {
  const thread = new Thread()
  const again = () => {
    throw new Error("the disk")
  }
  let hasEnded = false
  const end = () => {
    hasEnded = true
  }
  const held = thread.acknowledgements.hold(
    new Unsynced("a.db"),
    { thread: 7, isPatient: true },
    again,
    end,
  )
  const answer = answerOf(held)
  thread.before[0]?.(undefined)
  expect([answer.errno, hasEnded]).toEqual([Errno.EIO, true])
})

test("in degrade mode nothing is asked before", () => {
  const thread = new Thread("degrade")
  const answer = answerOf(thread.request(commit(2)))
  expect(thread.before).toHaveLength(0)
  thread.after[0]?.(undefined)
  expect(answer.errno).toBe(0)
})

test("without --sync-replicas only a borrowed database is asked about", () => {
  const thread = new Thread("off")
  expect(thread.request(commit(2))).toBeUndefined()
  expect(thread.request({ ...commit(3), isBorrowed: true })).toBeDefined()
})

test("a request of a client that is being killed is answered, and a late answer is nobody's", () => {
  const thread = new Thread()
  const held = answerOf(thread.request(commit(2, 11)))
  expect(thread.acknowledgements.sweep()).toBeGreaterThan(0)
  thread.dying.add(11)
  thread.clock.advance(100)
  expect(thread.acknowledgements.sweep()).toBeGreaterThan(0)
  expect(held.errno).toBe(Errno.EINTR)
  thread.before[0]?.(undefined)
  expect(thread.after).toHaveLength(0) // it was not repeated

  const other = answerOf(thread.request(commit(2, 12)))
  thread.before[1]?.(undefined)
  thread.dying.add(12)
  thread.clock.advance(100)
  thread.acknowledgements.sweep()
  expect(other.errno).toBe(0)
  thread.after[0]?.(undefined)
  expect(thread.acknowledgements.sweep()).toBeUndefined()
})

test("the last part of a write that the client writes again waits like the first time", () => {
  const thread = new Thread()
  const { acknowledgements } = thread
  const answer = answerOf(thread.request(commit(2)))
  thread.before[0]?.(undefined)
  thread.after[0]?.("no-primary")
  expect(answer.errno).toBe(Errno.EIO)
  const repeat = () => acknowledgements.request(() => acknowledgements.repeating(commit(2)))
  const again = answerOf(repeat())
  thread.after[1]?.("no-primary")
  expect(again.errno).toBe(Errno.EIO)
  repeat()?.bind(() => {})
  thread.after[2]?.(undefined)
  expect(repeat()).toBeUndefined()
})

test("what the daemon itself does is not checked", () => {
  const { acknowledgements } = new Thread()
  expect(() => acknowledgements.check("a.db", 1n)).not.toThrow()
})

test("when the database changes hands, nobody knows what becomes of a commit", () => {
  const thread = new Thread()
  const answer = answerOf(thread.request(commit(2)))
  thread.before[0]?.(undefined)
  thread.acknowledgements.refuse("b.db")
  expect(answer.errno).toBeUndefined()
  thread.acknowledgements.refuse("a.db")
  expect(answer.errno).toBe(Errno.EIO)
  thread.after[0]?.(undefined)
})
