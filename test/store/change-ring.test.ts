import { describe, expect, test } from "bun:test"
import { ANY_PLACE, CHANGE_RING_WORDS, ChangeRing } from "../../src/store/change-ring.ts"
import { Positions } from "../../src/store/positions.ts"
import { stateOf } from "../support/position-writer.ts"

function ring() {
  const words = new Int32Array(new SharedArrayBuffer(CHANGE_RING_WORDS * 4))
  return { words, writer: new ChangeRing(words), reader: new ChangeRing(words) }
}

describe("ChangeRing", () => {
  test("ChangeRing.since() tells each place that has changed once", () => {
    const { writer, reader } = ring()
    const start = reader.count
    expect(reader.since(start)).toEqual(new Set())
    for (const place of [5, 0, 5, 16383]) writer.note(place)
    expect(reader.since(start)).toEqual(new Set([5, 0, 16383]))
    expect(reader.since(start + 3)).toEqual(new Set([16383]))
    expect(reader.since(reader.count)).toEqual(new Set())
  })

  test("ChangeRing.since() does not know when it may be any", () => {
    const { writer, reader } = ring()
    writer.note(1)
    writer.note(ANY_PLACE)
    expect(reader.since(0)).toBeUndefined()
    expect(reader.since(2)).toEqual(new Set())
  })

  test("ChangeRing.since() does not know what is too long ago", () => {
    const { writer, reader } = ring()
    for (let i = 0; i < 4096; i++) writer.note(i % 3)
    expect(reader.since(0)).toEqual(new Set([0, 1, 2]))
    writer.note(7)
    expect(reader.since(0)).toBeUndefined()
    expect(reader.since(1)).toEqual(new Set([0, 1, 2, 7]))
  })

  test("ChangeRing.since() does not know a change that is counted and has no word yet", () => {
    const { words, writer, reader } = ring()
    writer.note(0)
    Atomics.add(words, 0, 1)
    expect(reader.since(0)).toBeUndefined()
  })

  test("ChangeRing goes on when the count has no room in 32 bits", () => {
    const { words, writer, reader } = ring()
    for (const count of [0x7fff_fffe, -2]) {
      words[0] = count
      for (const place of [3, 4, 5, 6]) writer.note(place)
      expect(reader.since(count)).toEqual(new Set([3, 4, 5, 6]))
    }
  })
})

describe("Positions.changedSince()", () => {
  test("names what was written, and what else of it became known", () => {
    const positions = Positions.create()
    const reader = new Positions(positions.memory)
    const slots = Array.from({ length: 1000 }, (_, i) => positions.add(`${i}.db`))
    const seen = reader.changeCount
    expect(reader.changedSince(seen)).toEqual([])
    positions.write(slots[17] as number, stateOf(1), undefined)
    positions.markStored(slots[17] as number)
    expect(reader.changedSince(seen)).toEqual(["17.db"])
  })

  test("may be any when a database has gone, whose name nobody has any more", () => {
    const positions = Positions.create()
    const slot = positions.add("a.db")
    const seen = positions.changeCount
    positions.free(slot)
    expect(positions.changedSince(seen)).toBeUndefined()
  })
})
