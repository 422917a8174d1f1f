/**
 * The state that a database had here, and that the primary does not have, kept in a directory of its own:
 *
 *   <data>/diverged/<label>/            label: <time>-<name>-<txid>-<checksum>
 *     history.json                      what this is, see HistoryFacts
 *     database                          the database file, none when the database was removed
 *     synced                            up to where transactions are in it, as in the data directory
 *     ltx/<min>-<max>.ltx               the log
 *
 * kept-database.ts says what the database file contains and what it lacks. Keeping costs no copy: the files get second
 * names under `<label>.part` while they are still in use, and the directory gets its name when the others have taken
 * their place (takeover.ts). From then on nobody writes to them. Only people remove them.
 */
import { readFileSync, rmSync } from "node:fs"
import { basename, join } from "node:path"
import { formatPos, type Pos, parsePos } from "../ltx/pos.ts"
import { isPageSize } from "../sqlite/page-size.ts"
import type { DataDir } from "../store/data-dir.ts"
import { linkOrCopy } from "../store/link-or-copy.ts"
import { LtxDirectory } from "../store/ltx/ltx-directory.ts"
import { replaceFile } from "../store/synced.ts"
import { listDirectory, makeDirectory, syncDirectory } from "../sys/directory.ts"
import { closing, fileExists, O_RDONLY, openIfExists, renameFile } from "../sys/file.ts"
import { sizeOf } from "../sys/file-status.ts"

export interface HistoryFacts {
  readonly database: string
  readonly pos: Pos
  readonly pageSize: number // bytes
  readonly commit: number // pages; 0 when the database was removed
  readonly keptMs: number // milliseconds since 1970
  /** In words: "it is ahead of the primary". */
  readonly reason: string
  readonly primary: { readonly name: string | undefined; readonly pos: Pos }
}

export interface KeptHistory {
  readonly name: string // of the directory
  readonly directory: string
  readonly facts: HistoryFacts
  readonly size: number // of its files, bytes
}

const PART = ".part"
/** SQLite's own limit. */
const PAGE_COUNT_MAX = 0xfffffffe

/** Gives the files of a database their second names. Returns the label. */
export function keepHistory(
  dataDir: DataDir,
  facts: HistoryFacts,
): { label: string; size: number } {
  const { database: name, pos } = facts
  const time = new Date(facts.keptMs).toISOString().replaceAll(":", "-")
  const label = unused(dataDir, `${time}-${name}-${formatPos(pos).replace("/", "-")}`)
  const part = dataDir.divergedDir(label + PART)
  if (makeDirectory("diverged:mkdir", dataDir.divergedDir())) {
    syncDirectory("diverged:sync-dir", dataDir.root)
  }
  makeDirectory("diverged:mkdir", part)
  makeDirectory("diverged:mkdir", join(part, "ltx"))
  linkIfThere(dataDir.path(name, "database"), join(part, "database"))
  linkIfThere(dataDir.syncedPath(name), join(part, "synced"))
  for (const { path } of new LtxDirectory(dataDir.ltxDir(name)).list()) {
    linkIfThere(path, join(part, "ltx", basename(path)))
  }
  const size = sizeOfHistory(part)
  const json = JSON.stringify(factsJson(facts), undefined, 2)
  replaceFile("diverged", join(part, "history.json"), new TextEncoder().encode(`${json}\n`))
  syncDirectory("diverged:sync-dir", join(part, "ltx"))
  syncDirectory("diverged:sync-dir", dataDir.divergedDir())
  return { label, size }
}

/** The kept files are all that is left of the history now. Can be repeated. */
export function completeKept(dataDir: DataDir, label: string): void {
  const part = dataDir.divergedDir(label + PART)
  if (!fileExists("diverged:look", part)) return
  renameFile("diverged:rename", part, dataDir.divergedDir(label))
  syncDirectory("diverged:sync-dir", dataDir.divergedDir())
}

