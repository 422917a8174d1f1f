/** Makes `docs/reference.md` of the tables in the code. Run it through `scripts/build-docs`. */
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { FACT_VARIABLES } from "../src/cli/command/child-environment.ts"
import { COMMANDS } from "../src/cli/commands.ts"
import { MOUNT_SYNTAX } from "../src/cli/settings/mount-flags.ts"
import type { Command } from "../src/cli/terminal/command.ts"
import { EXIT_CODES } from "../src/cli/terminal/exit-codes.ts"
import { type FlagTable, variableOf } from "../src/cli/terminal/flags.ts"
import { textOfFlag, usageOfFlag } from "../src/cli/terminal/help.ts"
import { SyncReplicas, type SyncReplicasContext } from "../src/cluster/sync-replicas.ts"
import { KEYS, type Key, MOVED } from "../src/config/keys.ts"
import { ROUTE_COUNT_MAX } from "../src/http/server/crowd.ts"
import { ROUTES, type RouteForm } from "../src/http/server/routes.ts"
import { type MetricsContext, metricFamilies } from "../src/http/status/metrics.ts"
import type { Clock } from "../src/lib/clock.ts"
import { ProxyCounters } from "../src/proxy/proxy-counters.ts"

const PATH = join(import.meta.dirname, "../docs/reference.md")

const HEAD = `# Reference

Commands, variables, keys, exit codes, routes and metrics. This page is made by \`scripts/build-docs\` of the tables that
the program itself uses (\`src/cli/settings/mount-flags.ts\`, \`src/config/keys.ts\`, \`src/cli/terminal/exit-codes.ts\`,
\`src/http/server/routes.ts\`, \`src/http/status/metrics.ts\`): change those, not this page. [The guide](guide.md) says how
things work together.`

export async function referencePage(): Promise<string> {
  const commands = await Promise.all(Object.values(COMMANDS).map((each) => each.load()))
  const sections = [
    HEAD,
    `## Commands\n\n${commands.map(commandSection).join("\n\n")}`,
    environmentSection(),
    `## Keys of \`litefs.yml\`\n\n${keySection()}`,
    `## Exit codes\n\n${table(["code", ""], EXIT_CODES)}`,
    `## Routes of the API\n\n${routeSection()}`,
    `## Metrics\n\n${metricSection()}`,
  ]
  return `${sections.join("\n\n")}\n`
}

function commandSection({ name, parts }: Command): string {
  const sections = [`### \`litefs ${name}\``, plain(parts.about), code(parts.usage)]
  if (Object.keys(parts.flags).length > 0) sections.push(flagTable(parts.flags))
  if (name === "mount") sections.push(originalFlags())
  if (parts.notes !== undefined) sections.push(plain(parts.notes))
  sections.push(code(parts.examples, "sh"))
  return sections.join("\n\n")
}

