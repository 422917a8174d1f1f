import { describe, expect, test } from "bun:test"
import { type Pos, ZERO_POS } from "../../src/ltx/pos.ts"
import {
  decodePositionMap,
  encodePositionMap,
  MAX_POSITION_COUNT,
} from "../../src/wire/position-map.ts"
import { hex, unhex } from "../support/bytes.ts"
import { testRandom } from "../support/random.ts"

const random = testRandom()
const pos: Pos = { txid: 2n, checksum: 0x8000000000000001n }

describe("encodePositionMap", () => {
  test("encodePositionMap writes names sorted by their bytes", () => {
    const positions = new Map([
      ["ｚ", pos],
      ["😀", pos],
      ["b", pos],
      ["a", pos],
    ])
    expect([...decodePositionMap(encodePositionMap(positions)).keys()]).toEqual([
      "a",
      "b",
      "ｚ",
      "😀",
    ])
  })

  test("encodePositionMap writes name, TXID and checksum", () => {
    expect(hex(encodePositionMap(new Map([["ab", pos]])))).toBe(
      "00000001" + "00000002" + "6162" + "0000000000000002" + "8000000000000001",
    )
    expect(hex(encodePositionMap(new Map()))).toBe("00000000")
  })
})

describe("decodePositionMap", () => {
  test("decodePositionMap reads what encodePositionMap writes", () => {
    for (let i = 0; i < 50; i++) {
      const positions = new Map<string, Pos>()
      for (let n = random.below(50); n > 0; n--) {
        positions.set(`${random.u32()}`, { txid: random.u64(), checksum: random.u64() })
      }
      expect(decodePositionMap(encodePositionMap(positions))).toEqual(positions)
    }
  })

  test.each([
    ["nothing", "", "expected 4 more bytes"],
    ["a count that cannot be", "ffffffff", "0 bytes are too few for 4294967295 databases"],
    [
      "a name that is too long",
      `00000001 00000100 ${"00".repeat(300)}`,
      "a text of 256 bytes, expected at most 255",
    ],
    [
      "an end inside an entry",
      "00000001 00000009 6162636465666768 0000000000000000",
      "expected 8 more bytes at offset 17, got 7",
    ],
    ["bytes after the last entry", "00000000 00", "1 bytes after its end"],
    [
      "a name twice",
      `00000002 ${"00000001 61 0000000000000001 0000000000000001 ".repeat(2)}`,
      'it names "a" twice',
    ],
  ])("decodePositionMap refuses %s", (_, bytes, problem) => {
    expect(() => decodePositionMap(unhex(bytes))).toThrow(RangeError)
    expect(() => decodePositionMap(unhex(bytes))).toThrow(problem)
  })

  test("decodePositionMap refuses more databases than a node can have", () => {
    const names = Array.from(
      { length: MAX_POSITION_COUNT + 1 },
      (_, n) => [`${n}`, ZERO_POS] as const,
    )
    expect(decodePositionMap(encodePositionMap(new Map(names.slice(1)))).size).toBe(
      MAX_POSITION_COUNT,
    )
    expect(() => decodePositionMap(encodePositionMap(new Map(names)))).toThrow(
      "it has 16385 databases, expected at most 16384",
    )
  })

  test("decodePositionMap refuses a map of more than 4 MiB", () => {
    expect(() => decodePositionMap(new Uint8Array(4 * 1024 * 1024 + 1))).toThrow(
      "expected at most 4194304",
    )
  })
})
