import { describe, expect, test } from "bun:test"
import { flagNames, InitFlag, InitFlag2 } from "../../src/fuse/flags.ts"
import { Opcode } from "../../src/fuse/opcodes.ts"
import { InitOut } from "../../src/fuse/replies.ts"
import { InitIn } from "../../src/fuse/requests.ts"
import type { FuseServerOptions } from "../../src/fuse/server.ts"
import { Errno } from "../../src/sys/errno.ts"
import { FakeKernel, fieldsOf, OFFERED, record } from "../support/fake-kernel.ts"

function init(offered: Partial<typeof OFFERED> = {}, options: Partial<FuseServerOptions> = {}) {
  const kernel = new FakeKernel({}, options)
  kernel.reply.bytes.fill(0xff) // nothing of an earlier reply may shine through
  const bytes = record(InitIn, { ...OFFERED, ...offered })
  const { error, payload } = kernel.ask(Opcode.INIT, { record: bytes })
  return { kernel, error, out: error === 0 ? fieldsOf(InitOut, payload) : undefined, payload }
}

describe("INIT", () => {
  test("agrees with Linux 6.18 on what we want", () => {
    const { kernel, out, payload } = init()
    expect(payload.length).toBe(InitOut.size)
    const flags = flagNames(InitFlag, out?.flags ?? 0).split("|")
    expect({ ...out, flags, flags2: flagNames(InitFlag2, out?.flags2 ?? 0) }).toEqual({
      major: 7,
      minor: 45,
      maxReadahead: 131072,
      flags: [
        "ASYNC_READ",
        "BIG_WRITES",
        "FLOCK_LOCKS",
        "PARALLEL_DIROPS",
        "MAX_PAGES",
        "NO_OPENDIR_SUPPORT",
        "EXPLICIT_INVAL_DATA",
        "INIT_EXT",
      ],
      flags2: "0",
      maxBackground: 64,
      congestionThreshold: 48,
      maxWrite: 1 << 20,
      timeGranularity: 1,
      maxPages: 256,
      mapAlignment: 0,
      maxStackDepth: 0,
      requestTimeout: 0,
    })
    expect(kernel.server.protocol).toEqual({ minor: 45, flags: out?.flags as number, flags2: 0 })
  })

  test.each(["WRITEBACK_CACHE", "POSIX_LOCKS", "ATOMIC_O_TRUNC", "NO_OPEN_SUPPORT"] as const)(
    "does not take %s by itself",
    (flag) => {
      expect((init().out?.flags ?? 0) & InitFlag[flag]).toBe(0)
    },
  )

  test("takes passthrough when it is wanted and offered", () => {
    const wanted = init({}, { passthrough: true })
    expect(wanted.out).toMatchObject({ flags2: InitFlag2.PASSTHROUGH, maxStackDepth: 1 })
    const notOffered = init({ flags2: 0 }, { passthrough: true })
    expect(notOffered.out).toMatchObject({ flags2: 0, maxStackDepth: 0 })
    const notValid = init({ flags: OFFERED.flags & ~InitFlag.INIT_EXT }, { passthrough: true })
    expect(notValid.out).toMatchObject({ flags2: 0, maxStackDepth: 0 })
  })

  test("takes the locks of fcntl(2) when they are wanted and offered", () => {
    const flagsOf = ({ out }: ReturnType<typeof init>) => out?.flags ?? 0
    expect(flagsOf(init({}, { posixLocks: true })) & InitFlag.POSIX_LOCKS).not.toBe(0)
    const flags = OFFERED.flags & ~InitFlag.POSIX_LOCKS
    expect(flagsOf(init({ flags }, { posixLocks: true })) & InitFlag.POSIX_LOCKS).toBe(0)
  })

  test("takes only what is offered", () => {
    const { out } = init({ flags: InitFlag.ASYNC_READ | InitFlag.POSIX_LOCKS })
    expect(out).toMatchObject({ flags: InitFlag.ASYNC_READ, maxPages: 0, maxWrite: 128 * 1024 })
  })

  test("speaks the older of both minor versions", () => {
    expect(init({ minor: 31 }).out).toMatchObject({ major: 7, minor: 31 })
    expect(init({ minor: 99 }).out).toMatchObject({ major: 7, minor: 45 })
  })

  test("takes the shorter request of protocols before 7.36", () => {
    const kernel = new FakeKernel()
    const short = record(InitIn, { ...OFFERED, minor: 35 }).subarray(0, 16)
    const { error, payload } = kernel.ask(Opcode.INIT, { record: short })
    expect(error).toBe(0)
    expect(fieldsOf(InitOut, payload)).toMatchObject({ minor: 35, flags2: 0 })
  })

  test.each([
    [6, 45],
    [7, 22],
    [0, 0],
  ])("refuses protocol %d.%d", (major, minor) => {
    expect(init({ major, minor }).error).toBe(-Errno.EPROTO)
  })

  test("tells a newer major version ours, and waits for it to start anew", () => {
    const { kernel, out } = init({ major: 8, minor: 3 })
    expect(out).toMatchObject({ major: 7, minor: 45, flags: 0, maxWrite: 0 })
    expect(kernel.server.protocol).toBeUndefined()

    const again = kernel.ask(Opcode.INIT, { record: record(InitIn, OFFERED) })
    expect(fieldsOf(InitOut, again.payload)).toMatchObject({ major: 7, maxWrite: 1 << 20 })
    expect(kernel.server.protocol).toBeDefined()
  })

  test("tells a newer major version ours whatever else its request holds", () => {
    const kernel = new FakeKernel()
    const versions = record(InitIn, { major: 8 }).subarray(0, 8)
    expect(kernel.ask(Opcode.INIT, { record: versions }).error).toBe(0)
  })

  test("happens once, and before everything else", () => {
    const kernel = new FakeKernel()
    expect(kernel.ask(Opcode.STATFS).error).toBe(-Errno.EPROTO)
    const bytes = record(InitIn, OFFERED)
    expect(kernel.ask(Opcode.INIT, { record: bytes }).error).toBe(0)
    expect(kernel.ask(Opcode.STATFS).error).toBe(0)
    expect(kernel.ask(Opcode.INIT, { record: bytes }).error).toBe(-Errno.EPROTO)
  })
})
