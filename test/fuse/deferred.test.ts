import { describe, expect, test } from "bun:test"
import { Deferred } from "../../src/fuse/deferred.ts"
import { LkFlag, LockType } from "../../src/fuse/flags.ts"
import { Opcode } from "../../src/fuse/opcodes.ts"
import { AttrOut, WriteOut } from "../../src/fuse/replies.ts"
import { FsyncIn, InterruptIn, LkIn, SetattrIn, WriteIn } from "../../src/fuse/requests.ts"
import { Errno } from "../../src/sys/errno.ts"
import { attributes } from "../support/fake-filesystem.ts"
import { FakeKernel, fieldsOf, record } from "../support/fake-kernel.ts"

describe("Deferred", () => {
  const bound = (onInterrupt?: () => void) => {
    const answers: number[] = []
    const deferred = new Deferred(onInterrupt)
    deferred.bind((errno) => answers.push(errno))
    return { deferred, answers }
  }

  test("passes its answer on, once", () => {
    const { deferred, answers } = bound()
    expect(deferred.isWaiting).toBe(true)
    deferred.done()
    expect(deferred.isWaiting).toBe(false)
    expect(answers).toEqual([0])
    expect(() => deferred.done()).toThrow("Cannot answer a Deferred: it is answered, not waiting")
    expect(() => deferred.fail(5)).toThrow("it is answered")
    expect(() => deferred.interrupt()).toThrow("Cannot interrupt a Deferred: it is answered")
    expect(answers).toEqual([0])
  })

  test("cannot be answered before it stands for a request, nor stand for two", () => {
    const deferred = new Deferred()
    expect(() => deferred.done()).toThrow("Cannot answer a Deferred: it is new, not waiting")
    deferred.bind(() => {})
    expect(() => deferred.bind(() => {})).toThrow("Cannot bind a Deferred to a request")
  })

  test.each([0, -5])("cannot fail with errno %d", (errno) => {
    expect(() => bound().deferred.fail(errno)).toThrow(`Cannot fail a request with errno ${errno}`)
  })

  test("is EINTR when interrupted, after its work was withdrawn", () => {
    const events: string[] = []
    const deferred = new Deferred(() => events.push("withdrawn"))
    deferred.bind((errno) => events.push(`errno ${errno}`))
    deferred.interrupt()
    expect(events).toEqual(["withdrawn", "errno 4"])
  })

  test("may be answered otherwise by the one that withdraws", () => {
    const { deferred, answers } = bound(() => deferred.done())
    deferred.interrupt()
    expect(answers).toEqual([0])
  })

  test("waits on when its work cannot be withdrawn, or no longer", () => {
    const { deferred, answers } = bound(() => {})
    deferred.onInterrupt = undefined
    deferred.interrupt()
    expect(answers).toEqual([])
    deferred.done()
    expect(answers).toEqual([0])
  })
})

