import { describe, expect, test } from "bun:test"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { closeFile, O_CREAT, O_RDWR, openFile, tryLockFile } from "../../src/sys/file.ts"
import { isLockedByOther, type LockKind, tryLock, unlock } from "../../src/sys/locks.ts"

/** One file, opened twice: as two processes would have it. */
function openTwice() {
  const directory = mkdtempSync(join(tmpdir(), "litefs-locks-"))
  const path = join(directory, "file")
  const [a, b] = [openFile("test", path, O_RDWR | O_CREAT), openFile("test", path, O_RDWR)]
  return {
    a,
    b,
    [Symbol.dispose]() {
      closeFile(a)
      closeFile(b)
      rmSync(directory, { recursive: true })
    },
  }
}

const PENDING = 0x40000000

describe("tryLock()", () => {
  test.each<[LockKind, LockKind, boolean]>([
    ["shared", "shared", true],
    ["shared", "exclusive", false],
    ["exclusive", "shared", false],
    ["exclusive", "exclusive", false],
  ])("tryLock() of a range that another holds %s, %s: %p", (held, wanted, isTaken) => {
    using file = openTwice()
    expect(tryLock(file.a, held, PENDING, 1)).toBe(true)
    expect(isLockedByOther(file.b, wanted, PENDING, 1)).toBe(!isTaken)
    expect(tryLock(file.b, wanted, PENDING, 1)).toBe(isTaken)
  })

  test("tryLock() does not mind locks beside its range", () => {
    using file = openTwice()
    tryLock(file.a, "exclusive", PENDING, 1)
    expect(tryLock(file.b, "exclusive", PENDING + 1, 511)).toBe(true)
    expect(tryLock(file.a, "shared", PENDING + 2, 510)).toBe(false)
    expect(isLockedByOther(file.a, "exclusive", 0, PENDING)).toBe(false)
  })

  test("tryLock() upgrades and downgrades what the descriptor holds", () => {
    using file = openTwice()
    expect(tryLock(file.a, "shared", 120, 8)).toBe(true)
    expect(tryLock(file.a, "exclusive", 120, 8)).toBe(true)
    expect(tryLock(file.b, "shared", 120, 1)).toBe(false)
    expect(tryLock(file.a, "shared", 120, 8)).toBe(true)
    expect(tryLock(file.b, "shared", 120, 1)).toBe(true)
    expect(tryLock(file.a, "exclusive", 120, 8)).toBe(false)
    expect(isLockedByOther(file.a, "exclusive", 121, 7)).toBe(false) // ours do not count
  })

  test("unlock() gives back a part of a range", () => {
    using file = openTwice()
    tryLock(file.a, "exclusive", 120, 8)
    unlock(file.a, 121, 1)
    expect(tryLock(file.b, "exclusive", 121, 1)).toBe(true)
    expect(tryLock(file.b, "exclusive", 120, 1)).toBe(false)
    expect(tryLock(file.b, "exclusive", 122, 1)).toBe(false)
  })

  test("closeFile() drops the locks of its own descriptor, and of no other", () => {
    using file = openTwice()
    tryLock(file.a, "exclusive", 120, 1)
    tryLock(file.b, "exclusive", 121, 1)
    const directory = mkdtempSync(join(tmpdir(), "litefs-locks-"))
    const path = join(directory, "f")
    const [c, d] = [openFile("test", path, O_RDWR | O_CREAT), openFile("test", path, O_RDWR)]
    tryLock(c, "exclusive", 0, 1)
    closeFile(openFile("test", path, O_RDWR)) // with POSIX locks this would drop it
    expect(tryLock(d, "exclusive", 0, 1)).toBe(false)
    closeFile(c)
    expect(tryLock(d, "exclusive", 0, 1)).toBe(true)
    closeFile(d)
    rmSync(directory, { recursive: true })
  })
})

test("tryLockFile() is for one open file at a time", () => {
  using file = openTwice()
  expect([tryLockFile(file.a), tryLockFile(file.b), tryLockFile(file.a)]).toEqual([
    true,
    false,
    true,
  ])
})