/** The history is not kept after all: its files still have their first names. */
export function discardKept(dataDir: DataDir, label: string): void {
  rmSync(dataDir.divergedDir(label + PART), { recursive: true, force: true })
}

/** Removes all histories that were not kept after all. */
export function clearParts(dataDir: DataDir): void {
  if (!fileExists("diverged:look", dataDir.divergedDir())) return
  for (const { name } of listDirectory("diverged:list", dataDir.divergedDir())) {
    if (name.endsWith(PART)) discardKept(dataDir, name.slice(0, -PART.length))
  }
}

/** Oldest first. Leaves out and counts directories without readable facts. */
export function listKept(dataDir: DataDir): { histories: KeptHistory[]; otherNames: string[] } {
  const histories: KeptHistory[] = []
  const otherNames: string[] = []
  if (!fileExists("diverged:look", dataDir.divergedDir())) return { histories, otherNames }
  for (const { name } of listDirectory("diverged:list", dataDir.divergedDir())) {
    if (name.endsWith(PART)) continue // it is undecided
    const directory = dataDir.divergedDir(name)
    const facts = readFacts(join(directory, "history.json"))
    if (facts === undefined) otherNames.push(name)
    else histories.push({ name, directory, facts, size: sizeOfHistory(directory) })
  }
  histories.sort((a, b) => a.facts.keptMs - b.facts.keptMs || (a.name < b.name ? -1 : 1))
  return { histories, otherNames: otherNames.sort() }
}

/** The form of `history.json` and of `litefs diverged list --json`. */
export function factsJson(facts: HistoryFacts) {
  const { database, pos, pageSize, commit, keptMs, reason, primary } = facts
  return {
    database,
    pos: formatPos(pos),
    pageSize,
    commit,
    time: new Date(keptMs).toISOString(),
    reason,
    primary: { name: primary.name ?? null, pos: formatPos(primary.pos) },
  }
}

function readFacts(path: string): HistoryFacts | undefined {
  try {
    const json = JSON.parse(readFileSync(path, "utf8"))
    const pos = parsePos(json.pos)
    const primaryPos = parsePos(json.primary.pos)
    const keptMs = Date.parse(json.time)
    if (pos === undefined || primaryPos === undefined || Number.isNaN(keptMs)) return undefined
    const { database, pageSize, commit } = json
    const name = json.primary.name ?? undefined
    if (!isPageSize(pageSize) || !Number.isInteger(commit) || commit < 0) return undefined
    if (commit > PAGE_COUNT_MAX || typeof database !== "string") return undefined
    const primary = { name: name === undefined ? undefined : String(name), pos: primaryPos }
    return { database, pos, pageSize, commit, keptMs, reason: String(json.reason), primary }
  } catch {
    return undefined
  }
}

function sizeOfHistory(directory: string): number {
  const ltx = join(directory, "ltx")
  // Only people remove it.
  const files = fileExists("diverged:look", ltx) ? new LtxDirectory(ltx).list() : []
  const paths = [join(directory, "database"), ...files.map(({ path }) => path)]
  return paths.reduce((sum, path) => sum + sizeIfThere(path), 0)
}

function sizeIfThere(path: string): number {
  const fd = openIfExists("diverged:open", path, O_RDONLY)
  if (fd === undefined) return 0
  using _ = closing(fd)
  return sizeOf("diverged:stat", fd)
}

function linkIfThere(from: string, to: string): void {
  if (fileExists("diverged:look", from)) linkOrCopy("diverged:link", from, to)
}

function unused(dataDir: DataDir, label: string): string {
  const isUsed = (candidate: string) =>
    [candidate, candidate + PART].some((name) => {
      return fileExists("diverged:look", dataDir.divergedDir(name))
    })
  for (let count = 2, candidate = label; ; count++) {
    if (!isUsed(candidate)) return candidate
    candidate = `${label}-${count}`
  }
}
