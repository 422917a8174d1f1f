import { describe, expect, test } from "bun:test"
import { WalFrames } from "../../src/capture/wal-frames.ts"
import { testRandom } from "../support/random.ts"

const random = testRandom()

describe("WalFrames", () => {
  test("WalFrames knows the newest frame of each page", () => {
    const frames = new WalFrames()
    for (const pgno of [5, 7, 5]) frames.add(pgno)
    expect(frames.count).toBe(3)
    expect(frames.newest(5)).toBe(2)
    expect(frames.newest(7)).toBe(1)
    expect(frames.newest(6)).toBeUndefined()
    expect([0, 1, 2].map((frame) => frames.pgno(frame))).toEqual([5, 7, 5])
  })

  test("WalFrames.pgno() throws for a frame that was not added", () => {
    expect(() => new WalFrames().pgno(0)).toThrow("the frame was added")
  })

  test("WalFrames agrees with a list, however much is added and taken back", () => {
    for (let round = 0; round < 20; round++) {
      const frames = new WalFrames()
      const model: number[] = []
      for (let step = 0; step < 30; step++) {
        const act = random.below(8)
        if (act === 0) {
          frames.clear()
          model.length = 0
        } else if (act === 1) {
          model.length = random.below(model.length + 1)
          frames.truncate(model.length)
        } else {
          for (let i = random.below(200); i >= 0; i--) {
            const pgno = random.between(1, 40)
            frames.add(pgno)
            model.push(pgno)
          }
        }
        expect(frames.count).toBe(model.length)
        for (let pgno = 1; pgno <= 40; pgno++) {
          const newest = model.lastIndexOf(pgno)
          expect(frames.newest(pgno)).toBe(newest < 0 ? undefined : newest)
          const all = [...model.keys()].filter((frame) => model[frame] === pgno)
          expect([...frames.of(pgno)]).toEqual(all.toReversed())
        }
        expect(new Map(frames.entries()).size).toBe(new Set(model).size)
      }
    }
  })
})
