import { expect, test } from "bun:test"
import { PROTOCOL, protocolProblem, proxyUrlOf } from "../../src/wire/protocol.ts"

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

test.each([
  [undefined, undefined],
  [":8080", "http://10.0.0.1:8080"],
  ["http://[::1]:8080", "http://[::1]:8080"],
  ["http://proxy.example", "http://proxy.example"],
  ["https://proxy.example", undefined],
  ["http://user@host", undefined],
  ["http://host/path", undefined],
  ["8080", undefined],
  ["", undefined],
])("proxyUrlOf() makes of %p %p", (header, url) => {
  expect(proxyUrlOf(header, "https://10.0.0.1:20202")).toBe(url as string)
})
