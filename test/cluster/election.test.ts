import { describe, expect, test } from "bun:test"
import { hasMore, lackOf, verdictOf } from "../../src/cluster/role/election.ts"
import {
  type Candidate,
  decodeCandidate,
  decodeHolder,
  decodeLast,
  encodeCandidate,
  encodeHolder,
  encodeLast,
} from "../../src/cluster/role/store-content.ts"
import { positionsOf } from "../support/elected-node.ts"

const PRIMARY = { id: "00C0FFEE00C0FFEE", hostname: "b-ü", url: "http://b:20202" }
const CLUSTER = "LFSC0123456789ABCDEF"

/** As it comes out of a store. */
function candidate(
  positions: Readonly<Record<string, number>>,
  more: Partial<Omit<Candidate, "told">> = {},
): Candidate {
  const all = { id: "000000000000000A", epoch: 1, vacancy: 1, isAble: true, ...more }
  const found = decodeCandidate(encodeCandidate(all, positionsOf(positions)))
  if (found === undefined) throw new Error("it is not read back")
  return found
}

function last(positions: Readonly<Record<string, number>>, epoch = 1) {
  const found = decodeLast(encodeLast({ epoch, primary: PRIMARY }, CLUSTER, positionsOf(positions)))
  if (found === undefined) throw new Error("it is not read back")
  return found
}

