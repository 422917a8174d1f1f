import { describe, expect, test } from "bun:test"
import { NOTIFY_SIZE, Notifier } from "../../src/fuse/notify.ts"

function notifier() {
  const bytes = new Uint8Array(Math.ceil(NOTIFY_SIZE / 4) * 4).fill(0xff)
  const hex = (size: number) => Buffer.from(bytes.subarray(0, size)).toString("hex")
  return { notifier: new Notifier({ address: 0, bytes }), hex }
}

describe("Notifier", () => {
  const inodeHeader = "28000000" + "02000000" + "0000000000000000" // 40 bytes, INVAL_INODE, unique 0

  test("invalidates a range of a file", () => {
    const { notifier: notify, hex } = notifier()
    expect(hex(notify.invalidateInode(5, 4096, 2 ** 32))).toBe(
      `${inodeHeader}050000000000000000100000000000000000000001000000`,
    )
  })

  test("invalidates attributes only, by a negative offset", () => {
    const { notifier: notify, hex } = notifier()
    expect(hex(notify.invalidateAttributes(5))).toBe(
      `${inodeHeader}0500000000000000ffffffffffffffff0000000000000000`,
    )
  })

  test("invalidates a name, with a NUL that its length does not count", () => {
    const { notifier: notify, hex } = notifier()
    const header = "25000000" + "03000000" + "0000000000000000" // 37 bytes, INVAL_ENTRY
    const name = Buffer.from("a.db\0").toString("hex")
    expect(hex(notify.invalidateEntry(1, "a.db"))).toBe(
      `${header}01000000000000000400000000000000${name}`,
    )
  })

  test("counts the length of a name in bytes", () => {
    const { notifier: notify, hex } = notifier()
    expect(hex(notify.invalidateEntry(1, "ö")).slice(48)).toBe("02000000" + "00000000" + "c3b600")
  })

  test("has room for the longest name the kernel takes, and refuses longer ones", () => {
    const { notifier: notify } = notifier()
    expect(notify.invalidateEntry(1, "n".repeat(1024))).toBe(NOTIFY_SIZE)
    expect(() => notify.invalidateEntry(1, "n".repeat(1025))).toThrow(
      "Cannot invalidate a name of 1025 characters: it is too long",
    )
  })
})
