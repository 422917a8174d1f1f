import { describe, expect, test } from "bun:test"
import { i32, i64, pad, pair64, struct, u16, u32, u64 } from "../../src/lib/struct.ts"

const Every = struct({ a: u32, b: u16, c: u16, gap: pad(4), d: i32, e: u64, f: i64, g: pair64 })

describe("struct()", () => {
  test("lays fields out one after the other", () => {
    expect(Every.size).toBe(40)
    expect(Every.offsets).toEqual({ a: 0, b: 4, c: 6, gap: 8, d: 12, e: 16, f: 24, g: 32 })
  })

  test("writes little-endian", () => {
    const bytes = new Uint8Array(40)
    const view = Every.view(bytes)
    view.a = 0x04030201
    view.b = 0x0605
    view.c = 0x0807
    view.d = -2
    view.e = 2 ** 32 + 9
    view.f = -1
    view.gLo = 0xffffffff
    view.gHi = 0x80000001
    expect(Buffer.from(bytes).toString("hex")).toBe(
      "0102030405060708" +
        "00000000feffffff" +
        "0900000001000000" +
        "ffffffffffffffff" +
        "ffffffff01000080",
    )
  })

  test.each([0, 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1])("keeps u64 %p", (value) => {
    const view = Every.view(new Uint8Array(40))
    view.e = value
    expect(view.e).toBe(value)
  })

  test.each([0, -1, 1, -(2 ** 31), -(2 ** 32), 2 ** 53 - 1, -(2 ** 53 - 1)])(
    "keeps i64 %p",
    (value) => {
      const view = Every.view(new Uint8Array(40))
      view.f = value
      expect(view.f).toBe(value)
    },
  )

  test("rounds a u64 beyond 2^53", () => {
    const view = struct({ a: u64, b: pair64 }).view(new Uint8Array(16).fill(0xff))
    expect(view.a).toBe(2 ** 64)
    expect([view.bLo, view.bHi]).toEqual([0xffffffff, 0xffffffff])
  })

  test("at() moves a view, and views do not move each other", () => {
    const Pair = struct({ a: u32, b: u16, c: u16 })
    const bytes = new Uint8Array(24)
    const first = Pair.view(bytes)
    const second = Pair.view(bytes, 8)
    second.b = 7
    expect(first.b).toBe(0)
    expect(first.at(8).b).toBe(7)
    expect(second.at(16).b).toBe(0)
  })

  test("views bytes that start inside their buffer", () => {
    const bytes = new Uint8Array(16)
    struct({ a: u32, b: u16, c: u16 }).view(bytes.subarray(4), 4).b = 0x0201
    expect([...bytes.subarray(12, 14)]).toEqual([1, 2])
  })

  test("clear() zeroes the record and nothing else", () => {
    const bytes = new Uint8Array(16).fill(1)
    struct({ a: u32, gap: pad(4) })
      .view(bytes, 4)
      .clear()
    expect([...bytes]).toEqual([1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1])
  })

  test("lets a field have any name but those of the methods", () => {
    const view = struct({ size: u32, words: u32 }).view(new Uint8Array(8))
    view.size = 3
    view.words = 4
    expect([view.size, view.words]).toEqual([3, 4])
    expect(() => struct({ at: u32 })).toThrow('Cannot call a field "at"')
  })

  test("refuses a field that C would place elsewhere", () => {
    expect(() => struct({ a: u16, b: u32 })).toThrow(
      'Cannot place field "b": offset 2 is not aligned',
    )
    expect(() => struct({ a: u32, b: u16 })).toThrow("Cannot lay out a record of 6 bytes")
  })

  test("refuses a view that leaves its buffer", () => {
    const bytes = new Uint8Array(40)
    expect(() => Every.view(bytes, 4)).toThrow(
      "Cannot view a record of 40 bytes at 4: the buffer has 40",
    )
    expect(() => Every.view(bytes).at(-4)).toThrow("Cannot view a record of 40 bytes at -4")
    expect(() => Every.view(bytes, 2)).toThrow("must be a multiple of 4")
    expect(() => Every.view(new Uint8Array(48).subarray(2))).toThrow("starts at 2")
  })
})
