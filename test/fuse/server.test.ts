import { describe, expect, test } from "bun:test"
import type { FileSystem } from "../../src/fuse/filesystem.ts"
import { Fattr, Fopen, FsyncFlag, LkFlag, LockType, ReleaseFlag } from "../../src/fuse/flags.ts"
import { FuseError } from "../../src/fuse/fuse-error.ts"
import { Opcode } from "../../src/fuse/opcodes.ts"
import { AttrOut, EntryOut, OpenOut, StatfsOut, WriteOut } from "../../src/fuse/replies.ts"
import {
  BatchForgetIn,
  CreateIn,
  FlushIn,
  ForgetIn,
  ForgetOne,
  FsyncIn,
  GetattrIn,
  LkIn,
  OpenIn,
  ReadIn,
  ReleaseIn,
  Rename2In,
  RenameIn,
  SetattrIn,
  WriteIn,
} from "../../src/fuse/requests.ts"
import { assert } from "../../src/lib/assert.ts"
import { Errno, SysError } from "../../src/sys/errno.ts"
import { attributes, entry } from "../support/fake-filesystem.ts"
import { FakeKernel, fieldsOf, type RequestParts, record } from "../support/fake-kernel.ts"

/** The calls that a method gets, with the objects the server will use again copied. */
function recorder<Result>(result: Result) {
  const calls: unknown[][] = []
  const method = (...args: unknown[]) => {
    calls.push(args.map((arg) => (isBorrowed(arg) ? { ...arg } : arg)))
    return result
  }
  return { calls, method }
}

function isBorrowed(arg: unknown): arg is object {
  return typeof arg === "object" && arg !== null && !("address" in arg)
}

const NOT_UTF8 = new Uint8Array([0xff])

describe("LOOKUP", () => {
  test("answers with the entry", () => {
    const { calls, method } = recorder(entry({ nodeId: 9 }))
    const kernel = FakeKernel.started({ lookup: method })
    const { error, payload } = kernel.ask(Opcode.LOOKUP, { nodeId: 1, names: ["app.db"] })
    expect(error).toBe(0)
    expect(calls).toEqual([[1, "app.db"]])
    expect(payload.length).toBe(EntryOut.size)
    expect(fieldsOf(EntryOut, payload)).toMatchObject({ nodeId: 9, entryTimeout: 1, size: 4096 })
  })

  test("answers with a negative entry, for the kernel to remember", () => {
    const kernel = FakeKernel.started({ lookup: () => undefined }, { negativeTimeout: 2.5 })
    const { error, payload } = kernel.ask(Opcode.LOOKUP, { names: ["app.db-journal"] })
    expect(error).toBe(0)
    expect(payload.length).toBe(EntryOut.size)
    expect(fieldsOf(EntryOut, payload)).toMatchObject({
      nodeId: 0,
      entryTimeout: 2,
      entryTimeoutNs: 500_000_000,
      size: 0,
    })
  })

  test("decodes UTF-8, and finds nothing under what is not", () => {
    const { calls, method } = recorder(undefined)
    const kernel = FakeKernel.started({ lookup: method })
    kernel.ask(Opcode.LOOKUP, { names: ["größe.db"] })
    expect(calls).toEqual([[1, "größe.db"]])
    expect(kernel.ask(Opcode.LOOKUP, { names: [NOT_UTF8] }).error).toBe(-Errno.ENOENT)
    expect(calls.length).toBe(1)
  })
})

describe("FORGET", () => {
  test("has no reply", () => {
    const { calls, method } = recorder(undefined)
    const kernel = FakeKernel.started({ forget: method })
    const parts = { nodeId: 7, record: record(ForgetIn, { count: 3 }) }
    expect(kernel.send(Opcode.FORGET, parts)).toBeUndefined()
    expect(calls).toEqual([[7, 3]])
  })

  test("has no reply when it fails", () => {
    const kernel = FakeKernel.started({ forget: throwing(FuseError.of(Errno.EIO)) })
    expect(kernel.send(Opcode.FORGET, { record: record(ForgetIn, {}) })).toBeUndefined()
  })
})

