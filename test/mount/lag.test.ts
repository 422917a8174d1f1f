import { expect, test } from "bun:test"
import { formatLag } from "../../src/mount/files/lag.ts"

test.each([
  [0, "+000000000\n"],
  [7.4, "+000000007\n"],
  [999.6, "+000001000\n"],
  [123_456_789, "+123456789\n"],
  [999_999_999, "+999999999\n"],
  [1_234_567_890, "+1234567890"], // more digits, and still 11 bytes
  [2 ** 40, "+2147483646"],
  [undefined, "+2147483647"], // what the original's clients take for "not in sync yet"
])("formatLag(%p) is %p", (ms, text) => {
  expect(formatLag(ms)).toBe(text)
  expect(text).toHaveLength(11)
})
