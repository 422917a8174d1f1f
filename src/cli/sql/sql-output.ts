/**
 * Rows as text: a table for people, JSON and raw values for scripts.
 *
 * Rows are written as they come, however many. The first rows determine the widths of a table's columns.
 */
import type { SqlConnection, SqlResult, SqlValue } from "../../sys/bun/sqlite.ts"
import type { CliIo } from "../terminal/io.ts"
import { onOneLine } from "../terminal/table.ts"

export type SqlFormat = "table" | "json" | "raw"

/** Runs a statement and writes its rows as they come. */
export async function runStatement(
  connection: SqlConnection,
  statement: string,
  format: SqlFormat,
  io: CliIo,
): Promise<void> {
  let pending: (Uint8Array | string)[] = []
  let size = 0
  const flush = async () => {
    const bytes = Buffer.concat(
      pending.map((part) => (typeof part === "string" ? Buffer.from(part) : part)),
    )
    pending = []
    size = 0
    await io.writeStdout(bytes)
  }
  for (const part of formatted(format, connection.run(statement))) {
    pending.push(part)
    size += part.length
    if (size >= FLUSH_SIZE) await flush()
  }
  if (pending.length > 0) await flush()
}

const FLUSH_SIZE = 65_536

/** Parts of the output, in order. */
function formatted(format: SqlFormat, result: SqlResult): Iterable<Uint8Array | string> {
  if (result.columns.length === 0) return []
  switch (format) {
    case "table":
      return asTable(result)
    case "json":
      return asJson(result)
    case "raw":
      return asRaw(result)
  }
}

/** This many rows determine the widths of the columns. */
const MEASURED_COUNT = 500

function* asTable({ columns, rows }: SqlResult): Generator<string> {
  const measured: string[][] = [columns.map(onOneLine)]
  let widths: number[] | undefined
  for (const row of rows) {
    const cells = row.map(cellOf)
    if (widths !== undefined) {
      yield lineOf(cells, widths)
      continue
    }
    measured.push(cells)
    if (measured.length <= MEASURED_COUNT) continue
    widths = widthsOf(measured)
    yield* head(measured, widths)
  }
  if (widths === undefined) yield* head(measured, widthsOf(measured))
}

function* head([titles = [], ...rows]: string[][], widths: readonly number[]): Generator<string> {
  yield lineOf(titles, widths)
  yield lineOf(
    widths.map((width) => "-".repeat(width)),
    widths,
  )
  for (const row of rows) yield lineOf(row, widths)
}

function widthsOf(rows: readonly string[][]): number[] {
  const count = rows[0]?.length ?? 0
  return Array.from({ length: count }, (_, column) => {
    return Math.max(1, ...rows.map((row) => row[column]?.length ?? 0))
  })
}

function lineOf(cells: readonly string[], widths: readonly number[]): string {
  const padded = cells.map((cell, column) => cell.padEnd(widths[column] ?? 0))
  return `${padded.join("  ").trimEnd()}\n`
}

function cellOf(value: SqlValue): string {
  if (value === null) return "NULL"
  if (value instanceof Uint8Array) return `x'${hexOf(value)}'`
  return onOneLine(textOf(value))
}

function* asJson({ columns, rows }: SqlResult): Generator<string> {
  const names = columns.map((column) => JSON.stringify(column))
  let separator = "["
  for (const row of rows) {
    const fields = row.map((value, column) => `${names[column]}:${jsonOf(value)}`)
    yield `${separator}{${fields.join(",")}}`
    separator = ",\n"
  }
  yield separator === "[" ? "[]\n" : "]\n"
}

function jsonOf(value: SqlValue): string {
  if (value === null) return "null"
  if (value instanceof Uint8Array) return `"${hexOf(value)}"`
  return typeof value === "string" ? JSON.stringify(value) : textOf(value)
}

function* asRaw({ rows }: SqlResult): Generator<Uint8Array | string> {
  for (const row of rows) {
    for (const [column, value] of row.entries()) {
      if (column > 0) yield "\t"
      if (value instanceof Uint8Array) yield value
      else if (value !== null) yield textOf(value)
    }
    yield "\n"
  }
}

/** A float keeps a point or an exponent, as in SQLite. Infinity becomes what JSON and SQLite read as infinity. */
function textOf(value: bigint | number | string): string {
  if (typeof value !== "number") return String(value)
  if (!Number.isFinite(value)) return value < 0 ? "-9e999" : "9e999"
  const text = String(value)
  return /^-?\d+$/.test(text) ? `${text}.0` : text
}

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex")
}