describe("A deferred request", () => {
  const write = record(WriteIn, { size: 3 })
  const data = new Uint8Array(3)

  test("is answered later: a WRITE with all its bytes", () => {
    const deferred = new Deferred()
    const kernel = FakeKernel.started({ write: () => deferred })
    expect(kernel.send(Opcode.WRITE, { unique: 40, record: write, data })).toBeUndefined()
    expect(kernel.later).toEqual([])

    deferred.done()
    const [reply] = kernel.later
    expect(reply).toMatchObject({ unique: 40, error: 0 })
    expect(fieldsOf(WriteOut, reply?.payload as Uint8Array)).toEqual({ size: 3, padding: 0 })
  })

  test("is answered later: a SETATTR with the attributes of then", () => {
    const deferred = new Deferred()
    const kernel = FakeKernel.started({
      setAttributes: () => deferred,
      getAttributes: (nodeId, into) => void Object.assign(into, attributes({ nodeId, size: 77 })),
    })
    expect(
      kernel.send(Opcode.SETATTR, { nodeId: 6, record: record(SetattrIn, {}) }),
    ).toBeUndefined()
    deferred.done()
    const payload = kernel.later[0]?.payload as Uint8Array
    expect(payload.length).toBe(AttrOut.size)
    expect(fieldsOf(AttrOut, payload)).toMatchObject({ ino: 6, size: 77 })
  })

  test("is an error when its attributes are not to be had", () => {
    const deferred = new Deferred()
    const kernel = FakeKernel.started({
      setAttributes: () => deferred,
      getAttributes: () => {
        throw new Error("gone")
      },
    })
    kernel.send(Opcode.SETATTR, { record: record(SetattrIn, {}) })
    deferred.done()
    expect(kernel.later).toMatchObject([{ error: -Errno.EIO }])
  })

  test("can fail, but not with ENOSYS", () => {
    const deferreds = [new Deferred(), new Deferred()]
    let next = 0
    const kernel = FakeKernel.started({ sync: () => deferreds[next++] })
    const parts = { record: record(FsyncIn, {}) }
    kernel.send(Opcode.FSYNC, { ...parts, unique: 40 })
    kernel.send(Opcode.FSYNC, { ...parts, unique: 42 })
    deferreds[1]?.fail(Errno.ENOSPC)
    deferreds[0]?.fail(Errno.ENOSYS)
    expect(kernel.later).toEqual([
      { unique: 42, error: -Errno.ENOSPC, payload: new Uint8Array() },
      { unique: 40, error: -Errno.EOPNOTSUPP, payload: new Uint8Array() },
    ])
  })

  test("cannot stand for two: the second is a fault, and answered at once", () => {
    const deferred = new Deferred()
    const kernel = FakeKernel.started({ sync: () => deferred })
    const parts = { record: record(FsyncIn, {}) }
    expect(kernel.send(Opcode.FSYNC, { ...parts, unique: 40 })).toBeUndefined()
    expect(kernel.ask(Opcode.FSYNC, { ...parts, unique: 42 }).error).toBe(-Errno.EIO)
    expect(String(kernel.faults)).toContain("Cannot bind a Deferred to a request: it is waiting")
    deferred.done()
    expect(kernel.later).toMatchObject([{ unique: 40, error: 0 }])
  })

  test("can be answered while another request is handled, and leaves that one's reply alone", () => {
    const deferred = new Deferred()
    const kernel = FakeKernel.started({
      write: () => deferred,
      read: (_nodeId, _handle, _offset, size, into) => {
        into.bytes.fill(7, 0, size)
        deferred.done()
        return size
      },
    })
    kernel.send(Opcode.WRITE, { unique: 40, record: write, data })
    const size = 1 << 20
    const { payload } = kernel.ask(Opcode.READ, { record: record(WriteIn, { size }) })
    expect(payload.every((byte) => byte === 7)).toBe(true)
    expect(kernel.later).toMatchObject([{ unique: 40, error: 0 }])
  })
})

describe("INTERRUPT", () => {
  const lock = {
    record: record(LkIn, { flags: LkFlag.FLOCK, type: LockType.WRLCK }),
    unique: 40,
    uniqueHi: 9,
  }
  const interruptOf = (uniqueLo: number, uniqueHi = 9) => ({
    unique: uniqueLo | 1,
    record: record(InterruptIn, { uniqueLo, uniqueHi }),
  })

  test("ends the wait it names with EINTR, and has no reply of its own", () => {
    const events: string[] = []
    const deferred = new Deferred(() => events.push("withdrawn"))
    const kernel = FakeKernel.started({ flock: () => deferred })
    kernel.send(Opcode.SETLKW, lock)

    expect(kernel.send(Opcode.INTERRUPT, interruptOf(42))).toBeUndefined()
    expect(kernel.send(Opcode.INTERRUPT, interruptOf(40, 8))).toBeUndefined()
    expect([events, kernel.later]).toEqual([[], []])

    expect(kernel.send(Opcode.INTERRUPT, interruptOf(40))).toBeUndefined()
    expect(events).toEqual(["withdrawn"])
    expect(kernel.later).toEqual([{ unique: 40, error: -Errno.EINTR, payload: new Uint8Array() }])
  })

  test("of a request that was answered is ignored", () => {
    const deferred = new Deferred(() => {})
    const kernel = FakeKernel.started({ flock: () => deferred })
    kernel.send(Opcode.SETLKW, lock)
    deferred.done()
    expect(kernel.send(Opcode.INTERRUPT, interruptOf(40))).toBeUndefined()
    expect(kernel.later.length).toBe(1)
    expect(kernel.faults).toEqual([])
  })

  test("is ignored by work that cannot be withdrawn", () => {
    const deferred = new Deferred()
    const kernel = FakeKernel.started({ flock: () => deferred })
    kernel.send(Opcode.SETLKW, lock)
    kernel.send(Opcode.INTERRUPT, interruptOf(40))
    expect(kernel.later).toEqual([])
    deferred.done()
    expect(kernel.later).toMatchObject([{ unique: 40, error: 0 }])
  })
})
