import { expect, test } from "bun:test"
import {
  decodeLease,
  encodeLease,
  isNewer,
  type LeaseRecord,
} from "../../src/cluster/role/lease.ts"

function record(epoch: number, id = "A", hostname = "one"): LeaseRecord {
  const url = `http://${id.toLowerCase()}:20202`
  return { epoch, primary: { id: id.padStart(16, "0"), hostname, url } }
}

test("isNewer() goes by the epoch, then by the id", () => {
  expect(isNewer(record(1), undefined)).toBe(true)
  expect(isNewer(record(2, "A"), record(1, "B"))).toBe(true)
  expect(isNewer(record(1, "B"), record(2, "A"))).toBe(false)
  expect(isNewer(record(2, "B"), record(2, "A"))).toBe(true)
  expect(isNewer(record(2, "A"), record(2, "B"))).toBe(false)
  expect(isNewer(record(2, "A"), record(2, "A"))).toBe(false)
})

test("a record survives its header, also a name that a header cannot carry", () => {
  const given = record(7, "B", "größe-中")
  const text = encodeLease(given, "LFSC0123456789ABCDEF")
  expect(text).toMatch(/^[ -~]*$/)
  expect(decodeLease(text)).toEqual({ record: given, cluster: "LFSC0123456789ABCDEF" })
  expect(decodeLease(encodeLease(given, undefined))).toEqual({ record: given, cluster: undefined })
})

test.each([
  undefined,
  "",
  "{",
  "null",
  "[]",
  JSON.stringify({ epoch: 0, id: "0".repeat(16), hostname: "a", url: "http://a:1" }),
  JSON.stringify({ epoch: 1.5, id: "0".repeat(16), hostname: "a", url: "http://a:1" }),
  JSON.stringify({ epoch: 1e300, id: "0".repeat(16), hostname: "a", url: "http://a:1" }),
  JSON.stringify({ epoch: 1, id: "xyz", hostname: "a", url: "http://a:1" }),
  JSON.stringify({ epoch: 1, id: "0".repeat(16), hostname: "a b", url: "http://a:1" }),
  JSON.stringify({ epoch: 1, id: "0".repeat(16), hostname: "a", url: "file:///etc/passwd" }),
  JSON.stringify({ epoch: 1, id: "0".repeat(16), hostname: "a", url: "http://a:1/path" }),
  JSON.stringify({ epoch: 1, id: "0".repeat(16), hostname: "a", url: "http://u:p@a:1" }),
])("decodeLease() takes %p for no record", (text) => {
  expect(decodeLease(text)).toBeUndefined()
})
