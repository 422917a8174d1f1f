/** The live view of a cluster, as lines: what is most important comes first, what has no room is left out. */

import type { Finding } from "../../http/page/findings.ts"
import type { Sample } from "../../http/page/history.ts"
import type { ClusterNode, DatabaseRow } from "../../http/page/picture.ts"
import { formatDuration } from "../../lib/duration.ts"
import { fitted, type Paint, paintOf, plot, type Screen } from "../terminal/screen.ts"
import { counted, formatSize, onOneLine, table } from "../terminal/table.ts"
import type { ClusterView } from "./cluster-view.ts"

const EVENTS_SHOWN = 6
const PLOT_WIDTH_MAX = 60
const SIGNS = { bad: "red", warn: "yellow", wait: "cyan", note: "dim" } as const

/** At most as many lines as the screen has, none longer than it. `lost`: why nothing comes any more. */
export function draw(view: ClusterView, screen: Screen, lost: string | undefined): string[] {
  const paint = paintOf(screen)
  const { node } = view
  if (node === undefined) return [fitted(lost ?? "waiting for the node", screen.columns)]
  const head = [title(view, paint), ...verdict(node.findings, lost, paint), ""]
  const plots = plotLines(view.samples, screen.columns, paint)
  const nodes = [...nodeLines(view, paint), ""]
  const events = eventLines(view, paint)
  const fixed = head.length + plots.length + nodes.length
  const roomLeft = Math.min(events.length, screen.rows - fixed - 6)
  const roomForEvents = roomLeft < 3 ? 0 : roomLeft // its head alone says nothing
  const room = Math.max(0, screen.rows - fixed - roomForEvents - 1)
  const databases = databaseLines(view, room, paint)
  const lines = [...head, ...plots, ...nodes, ...databases, ...events.slice(0, roomForEvents)]
  return lines.slice(0, screen.rows).map((line) => fitted(line, screen.columns))
}

/** One line, for a log. */
export function drawLine(view: ClusterView, lost: string | undefined): string {
  const { node, nodes, samples, wallMs } = view
  if (node === undefined || lost !== undefined) return lost ?? "waiting for the node"
  const worst = node.findings.find(({ level }) => level !== "note")
  const replicas = nodes.filter(
    ({ role, isConnected, isThis }) => role === "replica" && isConnected && !isThis,
  )
  return [
    new Date(wallMs).toISOString(),
    `${onOneLine(node.hostname)} ${node.role}`,
    `lag ${lagOf(node.lagMs)}`,
    `${node.transactions} missing`,
    `${rateOf(samples)} commits/s`,
    counted(node.databases, "database"),
    counted(replicas.length, "replica"),
    worst === undefined ? "all is well" : onOneLine(worst.text),
  ].join("  ")
}

function title({ node, wallMs }: ClusterView, paint: Paint): string {
  if (node === undefined) return ""
  const role = paint(node.role === "primary" ? "green" : "cyan", node.role)
  const cluster = node.clusterId === null ? "" : `  ${node.clusterId}`
  const up = formatDuration(Math.max(0, Math.floor((wallMs - node.startedMs) / 1000) * 1000))
  const time = new Date(wallMs).toISOString().slice(11, 19)
  return `${paint("bold", onOneLine(node.hostname))}  ${role}  up ${up}  LiteFS ${onOneLine(node.version)}${cluster}  ${time}Z`
}

function verdict(findings: readonly Finding[], lost: string | undefined, paint: Paint): string[] {
  if (lost !== undefined) return [paint("red", `✗ trying again: ${onOneLine(lost)}`)]
  const [first] = findings
  if (first === undefined) return [`${paint("green", "✓")} all is well`]
  const cause = first.cause === undefined ? [] : [`    ${onOneLine(first.cause)}`]
  const more = findings.length > 1 ? `  (and ${findings.length - 1} more)` : ""
  const steps = (first.steps ?? []).map(
    ({ why, command }) => `    ${onOneLine(why)}: ${paint("bold", onOneLine(command))}`,
  )
  return [`${paint(SIGNS[first.level], "✗")} ${onOneLine(first.text)}${more}`, ...cause, ...steps]
}

