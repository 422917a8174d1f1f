/** Has a data directory examined, and reports the findings in sentences or JSON. */
import { identityFindings } from "../../cluster/role/identity-check.ts"
import type { DatabaseReport } from "../../doctor/database-check.ts"
import {
  type DoctorOptions,
  type DoctorReport,
  type Examination,
  examine,
  findingsOf,
  isHealthy,
} from "../../doctor/doctor.ts"
import type { Finding } from "../../doctor/finding.ts"
import type { CliIo } from "../terminal/io.ts"
import { counted, onLines } from "../terminal/table.ts"

export function runDoctor(options: DoctorOptions, asJson: boolean, io: CliIo): number {
  const examination = examine({ ...options, identity: identityFindings }, io.clock)
  io.stdout(
    asJson ? jsonOf(options.dataDir, examination) : onLines(textOf(examination, options.repairs)),
  )
  return isHealthy(examination) ? 0 : 1
}

function textOf(examination: Examination, repairs: boolean): string {
  const { found, left, kept } = examination
  if (left === undefined) return `${reportText(found)}${advice(examination, repairs)}`
  const places = kept.map((path) => `What was replaced or moved is kept in ${path}\n`).join("")
  return `${reportText(found)}\n${places}\nAfter the repairs:\n\n${reportText(left)}${advice(examination, repairs)}`
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
  if (!canRepair) return "\nNone of this can be repaired here.\n"
  return repairs ? "" : "\nNothing has been changed. Run it again with --repair.\n"
}

/**
 * `{ dataDir, healthy, repaired, kept, findings, databases: [{ name, pos, pageSize, commit, ltxFileCount, findings }]
 * }`, after the repairs if there were any; `repaired` are the findings that were repaired. A finding is `{ code,
 * severity, path, what, repair, options }`.
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
