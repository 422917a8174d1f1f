import { expect, test } from "bun:test"
import { longer, nearest } from "../../src/cli/terminal/nearest.ts"

const FLAGS = ["fuse-dir", "data-dir", "primary", "primary-url", "hostname"]

test.each([
  ["fuse-dri", "fuse-dir"],
  ["fusedir", "fuse-dir"],
  ["primray", "primary"],
  ["primary-ulr", "primary-url"],
  ["data_dir", "data-dir"],
  ["dir", undefined],
  ["bogus", undefined],
  ["", undefined],
])("nearest() to %j is %j", (word, expected) => {
  expect(nearest(word, FLAGS)).toBe(expected)
})

test.each([
  ["sync", "synced"],
  ["token-file", "auth-token-file"],
  ["token", "auth-token"],
  ["d", undefined],
  ["url", undefined],
])("longer() of %j is %j", (word, expected) => {
  const flags = ["synced", "auth-token", "auth-token-file", "url-a", "own-url", "db"]
  expect(longer(word, flags)).toBe(expected)
})
