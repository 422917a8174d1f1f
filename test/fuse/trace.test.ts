import { describe, expect, test } from "bun:test"
import { Deferred } from "../../src/fuse/deferred.ts"
import {
  Fattr,
  FsyncFlag,
  flagNames,
  InitFlag,
  LkFlag,
  LockType,
  OpenFlag,
  ReleaseFlag,
} from "../../src/fuse/flags.ts"
import { FuseError } from "../../src/fuse/fuse-error.ts"
import { Opcode } from "../../src/fuse/opcodes.ts"
import * as requests from "../../src/fuse/requests.ts"
import { Errno } from "../../src/sys/errno.ts"
import { FakeKernel, OFFERED, type RequestParts, record } from "../support/fake-kernel.ts"

function traced(fileSystem: Parameters<typeof FakeKernel.started>[0] = {}) {
  const lines: string[] = []
  const kernel = FakeKernel.started(fileSystem, { trace: (line) => lines.push(line) })
  lines.length = 0
  return { kernel, lines }
}

const requestsOfAllKinds: [number, RequestParts][] = [
  [Opcode.LOOKUP, { names: ["app.db"] }],
  [Opcode.LOOKUP, { names: [new Uint8Array([0xff])] }],
  [Opcode.FORGET, { nodeId: 5, record: record(requests.ForgetIn, { count: 2 }) }],
  [Opcode.BATCH_FORGET, { record: record(requests.BatchForgetIn, { count: 0 }) }],
  [Opcode.GETATTR, { nodeId: 5, record: record(requests.GetattrIn, {}) }],
  [
    Opcode.SETATTR,
    {
      nodeId: 5,
      record: record(requests.SetattrIn, {
        valid: Fattr.SIZE | Fattr.FH | Fattr.MODE | Fattr.MTIME_NOW,
        handle: 3,
        size: 4096,
        mode: 0o600,
      }),
    },
  ],
  [Opcode.OPEN, { nodeId: 5, record: record(requests.OpenIn, { flags: 0 }) }],
  [
    Opcode.OPEN,
    { nodeId: 5, record: record(requests.OpenIn, { flags: OpenFlag.RDWR | OpenFlag.CLOEXEC }) },
  ],
  [
    Opcode.CREATE,
    {
      names: ["app.db"],
      record: record(requests.CreateIn, { flags: OpenFlag.RDWR | OpenFlag.CREAT, mode: 0o100644 }),
    },
  ],
  [
    Opcode.READ,
    { nodeId: 5, record: record(requests.ReadIn, { handle: 3, offset: 4096, size: 0 }) },
  ],
  [
    Opcode.WRITE,
    {
      nodeId: 5,
      record: record(requests.WriteIn, { handle: 3, offset: 4096, size: 2, writeFlags: 1 }),
      data: new Uint8Array(2),
    },
  ],
  [
    Opcode.FLUSH,
    { nodeId: 5, record: record(requests.FlushIn, { handle: 3, ownerLo: 10, ownerHi: 1 }) },
  ],
  [
    Opcode.FSYNC,
    { nodeId: 5, record: record(requests.FsyncIn, { handle: 3, flags: FsyncFlag.FDATASYNC }) },
  ],
  [
    Opcode.SETLKW,
    {
      nodeId: 5,
      record: record(requests.LkIn, {
        handle: 3,
        ownerLo: 255,
        type: LockType.WRLCK,
        flags: LkFlag.FLOCK,
      }),
    },
  ],
  [Opcode.GETLK, { record: record(requests.LkIn, { endLo: 99, type: LockType.RDLCK }) }],
  [
    Opcode.RELEASE,
    {
      nodeId: 5,
      record: record(requests.ReleaseIn, {
        handle: 3,
        releaseFlags: ReleaseFlag.FLOCK_UNLOCK,
        ownerLo: 255,
      }),
    },
  ],
  [Opcode.UNLINK, { names: ["app.db-journal"] }],
  [Opcode.RENAME, { names: ["a", "b"], record: record(requests.RenameIn, { newParentId: 4 }) }],
  [
    Opcode.RENAME2,
    { names: ["a", "b"], record: record(requests.Rename2In, { newParentId: 4, flags: 1 }) },
  ],
  [Opcode.OPENDIR, { record: record(requests.OpenIn, { flags: OpenFlag.NONBLOCK }) }],
  [Opcode.READDIR, { record: record(requests.ReadIn, { size: 4096 }) }],
  [Opcode.INTERRUPT, { record: record(requests.InterruptIn, { uniqueLo: 12 }) }],
  [Opcode.STATFS, { unique: 0xfffffffe, uniqueHi: 0xffffffff }],
  [Opcode.MKDIR, { names: ["dir"], record: new Uint8Array(8) }],
  [Opcode.WRITE, { nodeId: 5 }],
  [Opcode.GETXATTR, { nodeId: 5 }],
  [4711, {}],
]

