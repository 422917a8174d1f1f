/**
 * Metrics in the text form that Prometheus reads (version 0.0.4): families of samples, evaluated when they are read.
 *
 *   # HELP litefs_db_txid Current transaction ID.
 *   # TYPE litefs_db_txid gauge
 *   litefs_db_txid{db="app.db"} 12
 */
import type { Turns } from "./turns.ts"

export interface Sample {
  /** Suffix to the name of the family: "_bucket". */
  readonly suffix?: string
  readonly labels?: Labels
  readonly value: number
}

export type Labels = Readonly<Record<string, string>>

export interface MetricFamily {
  readonly name: string
  readonly type: "counter" | "gauge" | "histogram"
  readonly help: string
  samples(): Iterable<Sample>
}

export const METRICS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

/** Families without a sample are left out. */
export async function formatMetrics(
  families: Iterable<MetricFamily>,
  turns: Turns,
): Promise<string> {
  let text = ""
  for (const { name, type, help, samples } of families) {
    let lines = ""
    for (const { suffix = "", labels, value } of samples()) {
      const labelled = labels === undefined ? "" : formatLabels(labels)
      lines += `${name}${suffix}${labelled} ${formatValue(value)}\n`
      if (turns.isOver) await turns.next()
    }
    if (lines !== "") text += `# HELP ${name} ${escapeHelp(help)}\n# TYPE ${name} ${type}\n${lines}`
  }
  return text
}

/** A family of one sample without labels. */
export function single(
  type: "counter" | "gauge",
  name: string,
  help: string,
  value: () => number | undefined,
): MetricFamily {
  const samples = () => {
    const number = value()
    return number === undefined ? [] : [{ value: number }]
  }
  return { name, type, help, samples }
}

/** Of labels that many families share. */
const formatted = new WeakMap<Labels, string>()

function formatLabels(labels: Labels): string {
  const known = formatted.get(labels)
  if (known !== undefined) return known
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escapeLabel(value)}"`)
  const text = pairs.length === 0 ? "" : `{${pairs.join(",")}}`
  formatted.set(labels, text)
  return text
}

function formatValue(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return "+Inf"
  return value === Number.NEGATIVE_INFINITY ? "-Inf" : String(value)
}

function escapeLabel(text: string): string {
  return escapeHelp(text).replaceAll('"', '\\"')
}

function escapeHelp(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n")
}
