import { describe, expect, test } from "bun:test"
import { must } from "../../src/lib/assert.ts"
import {
  decodeWalFrameHeader,
  decodeWalHeader,
  encodeWalFrame,
  encodeWalHeader,
  verifyWalFrame,
  WAL_FRAME_HEADER_SIZE,
  WAL_HEADER_SIZE,
  WalChecksum,
  type WalHeader,
  walFrameCount,
  walFrameOffset,
  walFrameSize,
} from "../../src/sqlite/wal.ts"
import { atAddress, hex, unhex, withByte } from "../support/bytes.ts"
import { testRandom } from "../support/random.ts"
import { SqliteFiles } from "../support/sqlite-files.ts"

const random = testRandom()

const GOLDEN = "377f0682002de2180000100000000000" + "748aaacf45901e44a4918d87a097f571"

function newWal(bigEndianChecksum: boolean, pageSize = 512): WalHeader {
  const [salt1, salt2] = [random.u32(), random.u32()]
  const bytes = encodeWalHeader({
    bigEndianChecksum,
    pageSize,
    checkpointSequence: 3,
    salt1,
    salt2,
  })
  return must(decodeWalHeader(bytes), "WAL header")
}

function startOf(wal: WalHeader): WalChecksum {
  return new WalChecksum().set(wal.checksum1, wal.checksum2)
}

/** The definition, on 64-bit integers. */
function slowChecksum(bytes: Uint8Array, bigEndian: boolean): [number, number] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  let [s0, s1] = [0n, 0n]
  for (let i = 0; i < bytes.length; i += 8) {
    s0 = BigInt.asUintN(32, s0 + BigInt(view.getUint32(i, !bigEndian)) + s1)
    s1 = BigInt.asUintN(32, s1 + BigInt(view.getUint32(i + 4, !bigEndian)) + s0)
  }
  return [Number(s0), Number(s1)]
}

describe("WalChecksum", () => {
  test.each([false, true])("WalChecksum equals the definition, big endian %p", (bigEndian) => {
    for (let address = 0; address < 5; address++) {
      for (const size of [0, 8, 24, 64, 72, 4096]) {
        const bytes = atAddress(address, random.bytes(size))
        const { s0, s1 } = new WalChecksum().update(bytes, 0, size, bigEndian)
        expect([s0, s1]).toEqual(slowChecksum(bytes, bigEndian))
      }
    }
  })

  test("WalChecksum.set goes on from a sum", () => {
    const bytes = random.bytes(160)
    const whole = new WalChecksum().update(bytes, 0, 160, false)
    const first = new WalChecksum().update(bytes, 0, 80, false)
    const second = new WalChecksum().set(first.s0, first.s1).update(bytes, 80, 160, false)
    expect(second.equals(whole.s0, whole.s1)).toBe(true)
  })

  test("WalChecksum.update refuses a size that is no multiple of 8, and a range outside of its bytes", () => {
    expect(() => new WalChecksum().update(new Uint8Array(8), 0, 4, false)).toThrow(
      "pairs of 32-bit words",
    )
    expect(() => new WalChecksum().update(new Uint8Array(8), 0, 16, false)).toThrow(
      "outside its bytes",
    )
  })
})

describe("decodeWalHeader", () => {
  test("decodeWalHeader reads what SQLite writes, and encodeWalHeader writes it again", () => {
    const header = must(decodeWalHeader(unhex(GOLDEN)), "WAL header")
    expect(header).toEqual({
      bigEndianChecksum: false,
      pageSize: 4096,
      checkpointSequence: 0,
      salt1: 0x748aaacf,
      salt2: 0x45901e44,
      checksum1: 0xa4918d87,
      checksum2: 0xa097f571,
    })
    expect(hex(encodeWalHeader(header))).toBe(GOLDEN)
  })

  test("decodeWalHeader reads big-endian checksums", () => {
    expect(newWal(true).bigEndianChecksum).toBe(true)
  })

  test.each([
    ["another magic", 3, 0x84],
    ["another format", 7, 0x19],
    ["a page size SQLite does not have", 10, 0x11],
    ["a changed salt", 16, 0x75],
    ["a changed checksum", 31, 0x72],
    ["a checksum of the other byte order", 3, 0x83],
  ])("decodeWalHeader refuses %s", (_, offset, value) => {
    expect(decodeWalHeader(withByte(unhex(GOLDEN), offset, value))).toBeUndefined()
  })

  test("decodeWalHeader refuses fewer than 32 bytes", () => {
    expect(decodeWalHeader(unhex(GOLDEN).subarray(0, 31))).toBeUndefined()
  })
})

