import { describe, expect, test } from "bun:test"
import { keyLines } from "../../src/config/key-lines.ts"

function lines(text: string): string[] {
  return keyLines(text).map(({ path, line }) => `${path} ${line}`)
}

describe("keyLines() finds the keys of", () => {
  test.each([
    ["mappings", "a:\n  b: 1\n  c:\n    d: 2\ne: 3", ["a 1", "a.b 2", "a.c 3", "a.c.d 4", "e 5"]],
    [
      "lists of mappings",
      "a:\n  - b: 1\n    c: 2\n  -\n    b: 3",
      ["a 1", "a.0.b 2", "a.0.c 3", "a.1.b 5"],
    ],
    ["lists at the column of their key", "a:\n- b: 1\n- c\nd: 2", ["a 1", "a.0.b 2", "d 4"]],
    ["lists in lists", "a:\n  - - b: 1\n    - c: 2", ["a 1", "a.0.0.b 2", "a.0.1.c 3"]],
    [
      "braces",
      "a: {b: 1, 'c': {d: [x, {e: 2}]}}",
      ["a 1", "a.b 1", "a.c 1", "a.c.d 1", "a.c.d.1.e 1"],
    ],
    [
      "braces over several lines",
      "a: {\n  b: 1, # c: 2\n  d: 3 }\ne: 4",
      ["a 1", "a.b 2", "a.d 3", "e 4"],
    ],
    ["quoted keys", "\"a b\": 1\n'it''s': 2", ["a b 1", "it's 2"]],
    [
      "anchors, tags and aliases",
      "a: &x\n  b: 1\nc: !!map\n  <<: *x\n  d: 2",
      ["a 1", "a.b 2", "c 3", "c.<< 4", "c.d 5"],
    ],
    ["keys with escapes", '"\\x61": 1\n"b\\u0062":\n  "c\\"": 2', ["a 1", "bb 2", 'bb.c" 3']],
    [
      "keys behind anchors and tags",
      "&x a: 1\n!!str b: {&y c: 1, !!str d: 2}",
      ["a 1", "b 2", "b.c 2", "b.d 2"],
    ],
    [
      "keys that are marked as such",
      "? a\n: b: 1\n  c: 2\n? d # of\n: {? e : 3}",
      ["a 1", "a.b 2", "a.c 3", "d 4", "d.e 5"],
    ],
    ["JSON", '{"a":{"b":1,"c":[{"d":2}]},\n"e":3}', ["a 1", "a.b 1", "a.c 1", "a.c.0.d 1", "e 2"]],
    ["Windows line ends", "a:\r\n  b: 1\r\n", ["a 1", "a.b 2"]],
    ["the same mapping twice", "a: 1\nb: 2\na: 3", ["a 1", "b 2", "a 3"]],
  ])("%s", (_, text, expected) => {
    expect(lines(text)).toEqual(expected)
  })
})

describe("keyLines() takes for no key", () => {
  test.each([
    ["comments", "# a: 1\nb: 2 # c: 3\n  # d: 4", ["b 2"]],
    ["block scalars", "a: |\n  b: 1\n\n  c: 2\nd: >-\n  e: 3\nf: 4", ["a 1", "d 5", "f 7"]],
    ["block scalars in lists", "a:\n  - b: |\n      c: 1\n    d: 2", ["a 1", "a.0.b 2", "a.0.d 4"]],
    ["quoted texts over several lines", 'a: "x\n  b: 1\n  \\" c: 2"\nd: 3', ["a 1", "d 4"]],
    ["URLs and times", "a: http://b:1\nc: [http://d:1, 10:20]", ["a 1", "c 2"]],
    ["words with a # in braces", "a: {b: x#y, c: 1}", ["a 1", "a.b 1", "a.c 1"]],
    ["document marks", "---\na: 1\n...", ["a 2"]],
  ])("%s", (_, text, expected) => {
    expect(lines(text)).toEqual(expected)
  })
})