describe("BATCH_FORGET", () => {
  const one = (nodeId: number, count: number) => record(ForgetOne, { nodeId, count })

  test("forgets each", () => {
    const { calls, method } = recorder(undefined)
    const kernel = FakeKernel.started({ forget: method })
    const data = Buffer.concat([one(7, 3), one(8, 1)])
    const parts = { record: record(BatchForgetIn, { count: 2 }), data }
    expect(kernel.send(Opcode.BATCH_FORGET, parts)).toBeUndefined()
    expect(calls).toEqual([
      [7, 3],
      [8, 1],
    ])
  })

  test("forgets none when there are fewer than it says", () => {
    const { calls, method } = recorder(undefined)
    const kernel = FakeKernel.started({ forget: method })
    const parts = { record: record(BatchForgetIn, { count: 2 }), data: one(7, 3) }
    expect(kernel.send(Opcode.BATCH_FORGET, parts)).toBeUndefined()
    expect(calls).toEqual([])
  })
})

describe("GETATTR", () => {
  test("answers with the attributes", () => {
    const kernel = FakeKernel.started({
      getAttributes: (nodeId, into) =>
        void Object.assign(into, attributes({ nodeId, size: 2 ** 40 })),
    })
    const { error, payload } = kernel.ask(Opcode.GETATTR, getattr(6))
    expect(error).toBe(0)
    expect(payload.length).toBe(AttrOut.size)
    expect(fieldsOf(AttrOut, payload)).toMatchObject({ ino: 6, size: 2 ** 40, timeout: 60 })
  })
})

describe("SETATTR", () => {
  const parts = {
    nodeId: 5,
    record: record(SetattrIn, { valid: Fattr.SIZE | Fattr.FH, handle: 3 }),
  }

  test("passes on what is to change and answers with the attributes", () => {
    const { calls, method } = recorder(undefined)
    const kernel = FakeKernel.started({
      setAttributes: (nodeId, change, into) => {
        Object.assign(into, attributes({ nodeId, size: 0 }))
        return method(nodeId, change)
      },
    })
    const { error, payload } = kernel.ask(Opcode.SETATTR, parts)
    expect(error).toBe(0)
    expect(fieldsOf(AttrOut, payload)).toMatchObject({ ino: 5, size: 0 })
    expect(calls).toEqual([
      [5, { size: 0, handle: 3, mode: undefined, uid: undefined, gid: undefined }],
    ])
  })

  test("refuses a size that is no safe integer", () => {
    const kernel = FakeKernel.started({ setAttributes: throwing(new Error("reached")) })
    const size = record(SetattrIn, { valid: Fattr.SIZE, size: 2 ** 60 })
    expect(kernel.ask(Opcode.SETATTR, { record: size }).error).toBe(-Errno.EFBIG)
  })
})

describe("OPEN", () => {
  test("answers with handle, flags and backing id", () => {
    const kernel = FakeKernel.started({
      open: (nodeId, flags, caller, opened) => {
        expect([nodeId, flags, { ...caller }]).toEqual([5, 0o2, { pid: 123, uid: 1000, gid: 1001 }])
        Object.assign(opened, { handle: 3, flags: Fopen.PASSTHROUGH, backingId: 12 })
      },
    })
    const { error, payload } = kernel.ask(Opcode.OPEN, {
      nodeId: 5,
      record: record(OpenIn, { flags: 0o2 }),
    })
    expect(error).toBe(0)
    expect(payload.length).toBe(OpenOut.size)
    expect(fieldsOf(OpenOut, payload)).toEqual({ handle: 3, openFlags: 0x80, backingId: 12 })
  })

  test("keeps nothing of the file opened before", () => {
    let handle = 0
    const kernel = FakeKernel.started({
      open: (_nodeId, _flags, _caller, opened) => {
        handle += 1
        if (handle === 1) Object.assign(opened, { handle, flags: Fopen.KEEP_CACHE, backingId: 12 })
      },
    })
    kernel.ask(Opcode.OPEN, { record: record(OpenIn, {}) })
    const { payload } = kernel.ask(Opcode.OPEN, { record: record(OpenIn, {}) })
    expect(fieldsOf(OpenOut, payload)).toEqual({ handle: 0, openFlags: 0, backingId: 0 })
  })
})

