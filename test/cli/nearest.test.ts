import { expect, test } from "bun:test"
import { nearest } from "../../src/cli/terminal/nearest.ts"

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
