import { describe, expect, test } from "bun:test"
import { ByteReader, ByteWriter, readU64BE, writeU64BE } from "../../src/lib/bytes.ts"
import { hex, unhex } from "../support/bytes.ts"
import { testRandom } from "../support/random.ts"

const random = testRandom()

describe("ByteWriter", () => {
  test("ByteWriter writes big endian, in order", () => {
    const w = new ByteWriter(1)
    w.u8(0x01).u16(0x0203).u32(0x04050607).u64(0x08090a0b0c0d0e0fn).i64(-2n)
    w.bytes(unhex("aabb")).string32("né")
    expect(hex(w.finish())).toBe("0102030405060708090a0b0c0d0e0ffffffffffffffffeaabb000000036ec3a9")
  })

  test("ByteWriter refuses an integer that is no u64", () => {
    expect(() => new ByteWriter().u64(-1n)).toThrow("Cannot write -1: expected an unsigned 64-bit")
    expect(() => new ByteWriter().u64(1n << 64n)).toThrow("Cannot write 18446744073709551616")
  })
})

describe("ByteReader", () => {
  test("ByteReader reads what ByteWriter has written", () => {
    for (let i = 0; i < 100; i++) {
      const [a, b, c, d, e] = [
        random.below(256),
        random.below(65536),
        random.u32(),
        random.u64(),
        random.u64(),
      ]
      const text = "ä€😀".slice(0, random.below(2) * 2)
      const w = new ByteWriter(random.between(1, 50))
      w.u8(a).u16(b).u32(c).u64(d).i64(BigInt.asIntN(64, e)).string32(text)
      const r = new ByteReader(w.finish())
      expect([r.u8(), r.u16(), r.u32(), r.u64(), r.i64(), r.string32(100)]).toEqual([
        a,
        b,
        c,
        d,
        BigInt.asIntN(64, e),
        text,
      ])
      expect(r.remaining).toBe(0)
      r.end()
    }
  })

  test("ByteReader.bytes gives a view", () => {
    const bytes = unhex("0102")
    expect(new ByteReader(bytes).bytes(2).buffer).toBe(bytes.buffer)
  })

  test("ByteReader names the record that is too short", () => {
    const r = new ByteReader(unhex("010203"), "test record")
    r.u8()
    expect(() => r.u32()).toThrow(
      "Cannot decode test record: expected 4 more bytes at offset 1, got 2",
    )
  })

  test("ByteReader.string32 checks the length before it looks for the bytes", () => {
    const r = new ByteReader(unhex("ffffffff"))
    expect(() => r.string32(255)).toThrow("a text of 4294967295 bytes, expected at most 255")
  })

  test("ByteReader.string32 refuses bytes that are not UTF-8", () => {
    expect(() => new ByteReader(unhex("00000001 ff")).string32(9)).toThrow(
      "a text that is not UTF-8",
    )
  })

  test("ByteReader.safeI64 refuses what a number cannot hold", () => {
    expect(() => new ByteReader(unhex("7fffffffffffffff")).safeI64()).toThrow(RangeError)
    expect(new ByteReader(unhex("ffffffffffffffff")).safeI64()).toBe(-1)
  })

  test("ByteReader.end throws if bytes are left", () => {
    expect(() => new ByteReader(unhex("00")).end()).toThrow("1 bytes after its end")
  })
})

describe("readU64BE", () => {
  test("readU64BE reads what writeU64BE has written, at any offset", () => {
    const bytes = new Uint8Array(16)
    for (const value of [0n, 1n, (1n << 64n) - 1n, 1n << 63n, random.u64()]) {
      const offset = random.below(9)
      writeU64BE(bytes, offset, value)
      expect(readU64BE(bytes, offset)).toBe(value)
    }
  })
})