describe("lackOf()", () => {
  test.each([
    ["the same", { a: 5 }, 1, { a: 5 }, false],
    ["a later one of the same epoch", { a: 6 }, 1, { a: 5 }, false],
    ["an earlier one", { a: 4 }, 1, { a: 5 }, true],
    ["nothing of a database", { a: 5 }, 1, { a: 5, b: 1 }, true],
    ["a longer history that the last primary did not have", { a: 9 }, 1, { a: 5 }, false],
    ["more databases", { a: 5, b: 1 }, 1, { a: 5 }, false],
  ] as const)("%s", (_, own, epoch, theirs, isLacking) => {
    const found = lackOf(candidate(own, { epoch }), last(theirs))
    expect(found !== undefined).toBe(isLacking)
  })

  test("a tail of an earlier epoch, which the others have left", () => {
    expect(lackOf(candidate({ a: 9 }, { epoch: 1 }), last({ a: 5 }, 2))).toMatch(/^"a" is at .*9\//)
    expect(lackOf(candidate({ a: 5 }, { epoch: 1 }), last({ a: 5 }, 2))).toBeUndefined()
  })

  test("another transaction of the same number", () => {
    const own = candidate({ a: 5 })
    const told = { ...own.told, positions: new Map([["a", { txid: 5n, checksum: 1n << 63n }]]) }
    expect(lackOf({ ...own, told }, last({ a: 5 }))).toContain('"a" is at')
  })
})

describe("verdictOf()", () => {
  const own = candidate({ a: 5 })
  const other = (txid: number, more: Partial<Omit<Candidate, "told">> = {}) =>
    candidate({ a: txid }, { id: "000000000000000B", ...more })
  test.each([
    ["alone", [], 0, "take"],
    ["with less", [other(4)], 0, "take"],
    ["with as much", [other(5)], 0, "take"],
    ["with more", [other(6)], 60_000, "wait"],
    ["with more, and not able", [other(6, { isAble: false })], 0, "take"],
    ["that has not told yet", [other(4, { vacancy: undefined })], 0, "wait"],
    ["that told of an earlier vacancy", [other(4, { vacancy: 0 })], 0, "wait"],
    ["that does not tell, with less before", [other(4, { vacancy: undefined })], 2000, "take"],
    ["that does not tell, with more before", [other(6, { vacancy: undefined })], 2000, "wait"],
    ["with a longer tail of an earlier epoch", [other(9, { epoch: 0 })], 0, "take"],
    ["with less of a later epoch", [other(5, { epoch: 2 })], 0, "wait"],
  ] as const)("with another candidate %s", (_, others, vacantMs, kind) => {
    expect(verdictOf({ own, others, last: last({ a: 5 }), vacantMs, firstMs: 1000 }).kind).toBe(
      kind,
    )
  })

  test("before the first primary of all it waits a moment", () => {
    expect(verdictOf({ own, others: [], last: undefined, vacantMs: 0, firstMs: 1000 }).kind).toBe(
      "wait",
    )
    expect(
      verdictOf({ own, others: [], last: undefined, vacantMs: 1000, firstMs: 1000 }).kind,
    ).toBe("take")
  })

  test("a node that is behind takes nothing", () => {
    expect(
      verdictOf({ own, others: [], last: last({ a: 6 }), vacantMs: 60_000, firstMs: 1000 }),
    ).toEqual({
      kind: "behind",
      problem: expect.stringContaining('"a" is at'),
    })
  })

  test("two that each have something that the other lacks go by the number of transactions", () => {
    const [a, b] = [candidate({ a: 9, b: 1 }), candidate({ a: 5, b: 6 })]
    expect([hasMore(a, b), hasMore(b, a)]).toEqual([false, true])
  })
})

describe("texts of a store", () => {
  test("are read back", () => {
    const record = { epoch: 2, primary: PRIMARY }
    expect(decodeHolder(encodeHolder(record, CLUSTER))).toEqual({ record, cluster: CLUSTER })
    const positions = positionsOf({ "a.db": 5, "ü.db": 7 })
    const told = { positions, isWhole: true, sum: 12n }
    expect(decodeLast(encodeLast(record, CLUSTER, positions))).toEqual({
      ...{ record, cluster: CLUSTER, told },
    })
  })

  test("of a holder are what the original looks for", () => {
    const found: unknown = JSON.parse(encodeHolder({ epoch: 2, primary: PRIMARY }, CLUSTER))
    expect(found).toMatchObject({ hostname: "b-ü", "advertise-url": "http://b:20202" })
  })

  test("of many databases name some of them, and count all", () => {
    const many = Object.fromEntries(
      Array.from({ length: 16_384 }, (_, index) => [`${"x".repeat(200)}${index}`, index + 1]),
    )
    const text = encodeLast({ epoch: 1, primary: PRIMARY }, CLUSTER, positionsOf(many))
    expect(text.length).toBeLessThan(80_000)
    const found = decodeLast(text)
    expect(found?.told.isWhole).toBe(false)
    expect(found?.told.sum).toBe((16_384n * 16_385n) / 2n)
    const one = { ...many, [`${"x".repeat(200)}16383`]: 16_383 }
    expect(found && lackOf(candidate(many), found)).toBeUndefined()
    expect(found && lackOf(candidate(one), found)).toMatch(/transactions, the last primary had/)
  })

  test.each([
    [""],
    ["null"],
    ["[]"],
    ["{}"],
    [
      '{"epoch":0,"id":"00C0FFEE00C0FFEE","hostname":"b","url":"http://b:1","positions":{},"isWhole":true,"sum":"0"}',
    ],
    [
      '{"epoch":1,"id":"00C0FFEE00C0FFEE","hostname":"b","url":"http://b:1","positions":{"../x":"0000000000000001/8000000000000001"},"isWhole":true,"sum":"1"}',
    ],
    [
      '{"epoch":1,"id":"00C0FFEE00C0FFEE","hostname":"b","url":"http://b:1","positions":{"a":"1"},"isWhole":true,"sum":"1"}',
    ],
    [
      '{"epoch":1,"id":"00C0FFEE00C0FFEE","hostname":"b","url":"http://b:1","positions":{},"isWhole":true,"sum":"-1"}',
    ],
    [
      '{"epoch":1,"id":"00C0FFEE00C0FFEE","hostname":"b","url":"file:///x","positions":{},"isWhole":true,"sum":"1"}',
    ],
  ])("that are not as they should be are none: %s", (text) => {
    expect(decodeLast(text)).toBeUndefined()
  })

  test.each([
    '{"id":"x","epoch":1,"isAble":true,"positions":{},"isWhole":true,"sum":"0"}',
    '{"id":"000000000000000A","epoch":-1,"isAble":true,"positions":{},"isWhole":true,"sum":"0"}',
    '{"id":"000000000000000A","epoch":1,"vacancy":"x","isAble":true,"positions":{},"isWhole":true,"sum":"0"}',
    '{"id":"000000000000000A","epoch":1,"positions":{},"isWhole":true,"sum":"0"}',
  ])("nor is a candidate that is %s", (text) => {
    expect(decodeCandidate(text)).toBeUndefined()
  })
})
