/** Results as text: tables for the terminal and for the page of results. */
import { type Cell, type Figures, type Results, type Row, rowsOf, SIDES } from "./results.ts"

/** From here on a page of results is made anew. */
const RESULTS_HEADING = "## Results\n"

const NOTHING = "–"

export function reportOf(results: Results): string {
  const rows = rowsOf(results)
  const rates = rows.filter(({ workload }) => workload.kind !== "visible")
  const latencies = rows.filter(({ workload }) => workload.kind === "visible")
  const parts = [machineOf(results)]
  if (rates.length > 0) {
    parts.push("### Operations a second", rateTable(rates))
    parts.push("### Costs of an operation", costTable(rates))
  }
  if (latencies.length > 0) {
    parts.push("### From a commit until another process sees it", latencyTable(latencies))
    parts.push("### Costs of a commit that is seen", costTable(latencies))
  }
  return `${parts.join("\n\n")}\n`
}

/** The page with these results in the place of the earlier ones. */
export function renewedPage(page: string, results: Results): string {
  const at = page.indexOf(RESULTS_HEADING)
  if (at < 0) throw new Error("Cannot renew the page of results: it has no heading for them")
  return `${page.slice(0, at)}${RESULTS_HEADING}\n${reportOf(results)}`
}

function machineOf({ date, command, machine, rounds, peerProblem, disk }: Results): string {
  const { processor, cores, memoryGiB, kernel, fileSystem, node, bun, load } = machine
  const syncs = disk.map(({ fdatasyncUs }) => fdatasyncUs)
  const range = [Math.min(...syncs), Math.max(...syncs)].map(figure).join("–")
  const lines = [
    ["date", date],
    ["command", `\`${command}\``],
    ["rounds", `${rounds}`],
    ["machine", `${cores} × ${processor}, ${memoryGiB.toFixed(0)} GiB`],
    ["kernel", kernel],
    ["file system", fileSystem],
    ["fdatasync of a page, µs", range],
    ["load before", load.toFixed(1)],
    ["clients", `Node ${node}; measured by Bun ${bun}`],
    ...(peerProblem === undefined ? [] : [["fuse-native", peerProblem]]),
  ]
  return table(["", ""], lines, 2)
}

function rateTable(rows: readonly Row[]): string {
  return table(
    ["workload", "", "fdatasync µs", "ext4", "fuse-native", "×", "litefs", "×"],
    rows.map(({ workload, fdatasyncUs, cells }) => [
      workload.name,
      `${workload.unit}/s`,
      figure(fdatasyncUs),
      figure(cells.ext4?.value),
      ...[cells["fuse-native"], cells.litefs].flatMap((cell) => [figure(cell?.value), ratio(cell)]),
    ]),
    2,
  )
}

function latencyTable(rows: readonly Row[]): string {
  return table(
    ["µs", "fdatasync", ...SIDES.flatMap((side) => [`${side} p50`, "p99"]), "×"],
    rows.map(({ workload, fdatasyncUs, cells }) => [
      workload.name,
      figure(fdatasyncUs),
      ...SIDES.flatMap((side) => [figure(cells[side]?.value), figure(cells[side]?.p99)]),
      ratio(cells.litefs),
    ]),
    1,
  )
}

function costTable(rows: readonly Row[]): string {
  const each = (key: keyof Figures, { cells }: Row) =>
    SIDES.slice(key === "clientMs" ? 0 : 1).map((side) => figure(cells[side]?.[key]))
  return table(
    [
      ...["CPU ms", "client: ext4", "fuse-native", "litefs"],
      ...["daemon: fuse-native", "litefs", "requests: fuse-native", "litefs"],
    ],
    rows.map((row) => [
      row.workload.name,
      ...each("clientMs", row),
      ...each("daemonMs", row),
      ...each("requests", row),
    ]),
    1,
  )
}

/** Of Markdown, with columns that also line up as they are; the first few of them are words. */
function table(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  words: number,
): string {
  const widths = head.map((name, column) =>
    Math.max(3, name.length, ...rows.map((row) => row[column]?.length ?? 0)),
  )
  const line = (cells: readonly string[]) => {
    const padded = cells.map((cell, column) => {
      const width = widths[column] as number
      return column < words ? cell.padEnd(width) : cell.padStart(width)
    })
    return `| ${padded.join(" | ")} |`
  }
  const rule = widths.map((width, column) =>
    column < words ? "-".repeat(width) : `${"-".repeat(width - 1)}:`,
  )
  return [line(head), line(rule), ...rows.map(line)].join("\n")
}

/** Three digits at least, and none that says nothing. */
function figure(number: number | undefined): string {
  if (number === undefined || Number.isNaN(number)) return NOTHING
  if (Math.abs(number) >= 100) return Math.round(number).toLocaleString("en")
  return number === 0
    ? "0"
    : number.toFixed(Math.min(4, 2 - Math.floor(Math.log10(Math.abs(number)))))
}

function ratio(cell: Cell | undefined): string {
  return cell === undefined || Number.isNaN(cell.ratio)
    ? NOTHING
    : cell.ratio.toFixed(cell.ratio < 10 ? 2 : 0)
}