describe("CREATE", () => {
  const parts = { names: ["app.db"], record: record(CreateIn, { flags: 0o102, mode: 0o100644 }) }

  test("answers with entry and handle", () => {
    const kernel = FakeKernel.started({
      create: (parentId, name, flags, mode, caller, opened) => {
        expect([parentId, name, flags, mode]).toEqual([1, "app.db", 0o102, 0o100644])
        expect(caller.pid).toBe(123)
        opened.handle = 4
        return entry({ nodeId: 11 })
      },
    })
    const { error, payload } = kernel.ask(Opcode.CREATE, parts)
    expect(error).toBe(0)
    expect(payload.length).toBe(EntryOut.size + OpenOut.size)
    expect(fieldsOf(EntryOut, payload)).toMatchObject({ nodeId: 11, mode: 0o100644 })
    expect(fieldsOf(OpenOut, payload, EntryOut.size)).toMatchObject({ handle: 4 })
  })

  test("never answers ENOSYS, which would be the last CREATE of the mount", () => {
    const kernel = FakeKernel.started({ create: throwing(FuseError.of(Errno.ENOSYS)) })
    expect(kernel.ask(Opcode.CREATE, parts).error).toBe(-Errno.EOPNOTSUPP)
  })

  test("refuses a name that is not UTF-8", () => {
    const kernel = FakeKernel.started({ create: throwing(new Error("reached")) })
    expect(kernel.ask(Opcode.CREATE, { ...parts, names: [NOT_UTF8] }).error).toBe(-Errno.EILSEQ)
  })

  test("is a fault when the entry has no node", () => {
    const kernel = FakeKernel.started({ create: () => entry({ nodeId: 0 }) })
    expect(kernel.ask(Opcode.CREATE, parts).error).toBe(-Errno.EIO)
    expect(String(kernel.faults)).toContain("entry without a node")
  })
})

describe("READ", () => {
  const parts = (size: number, offset = 0) => ({
    nodeId: 5,
    record: record(ReadIn, { handle: 3, offset, size }),
  })

  test("answers with the bytes that were put into the payload", () => {
    const kernel = FakeKernel.started({
      read: (nodeId, handle, offset, size, into) => {
        expect([nodeId, handle, offset, size]).toEqual([5, 3, 2 ** 33, 4096])
        into.bytes.set([1, 2, 3])
        return 3
      },
    })
    expect([...kernel.ask(Opcode.READ, parts(4096, 2 ** 33)).payload]).toEqual([1, 2, 3])
  })

  test("has room for a megabyte, with the address to match", () => {
    const kernel = FakeKernel.started({
      read: (_nodeId, _handle, _offset, size, into) => {
        expect(into.address).toBe(16)
        into.bytes.fill(7, 0, size)
        return size
      },
    })
    expect(kernel.ask(Opcode.READ, parts(1 << 20)).payload.length).toBe(1 << 20)
    expect(kernel.ask(Opcode.READ, parts((1 << 20) + 1)).error).toBe(-Errno.EINVAL)
  })

  test("finds the end of the file at offsets that are no safe integers", () => {
    const kernel = FakeKernel.started({ read: throwing(new Error("reached")) })
    expect(kernel.ask(Opcode.READ, parts(4096, 2 ** 60))).toMatchObject({ error: 0 })
  })

  test.each([-1, 4097, Number.NaN])("is a fault when %p bytes of 4096 were read", (count) => {
    const kernel = FakeKernel.started({ read: () => count })
    expect(kernel.ask(Opcode.READ, parts(4096)).error).toBe(-Errno.EIO)
    expect(kernel.faults.length).toBe(1)
  })
})

