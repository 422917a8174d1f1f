import { describe, expect, test } from "bun:test"
import {
  decodeFrame,
  decodeResume,
  encodeFrame,
  encodeResume,
  type Frame,
  leastFrameSize,
  MAX_FRAME_SIZE,
} from "../../src/wire/frame.ts"
import { hex, unhex } from "../support/bytes.ts"

const frames: [type: string, frame: Frame, bytes: string][] = [
  [
    "ltx",
    { type: "ltx", size: 0n, database: "my.db" },
    "00000001 0000000000000000 00000005 6d792e6462",
  ],
  ["ready", { type: "ready" }, "00000002"],
  ["end", { type: "end" }, "00000003"],
  ["dropDb", { type: "dropDb", database: "xx" }, "00000004 00000002 7878"],
  ["handoff", { type: "handoff", leaseId: "a-b" }, "00000005 00000003 612d62"],
  [
    "hwm",
    { type: "hwm", txid: 258n, database: "my.db" },
    "00000006 0000000000000102 00000005 6d792e6462",
  ],
  [
    "judged",
    { type: "judged", database: "my.db", pos: { txid: 3n, checksum: 1n << 63n }, is: "other" },
    "00000048 0000000000000003 8000000000000000 00000001 00000005 6d792e6462",
  ],
  [
    "resumable",
    { type: "resumable", database: "my.db", token: 5n },
    "00000049 0000000000000005 00000005 6d792e6462",
  ],
  [
    "resuming",
    { type: "resuming", database: "my.db", token: 5n, offset: 65536 },
    "0000004a 0000000000000005 0000000000010000 00000005 6d792e6462",
  ],
  ["catalogue", { type: "catalogue", count: 3 }, "0000004b 00000003"],
  [
    "listed",
    {
      type: "listed",
      database: "my.db",
      pos: { txid: 3n, checksum: 1n << 63n },
      state: "unreadable",
    },
    "0000004c 0000000000000003 8000000000000000 00000003 00000005 6d792e6462",
  ],
  ["heartbeat", { type: "heartbeat", timestampMs: 1795392642320 }, "00000007 000001a205bd9d10"],
  [
    "head",
    { type: "head", txid: 258n, database: "my.db" },
    "00000041 0000000000000102 00000005 6d792e6462",
  ],
]

describe("encodeFrame", () => {
  test.each(frames)("encodeFrame writes the frame %s", (_, frame, bytes) => {
    expect(hex(encodeFrame(frame))).toBe(bytes.replaceAll(" ", ""))
  })

  test("encodeFrame refuses a text that no decoder would take", () => {
    const pos = { txid: 1n, checksum: 1n }
    const database = "n".repeat(255)
    const largest = encodeFrame({ type: "judged", database, pos, is: "same" })
    expect(largest.length).toBe(MAX_FRAME_SIZE)
    expect(() => encodeFrame({ type: "dropDb", database: "n".repeat(300) })).toThrow(RangeError)
    expect(() => encodeFrame({ type: "dropDb", database: "n".repeat(256) })).toThrow(RangeError)
  })
})

describe("decodeResume()", () => {
  test.each([
    { token: 5n, offset: 0, database: "app.db" },
    { token: (1n << 64n) - 1n, offset: 2 ** 40, database: "ä/b %.db" },
  ])("decodeResume() reads what encodeResume() writes: %p", (point) => {
    expect(decodeResume(encodeResume(point))).toEqual(point)
    expect(encodeResume(point)).toMatch(/^[\x21-\x7e]+$/)
  })

  test.each(["", "5/0/a", `${"0".repeat(16)}/-1/a`, `${"0".repeat(16)}/1/%zz`])(
    "decodeResume() takes no other text: %p",
    (text) => expect(decodeResume(text)).toBeUndefined(),
  )
})

describe("decodeFrame", () => {
  test.each(frames)("decodeFrame reads the frame %s", (_, frame, bytes) => {
    expect(decodeFrame(unhex(bytes))).toEqual(frame)
  })

  test("decodeFrame refuses an unknown type", () => {
    for (const [type, shown] of [
      ["00000000", "0x0"],
      ["00000008", "0x8"],
      ["00000042", "0x42"],
    ] as const) {
      expect(() => decodeFrame(unhex(type))).toThrow(
        `Cannot decode stream frame: unknown type ${shown}`,
      )
    }
  })

  test("decodeFrame refuses a database in an unknown state", () => {
    const bytes = unhex("0000004c 0000000000000003 8000000000000000 00000004 00000001 61")
    expect(() => decodeFrame(bytes)).toThrow("a database in state 4, expected at most 3")
  })

  test("decodeFrame refuses a frame that is cut off or goes on", () => {
    for (const [, , bytes] of frames) {
      expect(() => decodeFrame(unhex(bytes).subarray(0, -1))).toThrow(RangeError)
      expect(() => decodeFrame(unhex(`${bytes}00`))).toThrow("1 bytes after its end")
    }
  })
})

describe("leastFrameSize", () => {
  test("leastFrameSize is never more than the frame, and in the end all of it", () => {
    for (const [, , bytes] of frames) {
      const frame = unhex(bytes)
      for (let size = 0; size < frame.length; size++) {
        const least = leastFrameSize(frame.subarray(0, size))
        expect(least).toBeGreaterThan(size)
        expect(least).toBeLessThanOrEqual(frame.length)
      }
      expect(leastFrameSize(frame)).toBe(frame.length)
    }
  })

  test("leastFrameSize refuses a text that is too long as soon as its length is known", () => {
    expect(() => leastFrameSize(unhex("00000004 00000100"))).toThrow(
      "a text of 256 bytes, expected at most 255",
    )
  })
})
