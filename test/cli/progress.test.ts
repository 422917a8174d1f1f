import { expect, test } from "bun:test"
import { Progress } from "../../src/cli/terminal/progress.ts"
import { bar, fitted, plot, screenOf, widthOf } from "../../src/cli/terminal/screen.ts"
import { FakeIo, WIDE } from "../support/fake-io.ts"

function after(io: FakeIo, ms: number, progress: Progress, size: number): string {
  io.err = ""
  io.clock.advance(ms)
  progress.add(size)
  return io.err
}

test("a bar on a terminal, with rate and time left, which goes away again", () => {
  const io = new FakeIo()
  io.screens[2] = WIDE
  const progress = new Progress(io, 4 * 1024 * 1024)
  expect(after(io, 50, progress, 1024)).toBe("") // too early
  expect(after(io, 950, progress, 1024 * 1023)).toBe(
    "\r\x1b[K██████░░░░░░░░░░░░░░░░░░  25 %  1.0 MiB of 4.0 MiB, 1.0 MiB/s, 3s left\r",
  )
  expect(after(io, 1000, progress, 1024 * 1024)).toContain(
    " 50 %  2.0 MiB of 4.0 MiB, 1.0 MiB/s, 2s left\r",
  )
  io.err = ""
  progress.end()
  expect(io.err).toBe("\r\x1b[K")
})

test.each([20, 40, 60])("never more than a line of %d cells", (columns) => {
  const io = new FakeIo()
  io.screens[2] = { ...WIDE, columns }
  const text = after(io, 1000, new Progress(io, 1e9), 1e8)
  expect(widthOf(text.replaceAll("\r", "").replace("\x1b[K", ""))).toBeLessThan(columns)
})

test.each([
  ["no terminal", undefined],
  ["a dumb one", { ...WIDE, isDumb: true }],
] as const)("a line every 10 s where there is %s", (_, screen) => {
  const io = new FakeIo()
  if (screen !== undefined) io.screens[2] = screen
  const progress = new Progress(io, 4 * 1024 * 1024)
  expect(after(io, 9000, progress, 1024)).toBe("")
  expect(after(io, 1000, progress, 1024 * 1023)).toMatch(
    /^1\.0 MiB of 4\.0 MiB, \d+\.\d KiB\/s, 30s left\n$/,
  )
  expect(after(io, 1000, progress, 1024)).toBe("")
  io.err = ""
  progress.end()
  expect(io.err).toBe("")
})

test("NO_COLOR and TERM=dumb are honoured", () => {
  const stream = { columns: 80, rows: 24 }
  expect(screenOf(stream, { TERM: "xterm" })).toMatchObject({ isDumb: false, hasColors: true })
  expect(screenOf(stream, { TERM: "xterm", NO_COLOR: "1" }).hasColors).toBe(false)
  expect(screenOf(stream, { TERM: "dumb" })).toMatchObject({ isDumb: true, hasColors: false })
  expect(screenOf(stream, {}).isDumb).toBe(true)
  expect(screenOf({ columns: 0, rows: 0 }, { TERM: "xterm", COLUMNS: "33" }).columns).toBe(33)
})

test("texts are cut by cells: wide letters, marks, colours", () => {
  expect(widthOf("日本e\u0301\x1b[31mx\x1b[0m")).toBe(6)
  expect(fitted("日本語", 5)).toBe("日本…")
  expect(fitted("\x1b[31mabcdef\x1b[0m", 3)).toBe("\x1b[31mab…\x1b[0m")
  expect(fitted("abc", 0)).toBe("")
})

test("bars and plots", () => {
  expect(bar(0.5, 4)).toBe("██░░")
  expect(bar(7, 4)).toBe("████")
  expect(plot([0, 1, null, 8], 6)).toBe("  ▁▂ █")
  expect(plot([], 3)).toBe("   ")
})