/** Text for a terminal, which has indented lists, names of flags and placeholders. */
function plain(text: string): string {
  return text
    .replace(/^\t(.*)$/gm, (_, line: string) => `    ${line}`)
    .replace(/(?<![\w`-])--[a-z][\w-]*(?:=\w+)?/g, (flag) => `\`${flag}\``)
    .replace(/\*(?=\.)/g, "\\*")
}

function code(text: string, language = ""): string {
  return `\`\`\`${language}\n${text}\n\`\`\``
}

function flagTable(flags: FlagTable): string {
  const rows = Object.entries(flags).map(([name, flag]) => {
    const variable = variableOf(name, flag)
    const fallback = flag.kind === "boolean" ? undefined : flag.default
    return [
      `\`${usageOfFlag(name, flag)}\``,
      fallback === undefined ? "" : `\`${fallback}\``,
      textOfFlag(flag),
      variable === undefined ? "" : `\`${variable}\``,
    ]
  })
  return table(["flag", "default", "", "variable"], rows)
}

function originalFlags(): string {
  const rows = Object.entries(MOUNT_SYNTAX.originals ?? {}).map(([name, original]) => [
    `\`-${name}\``,
    "flag" in original
      ? `\`--${original.flag} ${original.text}\``
      : `nothing: ${original.noEffect}`,
  ])
  return `Flags of the original are taken, too:\n\n${table(["flag", "what it is here"], rows)}`
}

function environmentSection(): string {
  const rows = Object.entries(FACT_VARIABLES).map(([name, about]) => [`\`${name}\``, about])
  return `## Environment

Every flag with a variable in the tables above can be set by it: a switch by \`1\` or \`true\`, a repeatable flag by one
value on each line. An empty variable counts as not set, and a flag wins over its variable. Single dashes
(\`-fuse-dir\`) work as well. \`litefs mount\` names
variables \`LITEFS_…\` that nobody reads. \`NO_COLOR\` and \`TERM=dumb\` are honoured.

The commands that \`litefs mount\` runs find:

${table(["variable", ""], rows)}`
}

function keySection(): string {
  const rows = Object.entries(KEYS)
    .filter(([, { type }]) => type !== "section")
    .map(([name, key]) => [`\`${name}\``, key.type, becomeOf(name, key)])
  const moved = Object.entries(MOVED).map(([old, now]) => `\`${old}\` is \`${now}\``)
  return `\`litefs mount\` without a role reads \`--config\`, or the first of \`./litefs.yml\`, \`~/litefs.yml\` and
\`/etc/litefs.yml\`. \`litefs config check\` shows what becomes of it.

${table(["key", "type", "what it is here"], rows)}

Keys from before version 0.3 are named when they are met: ${moved.join(", ")}.`
}

function becomeOf(name: string, { flag, becomes = [], noEffect, gone }: Key): string {
  if (name === "exec") return "the command, and `--exec` before it"
  const flags = flag === undefined ? becomes : [flag]
  const parts = [
    ...(flags.length > 0 ? [flags.map((each) => `\`--${each}\``).join(", ")] : []),
    ...(noEffect === undefined || becomes.includes("lease") ? [] : [`nothing: ${noEffect}`]),
    ...(gone === undefined ? [] : [`refused: ${gone}`]),
  ]
  if (name === "lease.hostname")
    return "`--hostname`; nothing on a static replica: it is the primary's name"
  if (name === "lease.type") return "`static`, or `consul`: `--lease`"
  return parts.length === 0 ? "nothing: see `--log-level trace`" : parts.join("; ")
}

function routeSection(): string {
  const rows = Object.entries(ROUTES).map(([name, route]) => {
    const { about, query = {}, several = [], isOfNodes, hasHead }: RouteForm = route
    const path = name.split(" ")[1] ?? ""
    const parameters = Object.entries(query).map(
      ([parameter, text]) =>
        `\`${parameter}\`: ${text}${several.includes(parameter) ? "; may be given several times" : ""}`,
    )
    return [
      `\`${name}\`${hasHead ? ", HEAD" : ""}`,
      `${isOfNodes ? "between nodes: " : ""}${about}`,
      parameters.join("<br>"),
      String(ROUTE_COUNT_MAX[path] ?? ""),
    ]
  })
  return `The API is at \`--http-addr\`, and at the socket \`api.sock\` in the data directory. With a token, requests carry it in
the header \`Authorization: Bearer TOKEN\`; the socket asks for none. An unknown parameter is refused with 400. The last
column says how many requests of that kind are served at a time; the next one gets 503.

${table(["route", "", "parameters", "at a time"], rows)}`
}

function metricSection(): string {
  const families = [...metricFamilies(someContext(), [])]
  const rows = families.map(({ name, type, help }) => [`\`${name}\``, type, help])
  return `\`GET /metrics\`, in the text form of Prometheus. A family without a sample is left out: those of a lease in a store,
of acknowledgements, of the proxy and of a replica are there on nodes that have these. Names that
the original has mean the same.

${table(["metric", "type", ""], rows)}`
}

/** A node with everything, of which only the names of its metrics are read. */
function someContext(): MetricsContext {
  const status = {
    isPrimary: true,
    lag: {},
    databases: () => [],
    replicas: () => [],
    identity: { leaseStore: () => ({ isHeld: true, leftMs: 0 }) },
  }
  const options = { replicas: 1, mode: "strict", timeoutMs: 1 } as const
  const clock = { monotonicMs: () => 0, after: () => () => {} } as unknown as Clock
  const sync = new SyncReplicas({ options, clock } as SyncReplicasContext)
  return {
    status,
    positions: {},
    counters: {},
    progress: { received: [] },
    others: () => [...sync.allFamilies(), ...new ProxyCounters(false).families(0, 0)],
  } as unknown as MetricsContext
}

function table(titles: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`
  return [line(titles), `|${titles.map(() => "---").join("|")}|`, ...rows.map(line)].join("\n")
}

if (import.meta.main) {
  writeFileSync(PATH, await referencePage())
  console.error("made docs/reference.md")
}
