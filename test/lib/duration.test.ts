import { describe, expect, test } from "bun:test"
import { formatDuration, parseDuration } from "../../src/lib/duration.ts"

describe("parseDuration()", () => {
  test.each([
    ["0", 0],
    ["0s", 0],
    ["250ms", 250],
    ["1.5s", 1500],
    [".5s", 500],
    ["1.s", 1000],
    ["10s", 10_000],
    ["10m", 600_000],
    ["1h30m", 5_400_000],
    ["1h1m1s1ms", 3_661_001],
    ["500us", 0.5],
    ["500µs", 0.5],
    ["500μs", 0.5],
    ["2000000ns", 2],
    ["-1.5s", -1500],
    ["+1s", 1000],
  ])("reads %s", (text, durationMs) => {
    expect(parseDuration(text)).toBe(durationMs)
  })

  test.each([[""], ["10"], ["s"], ["1 s"], ["1S"], ["1d"], ["1.2.3s"], ["1s2"], ["--1s"], [".s"]])(
    "refuses %j",
    (text) => {
      expect(() => parseDuration(text)).toThrow(
        new SyntaxError(
          `Cannot read "${text}" as a duration: it should be like "250ms", "10s" or "1h30m"`,
        ),
      )
    },
  )

  test("refuses a long text as fast as a short one", () => {
    const text = `${"123456789m".repeat(20)}x`
    const startMs = performance.now()
    expect(() => parseDuration(text)).toThrow(SyntaxError)
    expect(performance.now() - startMs).toBeLessThan(1000)
  })
})

describe("formatDuration()", () => {
  test.each([
    [0, "0s"],
    [0.5, "500µs"],
    [0.000001, "0.001µs"],
    [250, "250ms"],
    [1.25, "1.25ms"],
    [1000, "1s"],
    [1500, "1.5s"],
    [59_999, "59.999s"],
    [60_000, "1m"],
    [600_000, "10m"],
    [5_400_000, "1h30m"],
    [3_601_000, "1h1s"],
    [86_400_000, "24h"],
    [-1500, "-1.5s"],
  ])("prints %d ms as %s, which reads back the same", (durationMs, text) => {
    expect(formatDuration(durationMs)).toBe(text)
    expect(parseDuration(text)).toBeCloseTo(durationMs, 9)
  })
})
