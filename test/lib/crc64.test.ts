import { describe, expect, test } from "bun:test"
import { Crc64 } from "../../src/lib/codecs/crc64.ts"
import { atAddress } from "../support/bytes.ts"
import { testRandom } from "../support/random.ts"

const random = testRandom()

/** The definition, bit by bit. */
function slowCrc64(bytes: Uint8Array): bigint {
  const ones = (1n << 64n) - 1n
  let crc = ones
  for (const byte of bytes) {
    crc ^= BigInt(byte)
    for (let bit = 0; bit < 8; bit++)
      crc = (crc & 1n) === 1n ? (crc >> 1n) ^ (0xd8n << 56n) : crc >> 1n
  }
  return crc ^ ones
}

describe("Crc64", () => {
  test("Crc64 gives the check value of CRC-64/GO-ISO", () => {
    expect(new Crc64().update(new TextEncoder().encode("123456789")).digest()).toBe(
      0xb90956c775a41001n,
    )
  })

  test("Crc64 of nothing is 0", () => {
    expect(new Crc64().digest()).toBe(0n)
  })

  test("Crc64 equals the definition at every alignment and size", () => {
    for (let address = 0; address < 9; address++) {
      for (const size of [0, 1, 3, 4, 7, 8, 9, 63, 64, 65, 68, 71, 100, 512]) {
        const bytes = atAddress(address, random.bytes(size))
        expect(new Crc64().update(bytes).digest()).toBe(slowCrc64(bytes))
      }
    }
  })

  test("Crc64 does not depend on how its input is split", () => {
    const bytes = random.bytes(3000)
    const whole = new Crc64().update(bytes).digest()
    for (let i = 0; i < 50; i++) {
      const crc = new Crc64()
      for (const piece of random.split(bytes)) crc.update(piece)
      expect(crc.digest()).toBe(whole)
    }
  })

  test("Crc64.update takes a range", () => {
    const bytes = random.bytes(300)
    expect(new Crc64().update(bytes, 3, 201).digest()).toBe(slowCrc64(bytes.subarray(3, 201)))
    expect(() => new Crc64().update(bytes, 3, 301)).toThrow("CRC range is outside its bytes")
  })

  test("Crc64.updateU32BE is four bytes, most significant first", () => {
    const value = random.u32()
    const bytes = new Uint8Array(4)
    new DataView(bytes.buffer).setUint32(0, value)
    expect(new Crc64().updateU32BE(value).digest()).toBe(new Crc64().update(bytes).digest())
  })

  test("Crc64.digestHi and digestLo are the halves of digest", () => {
    const crc = new Crc64().update(random.bytes(100))
    expect((BigInt(crc.digestHi) << 32n) | BigInt(crc.digestLo)).toBe(crc.digest())
  })

  test("Crc64.reset starts over", () => {
    expect(new Crc64().update(random.bytes(10)).reset().digest()).toBe(0n)
  })
})
