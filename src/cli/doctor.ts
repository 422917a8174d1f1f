/** `litefs doctor`: examines a data directory and says in sentences what it finds. */
import { resolve } from "node:path"
import { defineCommand } from "citty"
import type { DatabaseReport } from "../doctor/database-check.ts"
import {
  type DoctorReport,
  type Examination,
  examine,
  findingsOf,
  isHealthy,
} from "../doctor/doctor.ts"
import type { Finding } from "../doctor/finding.ts"
import { type CommandSyntax, type FlagTable, parseArgs } from "./argv.ts"
import { helpText } from "./help.ts"
import type { CliIo } from "./io.ts"
import { asConditions } from "./ltx.ts"
import { counted } from "./table.ts"

const FLAGS = {
  "data-dir": {
    kind: "text",
    placeholder: "DIR",
    default: "/var/lib/litefs",
    help: "examine the databases that are kept here",
  },
  repair: { kind: "boolean", help: "repair what can be repaired without losing anything" },
  json: { kind: "boolean", help: "print one JSON document" },
} as const satisfies FlagTable

const SYNTAX: CommandSyntax<typeof FLAGS> = {
  name: "doctor",
  flags: FLAGS,
  takesCommand: false,
  words: { placeholder: "DATABASE", countMin: 0 },
}

export const DOCTOR_HELP = helpText({
  about: `The doctor command will examine the data directory of a node that is not running:
whether the LTX files of each database follow on each other, whether the
database is what they say it is, what is in its WAL and its journal, and what
SQLite itself finds. It explains each finding, and changes nothing unless
--repair is given.`,
  usage: "litefs doctor [flags] [DATABASE...]",
  flags: FLAGS,
  notes: `Without a DATABASE all of them are examined.

With --repair it rolls back interrupted transactions, replays LTX files onto
database files, and sets aside what is torn or does not belong there. Whatever
it replaces or moves is kept in DIR/damaged, in a directory with the time and
the name of the database. What it cannot repair without losing something it
leaves as it is, and says what can be done.

The exit code is 0 if everything is healthy or has been repaired, else 1. Stop
LiteFS before: a data directory in use is refused.`,
  examples: `# what is wrong
litefs doctor

# one database of another directory
litefs doctor --data-dir /srv/litefs app.db

# mend what can be mended, and start only if all is well
litefs doctor --repair && litefs mount --primary -- node server.js

# the problems, for a script
litefs doctor --json | jq '.databases[].findings[] | select(.severity == "problem")'`,
})

export function doctorCommand(io: CliIo) {
  return defineCommand({
    meta: { name: "doctor" },
    run({ rawArgs }) {
      const { words, values } = parseArgs(SYNTAX, rawArgs, io.env)
      const dataDir = resolve(values["data-dir"])
      const options = { dataDir, databases: words, repairs: values.repair }
      const examination = asConditions(() => examine(options, io.clock))
      io.stdout(values.json ? jsonOf(dataDir, examination) : textOf(examination, values.repair))
      return isHealthy(examination) ? 0 : 1
    },
  })
}

function textOf(examination: Examination, repairs: boolean): string {
  const { found, left, kept } = examination
  if (left === undefined) return `${reportText(found)}${advice(examination, repairs)}`
  const places = kept.map((path) => `kept in ${path}\n`).join("")
  return `${reportText(found)}\n${places}After the repairs:\n\n${reportText(left)}${advice(examination, repairs)}`
}

function reportText({ databases, findings }: DoctorReport): string {
  if (databases.length === 0 && findings.length === 0) return "no databases\n"
  return [...findings.map(findingText), ...databases.map(databaseText)].join("")
}

function databaseText(report: DatabaseReport): string {
  const { name, pos, commit, pageSize, ltxFileCount, findings } = report
  const problemCount = findings.filter(({ severity }) => severity === "problem").length
  const state = problemCount === 0 ? "healthy" : counted(problemCount, "problem")
  const size = `${counted(commit, "page")} of ${pageSize} bytes, `
  const facts = `${pos === undefined ? "" : size}${counted(ltxFileCount, "LTX file")}`
  const head = `${name}  ${pos ?? "without a position"}  ${facts}: ${state}\n`
  return head + findings.map(findingText).join("")
}

function findingText({ severity, path, what, repair, options }: Finding): string {
  const lines = [`  ${severity} with ${path}`, `    ${what}.`]
  if (repair !== undefined) lines.push(`    --repair ${repair.does}.`)
  if (options !== undefined) {
    lines.push("    It cannot be repaired without losing something. What you can do:")
  }
  for (const option of options ?? []) lines.push(`    - ${option}.`)
  return `${lines.join("\n")}\n`
}

/** The last line, when something is left to do. */
function advice(examination: Examination, repairs: boolean): string {
  const { found, left } = examination
  if (isHealthy(examination)) return ""
  const canRepair = findingsOf(left ?? found).some(({ repair }) => repair !== undefined)
  if (!canRepair) return "\nNothing of this can be repaired here.\n"
  return repairs ? "" : "\nNothing has been changed. Run it again with --repair.\n"
}

/**
 * `{ dataDir, healthy, repaired, kept, findings, databases: [{ name, pos, pageSize, commit, ltxFileCount,
 * findings }] }`, after the repairs if there were any; `repaired` are the findings whose repairs were run. A finding is `{ code, severity, path, what, repair, options }`.
 */
function jsonOf(dataDir: string, examination: Examination): string {
  const { found, left, kept } = examination
  const now = left ?? found
  const document = {
    dataDir,
    healthy: isHealthy(examination),
    findings: now.findings.map(findingJson),
    databases: now.databases.map(({ findings, pos, ...facts }) => ({
      ...facts,
      pos: pos ?? null,
      findings: findings.map(findingJson),
    })),
    repaired:
      left === undefined
        ? []
        : findingsOf(found)
            .filter(({ repair }) => repair)
            .map(findingJson),
    kept,
  }
  return `${JSON.stringify(document)}\n`
}

function findingJson({ code, severity, path, what, repair, options }: Finding): object {
  return { code, severity, path, what, repair: repair?.does ?? null, options: options ?? [] }
}
