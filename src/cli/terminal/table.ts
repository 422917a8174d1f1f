/**
 * A text of somebody else on one line of a terminal: characters that would break the line, move the cursor or command
 * the terminal are shown as JSON shows them.
 */
export function onOneLine(text: string): string {
  return text.replace(CONTROLS, (letter) => {
    const short = JSON.stringify(letter).slice(1, -1)
    return short.length > 1 ? short : `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`
  })
}

/** The same for a text of several lines. */
export function onLines(text: string): string {
  return text.split("\n").map(onOneLine).join("\n")
}

/** Also what turns the direction of a text around, or begins a line. */
const CONTROLS = /[\p{Cc}\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu

/** Columns as wide as their widest cell; a title that ends in a space aligns its column to the right. */
export function table(titles: readonly string[], given: readonly (readonly string[])[]): string {
  const rows = given.map((cells) => cells.map(onOneLine))
  const widths = titles.map((title, column) => {
    return Math.max(title.trimEnd().length, ...rows.map((row) => row[column]?.length ?? 0))
  })
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, column) => {
        const width = widths[column] ?? 0
        return titles[column]?.endsWith(" ") ? cell.padStart(width) : cell.padEnd(width)
      })
      .join("  ")
      .trimEnd()
  return [titles.map((title) => title.trimEnd()), ...rows].map((row) => `${line(row)}\n`).join("")
}

/** 512 B, 1.5 KiB, 20 MiB. */
export function formatSize(size: number): string {
  let value = size
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (value < 1024 || unit === "GiB") {
      return `${unit === "B" || value >= 100 ? Math.round(value) : value.toFixed(1)} ${unit}`
    }
    value /= 1024
  }
  return `${size} B`
}

export function formatTime(timestampMs: number): string {
  return new Date(timestampMs).toISOString()
}

/** 1 page, 2 pages. */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : noun.endsWith("x") ? "es" : "s"}`
}
