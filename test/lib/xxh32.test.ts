import { describe, expect, test } from "bun:test"
import { Xxh32 } from "../../src/lib/codecs/xxh32.ts"
import { atAddress } from "../support/bytes.ts"
import { testRandom } from "../support/random.ts"

const random = testRandom()

describe("Xxh32", () => {
  test.each([
    ["", 0x02cc5d05],
    ["a", 0x550d7456],
    ["abc", 0x32d153ff],
    ["Nobody inspects the spammish repetition", 0xe2293b2f],
  ])("Xxh32 of %j is the published value", (text, expected) => {
    expect(new Xxh32().update(new TextEncoder().encode(text)).digest()).toBe(expected)
  })

  test("Xxh32 equals Bun's at every alignment and size", () => {
    for (let address = 0; address < 5; address++) {
      for (const size of [0, 1, 4, 15, 16, 17, 31, 63, 64, 65, 79, 80, 512]) {
        const bytes = atAddress(address, random.bytes(size))
        expect(new Xxh32().update(bytes).digest()).toBe(Bun.hash.xxHash32(bytes))
      }
    }
  })

  test("Xxh32 does not depend on how its input is split", () => {
    const bytes = random.bytes(3000)
    for (let i = 0; i < 50; i++) {
      const hash = new Xxh32()
      for (const piece of random.split(bytes)) hash.update(piece)
      expect(hash.digest()).toBe(Bun.hash.xxHash32(bytes))
    }
  })
})
