/**
 * Durations as people write them: `10m`, `1.5s`, `250ms`, `1h30m`.
 *
 * The notation is Go's, which LiteFS's users know from its configuration file. Inside the program a duration is a
 * number of milliseconds, in a variable whose name ends in `Ms`.
 */
const UNIT_MS = new Map([
  ["ns", 1e-6],
  ["us", 1e-3],
  ["µs", 1e-3], // U+00B5, the micro sign
  ["μs", 1e-3], // U+03BC, the Greek letter
  ["ms", 1],
  ["s", 1000],
  ["m", 60_000],
  ["h", 3_600_000],
])

// Each text has only one reading: with two, an invalid text would take for ever.
const TERM = /(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)/g
const DURATION = new RegExp(`^[+-]?(?:${TERM.source})+$`)

/** The duration in milliseconds, with a fraction if necessary. */
export function parseDuration(text: string): number {
  if (text === "0") return 0
  if (!DURATION.test(text)) {
    throw new SyntaxError(
      `Cannot read "${text}" as a duration: it should be like "250ms", "10s" or "1h30m"`,
    )
  }
  let totalMs = 0
  for (const [, count, unit] of text.matchAll(TERM)) {
    totalMs += Number(count) * (UNIT_MS.get(unit ?? "") ?? 0)
  }
  return text.startsWith("-") ? -totalMs : totalMs
}

/** The shortest text that `parseDuration` reads back as the same duration. */
export function formatDuration(durationMs: number): string {
  if (durationMs < 0) return `-${formatDuration(-durationMs)}`
  if (durationMs === 0) return "0s"
  if (durationMs < 1) return `${rounded(durationMs * 1000)}µs`
  if (durationMs < 1000) return `${rounded(durationMs)}ms`

  const hours = Math.floor(durationMs / 3_600_000)
  const minutes = Math.floor((durationMs % 3_600_000) / 60_000)
  const seconds = rounded((durationMs % 60_000) / 1000)
  return [
    hours > 0 ? `${hours}h` : "",
    minutes > 0 ? `${minutes}m` : "",
    seconds > 0 ? `${seconds}s` : "",
  ].join("")
}

/** Removes the residue of floating point: nothing below a nanosecond is meant. */
function rounded(value: number): number {
  return Number(value.toFixed(9))
}
