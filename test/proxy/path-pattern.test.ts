import { describe, expect, test } from "bun:test"
import { PathPatterns, pathOf } from "../../src/proxy/path-pattern.ts"

describe("PathPatterns", () => {
  test.each([
    ["/", "/", true],
    ["/", "/a", false],
    ["/build/*", "/build/", true],
    ["/build/*", "/build/a/b.js", true],
    ["/build/*", "/build", false],
    ["*.css", "/a/b.css", true],
    ["*.css", "/a/b.css/", false],
    ["/a*b", "/ab", true],
    ["/a*a", "/a", false],
    ["/a*b*c", "/a1b2b3c", true],
    ["/a*b*c", "/acb", false],
    ["/*/*/c", "/a/b/c", true],
    ["*", "", true],
    ["/a.c", "/abc", false],
    ["/a[b]", "/a[b]", true],
    ["/a**b", "/axb", true],
  ])("%p matches %p: %p", (pattern, path, is) => {
    expect(new PathPatterns(["/never", pattern]).matches(path)).toBe(is)
  })

  test("take no longer for patterns of many stars", () => {
    const patterns = new PathPatterns([`/${"*a".repeat(100)}b`])
    expect(patterns.matches(`/${"a".repeat(50_000)}`)).toBe(false)
  })
})

test.each([
  ["/a/b?c/d", "/a/b"],
  ["/a%20b%2fc", "/a b/c"],
  ["/a%zz", "/a%zz"],
  ["*", "*"],
])("pathOf(%p) is %p", (target, path) => {
  expect(pathOf(target)).toBe(path)
})