describe("WRITE", () => {
  const parts = (size: number, data: Uint8Array, offset = 0) => ({
    nodeId: 5,
    record: record(WriteIn, { handle: 3, offset, size }),
    data,
  })

  test("hands over the bytes where they lie", () => {
    const kernel = FakeKernel.started({
      write: (nodeId, handle, offset, size, from, caller) => {
        expect([nodeId, handle, offset, size, caller.pid]).toEqual([5, 3, 8192, 3, 123])
        expect(from.address).toBe(80)
        expect([...from.bytes.subarray(0, size)]).toEqual([1, 2, 3])
        return 2
      },
    })
    const { error, payload } = kernel.ask(Opcode.WRITE, parts(3, new Uint8Array([1, 2, 3]), 8192))
    expect(error).toBe(0)
    expect(fieldsOf(WriteOut, payload)).toEqual({ size: 2, padding: 0 })
  })

  test("takes a request byte by byte as the kernel sends it", () => {
    const hex =
      "53000000 10000000 2a00000000000000 0500000000000000 e8030000 e9030000 7b000000 0000 0000" +
      "0300000000000000 0010000000000000 03000000 00000000 0000000000000000 02800000 00000000 616263"
    const kernel = FakeKernel.started({
      write: (nodeId, handle, offset, size, from) => {
        expect([nodeId, handle, offset, size]).toEqual([5, 3, 4096, 3])
        expect(Buffer.from(from.bytes.subarray(0, size)).toString()).toBe("abc")
        return size
      },
    })
    kernel.sendBytes(Buffer.from(hex.replaceAll(" ", ""), "hex"))
    const reply = Buffer.from(kernel.reply.bytes.subarray(0, 24)).toString("hex")
    expect(reply).toBe("18000000" + "00000000" + "2a00000000000000" + "0300000000000000")
  })

  test("refuses a size that is more than there is", () => {
    const kernel = FakeKernel.started({ write: throwing(new Error("reached")) })
    expect(kernel.ask(Opcode.WRITE, parts(4, new Uint8Array(3))).error).toBe(-Errno.EINVAL)
  })

  test("refuses to write where no file can be", () => {
    const kernel = FakeKernel.started({ write: throwing(new Error("reached")) })
    const far = parts(3, new Uint8Array(3), 2 ** 60)
    expect(kernel.ask(Opcode.WRITE, far).error).toBe(-Errno.EFBIG)
  })

  test("is a fault when more was written than asked", () => {
    const kernel = FakeKernel.started({ write: () => 4 })
    expect(kernel.ask(Opcode.WRITE, parts(3, new Uint8Array(3))).error).toBe(-Errno.EIO)
    expect(kernel.faults.length).toBe(1)
  })
})

describe("FLUSH", () => {
  test("names the owner of the descriptor, all 64 bits of it", () => {
    const { calls, method } = recorder(undefined)
    const kernel = FakeKernel.started({ flush: method })
    const flush = record(FlushIn, { handle: 3, ownerLo: 1, ownerHi: 0xffffffff })
    expect(kernel.ask(Opcode.FLUSH, { nodeId: 5, record: flush }).error).toBe(0)
    expect(calls.map((args) => args.slice(0, 3))).toEqual([[5, 3, 0xffffffff00000001n]])
  })
})

describe("RELEASE", () => {
  test("names the owner of flock(2) locks when there were any", () => {
    const { calls, method } = recorder(undefined)
    const kernel = FakeKernel.started({ release: method })
    const plain = record(ReleaseIn, { handle: 3, ownerLo: 9 })
    const locked = record(ReleaseIn, {
      handle: 4,
      ownerLo: 9,
      releaseFlags: ReleaseFlag.FLOCK_UNLOCK,
    })
    expect(kernel.ask(Opcode.RELEASE, { nodeId: 5, record: plain }).error).toBe(0)
    expect(kernel.ask(Opcode.RELEASE, { nodeId: 5, record: locked }).error).toBe(0)
    expect(calls).toEqual([
      [5, 3, undefined],
      [5, 4, 9n],
    ])
  })
})

describe("FSYNC", () => {
  test("tells fdatasync(2) from fsync(2)", () => {
    const { calls, method } = recorder(undefined)
    const kernel = FakeKernel.started({ sync: method })
    const fdatasync = record(FsyncIn, { handle: 3, flags: FsyncFlag.FDATASYNC })
    kernel.ask(Opcode.FSYNC, { nodeId: 5, record: fdatasync })
    kernel.ask(Opcode.FSYNC, { nodeId: 5, record: record(FsyncIn, { handle: 3 }) })
    expect(calls.map((args) => args.slice(0, 3))).toEqual([
      [5, 3, true],
      [5, 3, false],
    ])
  })
})