describe("A trace", () => {
  test("has a line for every request and every reply", () => {
    const { kernel, lines } = traced()
    for (const [opcode, parts] of requestsOfAllKinds) kernel.send(opcode, parts)
    expect(lines.join("\n")).toMatchInlineSnapshot(`
      "rx 4: LOOKUP n1 "app.db" p123
      tx 4: OK 128 bytes
      rx 6: LOOKUP n1 (not UTF-8) p123
      tx 6: ENOENT
      rx 8: FORGET n5 -2 p123
      rx 10: BATCH_FORGET n1 0 nodes p123
      rx 12: GETATTR n5 p123
      tx 12: OK 104 bytes
      rx 14: SETATTR n5 h3 MODE|SIZE|FH|MTIME_NOW size 4096 mode 0600 p123
      tx 14: OK 104 bytes
      rx 16: OPEN n5 RDONLY p123
      tx 16: OK 16 bytes
      rx 18: OPEN n5 RDWR|CLOEXEC p123
      tx 18: OK 16 bytes
      rx 20: CREATE n1 "app.db" RDWR|CREAT 0100644 p123
      tx 20: OK 144 bytes
      rx 22: READ n5 h3 [4096 +0) p123
      tx 22: OK
      rx 24: WRITE n5 h3 [4096 +2) CACHE p123
      tx 24: OK 8 bytes
      rx 26: FLUSH n5 h3 owner 10000000a p123
      tx 26: OK
      rx 28: FSYNC n5 h3 FDATASYNC p123
      tx 28: OK
      rx 30: SETLKW n5 h3 WRLCK FLOCK owner ff p123
      tx 30: OK
      rx 32: GETLK n1 h0 RDLCK [0..99] owner 0 p123
      tx 32: ENOSYS
      rx 34: RELEASE n5 h3 FLOCK_UNLOCK owner ff p123
      tx 34: OK
      rx 36: UNLINK n1 "app.db-journal" p123
      tx 36: OK
      rx 38: RENAME n1 "a" to n4 "b" p123
      tx 38: OK
      rx 40: RENAME2 n1 "a" to n4 "b" NOREPLACE p123
      tx 40: OK
      rx 42: OPENDIR n1 RDONLY|NONBLOCK p123
      tx 42: ENOSYS
      rx 44: READDIR n1 h0 [0 +4096) p123
      tx 44: OK 64 bytes
      rx 46: INTERRUPT n1 of 12 p123
      rx 18446744073709551614: STATFS n1 p123
      tx 18446744073709551614: OK 80 bytes
      rx 50: MKDIR n1 "dir" p123
      tx 50: EPERM
      rx 52: WRITE n5 malformed, 40 bytes p123
      tx 52: EINVAL
      rx 54: GETXATTR n5 p123
      tx 54: ENOSYS
      rx 56: opcode 4711 n1 p123
      tx 56: ENOSYS"
    `)
  })

  test("shows what the kernel offers", () => {
    const lines: string[] = []
    const kernel = new FakeKernel({}, { trace: (line) => lines.push(line) })
    const flags = InitFlag.ASYNC_READ | InitFlag.INIT_EXT
    kernel.ask(Opcode.INIT, { record: record(requests.InitIn, { ...OFFERED, flags }) })
    expect(lines.join("\n")).toMatchInlineSnapshot(`
      "rx 2: INIT n1 7.45 readahead 131072 ASYNC_READ|INIT_EXT SECURITY_CTX|CREATE_SUPP_GROUP|HAS_EXPIRE_ONLY|DIRECT_IO_ALLOW_MMAP|PASSTHROUGH|NO_EXPORT_SUPPORT|HAS_RESEND|ALLOW_IDMAP|REQUEST_TIMEOUT p123
      tx 2: OK 64 bytes"
    `)
  })

  test("shows errors by name, and answers that come later", () => {
    const deferred = new Deferred()
    const { kernel, lines } = traced({
      write: () => deferred,
      read: () => {
        throw FuseError.of(Errno.ENOSPC)
      },
    })
    const write = record(requests.WriteIn, { handle: 3, size: 4 })
    kernel.send(Opcode.WRITE, { unique: 40, nodeId: 5, record: write, data: new Uint8Array(4) })
    kernel.send(Opcode.READ, {
      unique: 42,
      nodeId: 5,
      record: record(requests.ReadIn, { handle: 3 }),
    })
    deferred.done()
    expect(lines.join("\n")).toMatchInlineSnapshot(`
      "rx 40: WRITE n5 h3 [0 +4) p123
      tx 40: deferred
      rx 42: READ n5 h3 [0 +0) p123
      tx 42: ENOSPC
      tx 40: OK 8 bytes"
    `)
  })
})

describe("flagNames()", () => {
  test.each([
    [0, "0"],
    [InitFlag.ASYNC_READ, "ASYNC_READ"],
    [InitFlag.ASYNC_READ | InitFlag.MAX_PAGES, "ASYNC_READ|MAX_PAGES"],
    [InitFlag.INIT_EXT | 0x80000000, "INIT_EXT|0x80000000"],
  ])("names the bits of %p: %p", (flags, names) => {
    expect(flagNames(InitFlag, flags)).toBe(names)
  })
})
