/** A terminal, as far as a command draws on it: its size, and what it understands. */
import type { WriteStream } from "node:tty"
import type { Environment } from "./argv.ts"

export interface Screen {
  /** Cells in a line, as it is now. */
  readonly columns: number
  readonly rows: number
  /** It has only lines: TERM is "dumb", or missing. */
  readonly isDumb: boolean
  readonly hasColors: boolean
}

/** The terminal behind a stream. NO_COLOR means none, whatever its value (no-color.org). */
export function screenOf(stream: Pick<WriteStream, "columns" | "rows">, env: Environment): Screen {
  const isDumb = (env.TERM ?? "") === "" || env.TERM === "dumb"
  return {
    get columns() {
      return stream.columns || Number(env.COLUMNS) || 80
    },
    get rows() {
      return stream.rows || Number(env.LINES) || 24
    },
    isDumb,
    hasColors: !isDumb && (env.NO_COLOR ?? "") === "",
  }
}

export const CLEAR_LINE = "\r\x1b[K"
export const HIDE_CURSOR = "\x1b[?25l"
export const SHOW_CURSOR = "\x1b[?25h"

const CODES = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, blue: 34, cyan: 36 } as const

export type Paint = (style: keyof typeof CODES, text: string) => string

/** Colours where the terminal has them, else the text. */
export function paintOf(screen: Screen | undefined): Paint {
  if (screen?.hasColors !== true) return (_, text) => text
  return (style, text) => `\x1b[${CODES[style]}m${text}\x1b[0m`
}

const COLOR = "\u001b\\[[\\d;]*m"
const COLORS = new RegExp(COLOR, "g")
const COLORS_AND_LETTERS = new RegExp(`${COLOR}|.`, "gsu")
const WIDE =
  /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}/u
const NO_WIDTH = /\p{Mn}|\p{Me}|\u200b|\u200d/u

/** Cells that a text takes, without its colours. */
export function widthOf(text: string): number {
  let width = 0
  for (const letter of text.replace(COLORS, "")) {
    width += WIDE.test(letter) ? 2 : NO_WIDTH.test(letter) ? 0 : 1
  }
  return width
}

/** The text in at most so many cells: what is too long ends in "…". Colours stay, and end. */
export function fitted(text: string, columns: number): string {
  if (widthOf(text) <= columns) return text
  let [cut, width] = ["", 0]
  for (const [part] of text.matchAll(COLORS_AND_LETTERS)) {
    if (part.startsWith("\x1b")) {
      cut += part
      continue
    }
    const next = widthOf(part)
    if (width + next > columns - 1) break
    cut += part
    width += next
  }
  return `${cut}${columns > 0 ? "…" : ""}${cut.includes("\x1b") ? "\x1b[0m" : ""}`
}

export function padded(text: string, columns: number): string {
  return text + " ".repeat(Math.max(0, columns - widthOf(text)))
}

const EIGHTHS = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"]

/** A bar of so many cells; `part` is 0 to 1. */
export function bar(part: number, columns: number): string {
  const eighths = Math.round(Math.min(Math.max(part, 0), 1) * columns * 8)
  const filled = "█".repeat(Math.floor(eighths / 8)) + EIGHTHS[eighths % 8]
  return filled.padEnd(columns, "░")
}

const LEVELS = "▁▂▃▄▅▆▇█"

/** The last values as a plot of so many cells, the largest of them as high as the line. A null is a gap. */
export function plot(values: readonly (number | null)[], columns: number): string {
  const shown = values.slice(-Math.max(columns, 0))
  const top = Math.max(...shown.map((value) => value ?? 0), 0)
  const levels = shown.map((value) => {
    if (value === null) return " "
    if (value <= 0 || top === 0) return LEVELS[0]
    return LEVELS[Math.min(7, Math.max(1, Math.round((value / top) * 7)))]
  })
  return levels.join("").padStart(Math.max(columns, 0))
}