describe("encodeWalFrame", () => {
  test("encodeWalFrame makes frames that SQLite reads", () => {
    using files = new SqliteFiles("page_size=512", "journal_mode=WAL", "wal_autocheckpoint=0")
    files.run("CREATE TABLE t(x)")
    const ours = new Uint8Array(files.read("-wal"))
    const wal = must(decodeWalHeader(ours), "WAL header")
    const checksum = startOf(wal)
    for (let at = WAL_HEADER_SIZE; at < ours.length; at += walFrameSize(512)) {
      const page = ours.slice(at + WAL_FRAME_HEADER_SIZE, at + walFrameSize(512))
      encodeWalFrame(ours, at, wal, checksum, decodeWalFrameHeader(ours, at), page)
    }
    expect(hex(ours)).toBe(hex(files.read("-wal")))
  })

  test("encodeWalFrame refuses pgno 0 and a page of another size", () => {
    const wal = newWal(false)
    const target = new Uint8Array(600)
    const encode = (pgno: number, page: Uint8Array) => () =>
      encodeWalFrame(target, 0, wal, startOf(wal), { pgno, commit: 0 }, page)
    expect(encode(0, new Uint8Array(512))).toThrow("pgno is 0")
    expect(encode(1, new Uint8Array(511))).toThrow("the page has another size")
  })
})

describe("verifyWalFrame", () => {
  test.each([false, true])("verifyWalFrame takes a chain of frames, big endian %p", (bigEndian) => {
    const wal = newWal(bigEndian)
    const bytes = new Uint8Array(5 * walFrameSize(512))
    const [writer, reader] = [startOf(wal), startOf(wal)]
    for (let i = 0; i < 5; i++) {
      const at = i * walFrameSize(512)
      encodeWalFrame(bytes, at, wal, writer, { pgno: i + 1, commit: 0 }, random.bytes(512))
      expect(verifyWalFrame(bytes, at, wal, reader)).toBe(true)
    }
    expect(reader.equals(writer.s0, writer.s1)).toBe(true)
  })

  test("verifyWalFrame refuses a change of any byte, and leaves the checksum as it was", () => {
    const wal = newWal(false)
    const bytes = new Uint8Array(walFrameSize(512))
    encodeWalFrame(bytes, 0, wal, startOf(wal), { pgno: 7, commit: 9 }, random.bytes(512))
    for (let at = 0; at < bytes.length; at++) {
      const checksum = startOf(wal)
      expect(verifyWalFrame(withByte(bytes, at, ~(bytes[at] ?? 0)), 0, wal, checksum)).toBe(false)
      expect(checksum.equals(wal.checksum1, wal.checksum2)).toBe(true)
    }
  })

  test("verifyWalFrame refuses pgno 0 even if the rest is right", () => {
    const wal = newWal(false)
    const bytes = new Uint8Array(walFrameSize(512))
    encodeWalFrame(bytes, 0, wal, startOf(wal), { pgno: 1, commit: 0 }, random.bytes(512))
    bytes.fill(0, 0, 4)
    const { s0, s1 } = startOf(wal)
      .update(bytes, 0, 8, false)
      .update(bytes, 24, bytes.length, false)
    new DataView(bytes.buffer).setUint32(16, s0)
    new DataView(bytes.buffer).setUint32(20, s1)
    expect(verifyWalFrame(bytes, 0, wal, startOf(wal))).toBe(false)
  })
})

describe("walFrameOffset", () => {
  test("walFrameOffset counts from 0, and walFrameCount is its inverse", () => {
    expect(walFrameOffset(0, 4096)).toBe(32)
    expect(walFrameOffset(2, 4096)).toBe(8272)
    expect(walFrameCount(8272, 4096)).toBe(2)
    expect(walFrameCount(8271, 4096)).toBe(1)
    expect(walFrameCount(0, 4096)).toBe(0)
  })
})
