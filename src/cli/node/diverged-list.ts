import { existsSync, readdirSync } from "node:fs"
import { join, resolve } from "node:path"
import { factsJson, type KeptHistory, listKept } from "../../diverged/kept-history.ts"
import { LitefsError } from "../../lib/errors.ts"
import { formatPos } from "../../ltx/pos.ts"
import { DataDir } from "../../store/data-dir.ts"
import { systemText } from "../../sys/errno.ts"
import type { CliIo } from "../terminal/io.ts"
import { formatSize, formatTime, onOneLine, table } from "../terminal/table.ts"
import { runningNodes, suggestion } from "./running-nodes.ts"

const TITLES = ["NAME", "DATABASE", "POSITION", "KEPT", "SIZE ", "REASON"]

export function listDiverged(root: string, asJson: boolean, io: CliIo): number {
  const { histories, otherNames } = keptIn(root)
  if (asJson) {
    const list = histories.map(({ name, directory, facts, size }) => {
      return { name, directory, size, ...factsJson(facts) }
    })
    io.stdout(`${JSON.stringify({ histories: list, unreadable: otherNames })}\n`)
    return 0
  }
  io.stdout(histories.length === 0 ? "nothing is kept\n" : table(TITLES, histories.map(row)))
  for (const name of otherNames) {
    io.stderr(`WARNING: "${onOneLine(name)}" has no history.json that could be read\n`)
  }
  return 0
}

export function keptIn(root: string): ReturnType<typeof listKept> {
  const path = resolve(root)
  const problem = existsSync(path) ? noDataDirProblem(path) : "it does not exist"
  if (problem === undefined) return listKept(new DataDir(path))
  const advice = `give the data directory of a node with --data-dir${suggestion(runningNodes().dataDirs)}`
  throw new LitefsError("not-found", `Cannot read data directory "${path}": ${problem}, ${advice}`)
}

/** What is kept outlives the databases, so either will do. */
function noDataDirProblem(path: string): string | undefined {
  if (["dbs", "diverged"].some((name) => existsSync(join(path, name)))) return undefined
  try {
    readdirSync(path)
  } catch (error) {
    return systemText(error)
  }
  return 'it has no "dbs"'
}

function row({ name, facts, size }: KeptHistory): string[] {
  const { database, pos, keptMs, reason } = facts
  return [name, database, formatPos(pos), formatTime(keptMs), formatSize(size), reason]
}