describe("SETLK and SETLKW", () => {
  const lock = (type: number, flags: number = LkFlag.FLOCK) => ({
    nodeId: 5,
    record: record(LkIn, { handle: 3, ownerLo: 7, ownerHi: 1, type, flags }),
  })

  test("are flock(2), without and with waiting", () => {
    const { calls, method } = recorder(undefined)
    const kernel = FakeKernel.started({ flock: method })
    expect(kernel.ask(Opcode.SETLK, lock(LockType.RDLCK)).error).toBe(0)
    expect(kernel.ask(Opcode.SETLKW, lock(LockType.WRLCK)).error).toBe(0)
    expect(kernel.ask(Opcode.SETLKW, lock(LockType.UNLCK)).error).toBe(0)
    expect(calls).toEqual([
      [5, 3, 0x100000007n, "shared", false],
      [5, 3, 0x100000007n, "exclusive", true],
      [5, 3, 0x100000007n, "unlock", true],
    ])
  })

  test("do not know fcntl(2) locks, nor locks of other types", () => {
    const kernel = FakeKernel.started({ flock: throwing(new Error("reached")) })
    expect(kernel.ask(Opcode.SETLK, lock(LockType.RDLCK, 0)).error).toBe(-Errno.ENOSYS)
    expect(kernel.ask(Opcode.SETLK, lock(3)).error).toBe(-Errno.EINVAL)
  })
})

describe("UNLINK", () => {
  test("names the entry", () => {
    const { calls, method } = recorder(undefined)
    const kernel = FakeKernel.started({ unlink: method })
    expect(kernel.ask(Opcode.UNLINK, { names: ["app.db-journal"] }).error).toBe(0)
    const caller = { uid: 1000, gid: 1001, pid: 123 }
    expect(calls).toEqual([[1, "app.db-journal", caller]])
    expect(kernel.ask(Opcode.UNLINK, { names: [NOT_UTF8] }).error).toBe(-Errno.ENOENT)
  })
})

describe("RENAME and RENAME2", () => {
  test("name both places", () => {
    const { calls, method } = recorder(undefined)
    const kernel = FakeKernel.started({ rename: method })
    const names = ["a", "b"]
    kernel.ask(Opcode.RENAME, { names, record: record(RenameIn, { newParentId: 4 }) })
    kernel.ask(Opcode.RENAME2, { names, record: record(Rename2In, { newParentId: 4, flags: 1 }) })
    const caller = { uid: 1000, gid: 1001, pid: 123 }
    expect(calls).toEqual([
      [1, "a", 4, "b", 0, caller],
      [1, "a", 4, "b", 1, caller],
    ])
  })

  test.each([[["a", NOT_UTF8]], [[NOT_UTF8, "b"]]])("refuse %p", (names) => {
    const kernel = FakeKernel.started({ rename: throwing(new Error("reached")) })
    const parts = { names, record: record(RenameIn, { newParentId: 4 }) }
    expect(kernel.ask(Opcode.RENAME, parts).error).toBe(-Errno.EILSEQ)
  })
})

describe("STATFS", () => {
  test("answers with counts in blocks", () => {
    const kernel = FakeKernel.started({
      statfs: (into) =>
        void Object.assign(into, { blocks: 2 ** 40, blockSize: 4096, nameLengthMax: 255 }),
    })
    const { error, payload } = kernel.ask(Opcode.STATFS)
    expect(error).toBe(0)
    expect(payload.length).toBe(StatfsOut.size)
    expect(fieldsOf(StatfsOut, payload)).toMatchObject({
      blocks: 2 ** 40,
      blockSize: 4096,
      fragmentSize: 4096,
      nameLengthMax: 255,
    })
  })
})

describe("FSYNCDIR", () => {
  test("syncs the directory", () => {
    const { calls, method } = recorder(undefined)
    const kernel = FakeKernel.started({ syncDirectory: method })
    expect(kernel.ask(Opcode.FSYNCDIR, { nodeId: 1, record: record(FsyncIn, {}) }).error).toBe(0)
    expect(calls).toEqual([[1]])
  })
})

