import { describe, expect, test } from "bun:test"
import { formatSize, parseSize } from "../../src/lib/size.ts"

describe("parseSize()", () => {
  test.each([
    ["0", 0],
    ["4096", 4096],
    ["1KiB", 1024],
    ["1.5 GiB", 1.5 * 2 ** 30],
    ["500mb", 5e8],
    ["2TB", 2e12],
  ])("reads %s", (text, bytes) => {
    expect(parseSize(text)).toBe(bytes)
  })

  test.each(["", "GiB", "-1", "1e3", "10 apples", "1.2.3MB", "99999999TB"])(
    "does not read %p",
    (text) => {
      expect(parseSize(text)).toBeUndefined()
    },
  )
})

test("formatSize() is for people", () => {
  expect([0, 1023, 1024, 1.5 * 2 ** 20, 2 ** 50].map(formatSize)).toEqual([
    "0 B",
    "1023 B",
    "1.0 KiB",
    "1.5 MiB",
    "1024.0 TiB",
  ])
})
