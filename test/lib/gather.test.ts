import { describe, expect, test } from "bun:test"
import { Gather } from "../../src/lib/gather.ts"
import { hex, unhex } from "../support/bytes.ts"

describe("Gather", () => {
  test("Gather.take gives a view of a record in one piece", () => {
    const gather = new Gather()
    const input = unhex("00010203")
    const record = gather.take(input, 1, 2)
    expect(record?.buffer).toBe(input.buffer)
    expect(hex(record ?? input)).toBe("0102")
    expect(gather.used).toBe(2)
  })

  test("Gather.take puts a record together from pieces", () => {
    const gather = new Gather()
    expect(gather.take(unhex("00"), 0, 3)).toBeUndefined()
    expect(gather.take(unhex("01"), 0, 3)).toBeUndefined()
    expect(hex(gather.take(unhex("0203"), 0, 3) ?? unhex(""))).toBe("000102")
    expect(gather.used).toBe(1)
  })

  test("Gather.takeU16BE and takeU32BE read integers, split or not", () => {
    const gather = new Gather()
    expect(gather.takeU16BE(unhex("ff0102"), 1)).toBe(0x0102)
    expect(gather.takeU32BE(unhex("010203"), 0)).toBeUndefined()
    expect(gather.takeU32BE(unhex("0405"), 0)).toBe(0x01020304)
    expect(gather.used).toBe(1)
  })

  test("Gather.reset forgets a record that was begun", () => {
    const gather = new Gather()
    gather.take(unhex("00"), 0, 2)
    gather.reset()
    expect(hex(gather.take(unhex("0102"), 0, 2) ?? unhex(""))).toBe("0102")
  })
})