test.each<[keyof typeof Opcode, keyof typeof Errno]>([
  ["MKNOD", "EPERM"],
  ["MKDIR", "EPERM"],
  ["RMDIR", "EPERM"],
  ["SYMLINK", "EPERM"],
  ["LINK", "EPERM"],
  ["READLINK", "EINVAL"],
  ["IOCTL", "ENOTTY"],
  // The kernel does without these from the first ENOSYS on.
  ["SETXATTR", "ENOSYS"],
  ["GETXATTR", "ENOSYS"],
  ["LISTXATTR", "ENOSYS"],
  ["REMOVEXATTR", "ENOSYS"],
  ["ACCESS", "ENOSYS"],
  ["LSEEK", "ENOSYS"],
  ["COPY_FILE_RANGE", "ENOSYS"],
  ["COPY_FILE_RANGE_64", "ENOSYS"],
  ["POLL", "ENOSYS"],
  ["BMAP", "ENOSYS"],
  ["SYNCFS", "ENOSYS"],
  ["STATX", "ENOSYS"],
  ["TMPFILE", "ENOSYS"],
  ["READDIRPLUS", "ENOSYS"],
])("%s is answered with %s", (opcode, errno) => {
  const kernel = FakeKernel.started()
  const data = new Uint8Array(Buffer.from(`${"a".repeat(80)}\0`)) // a record and a name, for all of them
  const { error, payload } = kernel.ask(Opcode[opcode], { data })
  expect({ error, size: payload.length }).toEqual({ error: -Errno[errno], size: 0 })
})

test.each([
  ["plain", 0, 0, { offset: 4096, size: 100, keepsSize: false }],
  ["with KEEP_SIZE", 1, 0, { offset: 4096, size: 100, keepsSize: true }],
  ["that punches a hole", 3, -Errno.EOPNOTSUPP, undefined],
  ["that writes zeros", 16, -Errno.EOPNOTSUPP, undefined],
] as const)("FALLOCATE %s is answered", (_, mode, error, asked) => {
  const calls: object[] = []
  const kernel = FakeKernel.started({
    allocate: (_node, _handle, offset, size, keepsSize) => {
      calls.push({ offset, size, keepsSize })
    },
  })
  const data = new Uint8Array(32)
  const view = new DataView(data.buffer)
  view.setBigUint64(8, 4096n, true)
  view.setBigUint64(16, 100n, true)
  view.setUint32(24, mode, true)
  expect(kernel.ask(Opcode.FALLOCATE, { data }).error).toBe(error)
  expect(calls).toEqual(asked === undefined ? [] : [asked])
})

test("GETLK is not implemented, since fcntl(2) locks are the kernel's", () => {
  const kernel = FakeKernel.started()
  expect(kernel.ask(Opcode.GETLK, { record: record(LkIn, {}) }).error).toBe(-Errno.ENOSYS)
})

test("An opcode nobody has heard of is answered with ENOSYS", () => {
  expect(FakeKernel.started().ask(4711).error).toBe(-Errno.ENOSYS)
})

test("DESTROY is answered, and NOTIFY_REPLY is not", () => {
  const kernel = FakeKernel.started()
  expect(kernel.ask(Opcode.DESTROY).error).toBe(0)
  expect(kernel.send(Opcode.NOTIFY_REPLY)).toBeUndefined()
})

