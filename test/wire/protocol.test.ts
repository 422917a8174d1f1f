import { expect, test } from "bun:test"
import { PROTOCOL, protocolProblem } from "../../src/wire/protocol.ts"

test.each([undefined, "1", "1-2", "0-1", "1-9999", PROTOCOL])(
  "protocolProblem() finds none in %p",
  (theirs) => {
    expect(protocolProblem(theirs)).toBeUndefined()
  },
)

test.each([
  ["2", "it speaks protocol 2, this node 1, update LiteFS on this node"],
  ["2-7", "it speaks protocol 2-7, this node 1, update LiteFS on this node"],
  ["0", "it speaks protocol 0, this node 1, update LiteFS on that node"],
  ["", 'it says "" for its protocol, not a version'],
  ["one", 'it says "one" for its protocol, not a version'],
  ["1-2-3", 'it says "1-2-3" for its protocol, not a version'],
  ["99999", 'it says "99999" for its protocol, not a version'],
])("protocolProblem() says what is wrong with %p", (theirs, problem) => {
  expect(protocolProblem(theirs)).toBe(problem)
})