function plotLines(samples: readonly Sample[], columns: number, paint: Paint): string[] {
  const hasTop = columns >= 60
  const width = Math.min(PLOT_WIDTH_MAX, columns - (hasTop ? 40 : 24))
  if (width < 8) return []
  const line = (name: string, value: string, values: readonly (number | null)[], top: string) =>
    `${name.padEnd(10)} ${value.padStart(10)}  ${paint("cyan", plot(values, width))} ${paint("dim", hasTop ? top : "")}`
  const top = (values: readonly (number | null)[], unit: (value: number) => string) =>
    `max ${unit(Math.max(0, ...values.map((value) => value ?? 0)))}`
  const rates = samples.map(({ rate }) => rate)
  const lags = samples.map(({ lagMs }) => lagMs)
  const unsent = samples.map((sample) => sample.unsent)
  const last = samples.at(-1)
  const hasReplicas = unsent.some((count) => count !== null)
  return [
    line("commits/s", rateOf(samples), rates, top(rates, String)),
    line("lag", lagOf(last?.lagMs ?? null), lags, top(lags, lagOf)),
    ...(hasReplicas
      ? [line("not sent", String(last?.unsent ?? "-"), unsent, top(unsent, String))]
      : []),
    "",
  ]
}

function nodeLines({ node: own, nodes, wallMs }: ClusterView, paint: Paint): string[] {
  const rows = nodes.map((node) => [
    `${node.hostname}${node.isThis ? " (this)" : ""}`,
    node.role,
    node.isThis && own?.isConnected === false ? "not connected" : stateOf(node, wallMs),
    node.isThis ? lagOf(node.lagMs) : "-",
    node.transactions === null ? "-" : String(node.transactions),
    node.url ?? "-",
  ])
  const titles = ["NODE", "ROLE", "STATE", "LAG ", "BEHIND ", "URL"]
  const isAway = (index: number) => nodes[index]?.isConnected === false
  const note = "the primary does not tell of its other replicas"
  const notes = own?.knowsReplicas === false ? [paint("dim", note)] : []
  return [...tableLines(titles, rows, paint, isAway), ...notes]
}

function stateOf({ isConnected, silentMs, asOfMs }: ClusterNode, wallMs: number): string {
  const silent = typeof silentMs === "number" ? `silent ${lagOf(silentMs)}` : "connected"
  const state = isConnected ? silent : "away"
  if (typeof asOfMs !== "number") return state // an older node does not know it
  return `${state} ${lagOf(Math.max(0, Math.floor((wallMs - asOfMs) / 1000) * 1000))} ago`
}

function databaseLines(view: ClusterView, room: number, paint: Paint): string[] {
  if (room < 2) return []
  const all = [...view.rows.values()].sort(byUrgency)
  const hidden = view.matchingCount > room - 1
  const shown = all.slice(0, hidden ? Math.max(0, room - 2) : room - 1)
  const rows = shown.map((row: DatabaseRow) => [
    row.name,
    row.state === "here" ? row.position : row.state,
    formatSize(row.size),
    lagOf(row.lagMs),
    String(row.transactions),
  ])
  const titles = ["DATABASE", "POSITION", "SIZE ", "LAG ", "MISSING "]
  const lines = tableLines(titles, rows, paint, (index) => shown[index]?.state === "left-out")
  const rest = view.matchingCount - shown.length
  return [...lines, ...(rest > 0 ? [paint("dim", `and ${rest} more`)] : [])]
}

/** As the node chooses them (http/page/picture.ts): those with a problem, those behind, the largest. */
function byUrgency(a: DatabaseRow, b: DatabaseRow): number {
  const rank = ({ state }: DatabaseRow) => (state === "left-out" ? 2 : state === "arriving" ? 1 : 0)
  const order = rank(b) - rank(a) || b.transactions - a.transactions || b.size - a.size
  return order || (a.name < b.name ? -1 : 1)
}

function tableLines(
  titles: readonly string[],
  rows: readonly string[][],
  paint: Paint,
  isBad: (index: number) => boolean,
): string[] {
  const [head = "", ...lines] = table(titles, rows).trimEnd().split("\n")
  return [
    paint("bold", head),
    ...lines.map((line, index) => (isBad(index) ? paint("red", line) : line)),
  ]
}

function eventLines({ events }: ClusterView, paint: Paint): string[] {
  const shown = events.slice(-EVENTS_SHOWN).reverse()
  if (shown.length === 0) return []
  const lines = shown.map(({ wallMs, level, msg, fields, count }) => {
    const text = Object.entries(fields).map(([name, value]) => `${name}=${value}`)
    const times = count > 1 ? ` (${count} times)` : ""
    const line = `${new Date(wallMs).toISOString().slice(11, 19)}Z  ${onOneLine([msg, ...text].join(" "))}${times}`
    return level === "error" ? paint("red", line) : level === "warn" ? paint("yellow", line) : line
  })
  return ["", paint("bold", "LATELY"), ...lines]
}

function rateOf(samples: readonly Sample[]): string {
  return (samples.at(-1)?.rate ?? 0).toFixed(1)
}

function lagOf(ms: number | null): string {
  return ms === null ? "unknown" : formatDuration(Math.round(ms))
}
