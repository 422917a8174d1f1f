/** What a person who starts a node at a terminal sees of it, beside the log. */
import type { ListenAddress, LiteFSOptions } from "../../litefs-options.ts"
import type { SupervisedNode } from "../command/supervisor-state.ts"
import type { CliIo } from "../terminal/io.ts"
import { fitted, paintOf } from "../terminal/screen.ts"
import { counted, formatSize, onOneLine } from "../terminal/table.ts"

const NAMES_SHOWN = 10

export function showSummary(
  node: SupervisedNode,
  { fuseDir, dataDir, httpAddr, tls, proxy }: LiteFSOptions,
  io: CliIo,
): void {
  const screen = io.screen(2)
  const summary = node.summary?.()
  if (screen === undefined || summary === undefined) return
  const paint = paintOf(screen)
  const { role, primaryUrl, databases, version } = summary
  const scheme = tls?.certPath === undefined ? "http" : "https"
  const what =
    role === "primary" ? "the primary" : `a replica of ${primaryUrl ?? "an unknown node"}`
  const lines = [
    `${paint("bold", `LiteFS ${version}`)}, ${paint(role === "primary" ? "green" : "cyan", what)}`,
    `  mount  ${fuseDir}, of ${dataDir}`,
    `  API    ${scheme}://${hostOf(httpAddr)}:${node.facts().port}/`,
    ...(proxy === undefined
      ? []
      : [
          `  proxy  ${hostOf(proxy.address)}:${proxy.address.port} for ${hostOf(proxy.target)}:${proxy.target.port}`,
        ]),
    `  ${databases.length === 0 ? "no databases yet" : counted(databases.length, "database")}`,
  ]
  const shown = databases.slice(0, NAMES_SHOWN)
  const names = shown.map(({ name }) => onOneLine(name))
  const width = Math.max(0, ...names.map((name) => name.length))
  for (const [index, { position, size, problem }] of shown.entries()) {
    const state =
      problem === undefined ? `${position}  ${formatSize(size)}` : paint("red", "left out")
    lines.push(`    ${(names[index] ?? "").padEnd(width)}  ${state}`)
  }
  const more = databases.length - shown.length
  if (more > 0) lines.push(`    and ${more} more`)
  io.stderr(lines.map((line) => `${fitted(line, screen.columns)}\n`).join(""))
}

function hostOf({ host }: ListenAddress): string {
  if (["", "0.0.0.0", "::"].includes(host)) return "localhost"
  return host.includes(":") ? `[${host}]` : host
}