describe("handle()", () => {
  const failing: [string, keyof FileSystem, number, RequestParts][] = [
    ["LOOKUP", "lookup", Opcode.LOOKUP, { names: ["a"] }],
    ["GETATTR", "getAttributes", Opcode.GETATTR, getattr(5)],
    ["SETATTR", "setAttributes", Opcode.SETATTR, { record: record(SetattrIn, {}) }],
    ["OPEN", "open", Opcode.OPEN, { record: record(OpenIn, {}) }],
    ["CREATE", "create", Opcode.CREATE, { names: ["a"], record: record(CreateIn, {}) }],
    ["READ", "read", Opcode.READ, { record: record(ReadIn, {}) }],
    ["WRITE", "write", Opcode.WRITE, { record: record(WriteIn, {}) }],
    ["FLUSH", "flush", Opcode.FLUSH, { record: record(FlushIn, {}) }],
    ["RELEASE", "release", Opcode.RELEASE, { record: record(ReleaseIn, {}) }],
    ["FSYNC", "sync", Opcode.FSYNC, { record: record(FsyncIn, {}) }],
    ["SETLK", "flock", Opcode.SETLK, { record: record(LkIn, { flags: LkFlag.FLOCK }) }],
    ["UNLINK", "unlink", Opcode.UNLINK, { names: ["a"] }],
    ["RENAME", "rename", Opcode.RENAME, { names: ["a", "b"], record: record(RenameIn, {}) }],
    ["RENAME2", "rename", Opcode.RENAME2, { names: ["a", "b"], record: record(Rename2In, {}) }],
    ["READDIR", "list", Opcode.READDIR, { record: record(ReadIn, { size: 4096 }) }],
    ["FSYNCDIR", "syncDirectory", Opcode.FSYNCDIR, { record: record(FsyncIn, {}) }],
    ["STATFS", "statfs", Opcode.STATFS, {}],
  ]

  test.each(failing)(
    "answers %s with the errno that was thrown",
    (_name, method, opcode, parts) => {
      const kernel = FakeKernel.started({ [method]: throwing(FuseError.of(Errno.ENOSPC)) })
      const { error, payload, unique } = kernel.ask(opcode, { ...parts, unique: 42 })
      expect({ error, unique, size: payload.length }).toEqual({
        error: -Errno.ENOSPC,
        unique: 42,
        size: 0,
      })
      expect(kernel.faults).toEqual([])
    },
  )

  const failWith = (error: unknown, options = {}) => {
    const kernel = FakeKernel.started({ getAttributes: throwing(error) }, options)
    return { kernel, error: kernel.ask(Opcode.GETATTR, getattr(5)).error }
  }

  test("asks errnoOf() about errors that are not its own", () => {
    expect(failWith(new SysError(Errno.EDQUOT, "wal:write", "write")).error).toBe(-Errno.EDQUOT)
    expect(failWith("a string").error).toBe(-Errno.EIO)
  })

  test.each([0, -5, 512, 5.5, Number.NaN])("answers EIO for the impossible errno %p", (errno) => {
    expect(failWith(new Error("?"), { errnoOf: () => errno }).error).toBe(-Errno.EIO)
  })

  test("answers EIO to a broken invariant, and reports it", () => {
    const kernel = FakeKernel.started({ getAttributes: () => assert(false, "1 = 2") })
    expect(kernel.ask(Opcode.GETATTR, getattr(5)).error).toBe(-Errno.EIO)
    expect(String(kernel.faults)).toBe("AssertionError: 1 = 2")
  })

  test("answers EIO when errnoOf() itself throws, and reports that", () => {
    const { kernel, error } = failWith(new Error("first"), {
      errnoOf: throwing(new Error("second")),
    })
    expect([error, String(kernel.faults)]).toEqual([-Errno.EIO, "Error: second"])
  })

  test("echoes all 64 bits of unique", () => {
    const kernel = FakeKernel.started()
    const parts = { unique: 0xfffffffe, uniqueHi: 0x89abcdef }
    kernel.ask(Opcode.STATFS, parts)
    const unique = new DataView(kernel.reply.bytes.buffer).getBigUint64(8, true)
    expect(unique).toBe(0x89abcdef_fffffffen)
  })

  test("makes no objects for READ, WRITE, GETATTR and a repeated LOOKUP", () => {
    // Borrowed objects are the same from call to call: what a file system is given is not made
    // anew.
    const seen = new Set<unknown>()
    const found = entry()
    const kernel = FakeKernel.started({
      lookup: () => found,
      getAttributes: (_nodeId, into) => void seen.add(into),
      read: (_nodeId, _handle, _offset, _size, into) => seen.add(into).size,
      write: (_nodeId, _handle, _offset, size, from, caller) => {
        seen.add(from).add(caller)
        return size
      },
    })
    for (let round = 0; round < 3; round++) {
      kernel.ask(Opcode.LOOKUP, { names: ["app.db"] })
      kernel.ask(Opcode.GETATTR, getattr(5))
      kernel.ask(Opcode.READ, { record: record(ReadIn, { size: 4096 }) })
      kernel.ask(Opcode.WRITE, { record: record(WriteIn, {}) })
    }
    expect(seen.size).toBe(4)
  })
})

function getattr(nodeId: number): RequestParts {
  return { nodeId, record: record(GetattrIn, {}) }
}

function throwing(error: unknown): () => never {
  return () => {
    throw error
  }
}
