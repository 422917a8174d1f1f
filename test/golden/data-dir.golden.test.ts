/**
 * Data directories that the original LiteFS has left, at rest and in the midst of work: they open through recovery
 * at the position that the original was at, with the content it had.
 */
import { expect, test } from "bun:test"
import { spawnSync } from "node:child_process"
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { formatPos } from "../../src/ltx/pos.ts"
import { recoverDatabases } from "../../src/recovery/recover.ts"
import { DataDir } from "../../src/store/data-dir.ts"
import { Positions } from "../../src/store/positions.ts"
import {
  goldenPath,
  goldenScenarios,
  hasGolden,
  listGolden,
  readGoldenMaybeGzip,
  readGoldenText,
} from "../support/golden.ts"
import { RecordedLog } from "../support/recorded-log.ts"

const FILES = ["database", "wal", "shm", "journal"] as const

interface Manifest {
  readonly final: { readonly pos: string }
  readonly steps: readonly { readonly pos: string; readonly new_ltx: readonly string[] }[]
}

/** A scenario at its end, or an image within it. */
const images: [scenario: string, image: string][] = goldenScenarios().flatMap((scenario) => [
  [scenario, "."],
  ...listGolden(scenario)
    .filter((name) => name !== "ltx" && listGolden(scenario, name).includes("ltx"))
    .map((name): [string, string] => [scenario, name]),
])

/** The name of the database; a scenario's own may be reserved ("spill-wal"). */
const name = "app.db"

const slots = Positions.create()

test.skipIf(!hasGolden).each(images)("%s/%s opens at its position with its content", (...given) => {
  const names: [scenario: string, image: string] = [given[0], given[1]]
  const root = mkdtempSync(join(tmpdir(), "litefs-golden-"))
  try {
    const dataDir = new DataDir(root)
    dataDir.create()
    mkdirSync(dataDir.databaseDir(name))
    cpSync(goldenPath(...names, "ltx"), dataDir.ltxDir(name), { recursive: true })
    const found = listGolden(...names).map((file) => file.replace(/\.gz$/, ""))
    for (const file of FILES.filter((file) => found.includes(file))) {
      writeFileSync(dataDir.path(name, file), readGoldenMaybeGzip(...names, file))
    }

    const log = new RecordedLog()
    const state = recoverDatabases(dataDir, slots, log.logger).get(name)
    if (state === undefined)
      throw new Error(`unavailable: ${log.fields.map((fields) => String(fields?.error))}`)
    expect(formatPos(state.pos)).toBe(positionOf(names))

    const sqlite3 = (sql: string) => {
      const { stdout, stderr } = spawnSync("sqlite3", [dataDir.path(name, "database"), sql], {
        encoding: "utf8",
      })
      return stdout + stderr
    }
    expect(sqlite3("pragma integrity_check")).toBe("ok\n")
    if (names[1] !== ".") return
    const dump = sqlite3(".dump")
    expect(statements(dump)).toEqual(statements(readGoldenText(names[0], "content.sql")))
    expect(state.commit).toBeGreaterThan(0)
  } finally {
    rmSync(root, { recursive: true, force: true })
  }
})

/** At the end, or after the step that made the last of the image's LTX files. */
function positionOf(names: [scenario: string, image: string]): string {
  const { final, steps } = JSON.parse(readGoldenText(names[0], "manifest.json")) as Manifest
  if (names[1] === ".") return final.pos
  const last = listGolden(...names, "ltx").at(-1) ?? ""
  return steps.findLast(({ new_ltx }) => new_ltx.includes(last))?.pos ?? `no step made ${last}`
}

/** Different programs print blobs and quote names in different ways. */
function statements(dump: string): string[] {
  return dump
    .split("\n")
    .filter((line) => /^(CREATE|INSERT)/.test(line))
    .map((line) => line.replaceAll('"', "").toLowerCase())
    .sort()
}
