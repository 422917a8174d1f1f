/**
 * Where a repair puts what it takes out of the way: `<data>/damaged/<time>-<database>/`, one directory for each
 * database and run. It is made on demand. Nothing in it is ever overwritten or removed.
 */
import { existsSync, linkSync, lstatSync, mkdirSync, renameSync } from "node:fs"
import { dirname, join } from "node:path"
import { syncDirectory } from "../sys/directory.ts"
import { copyFile } from "../sys/file.ts"

export class DamagedDir {
  readonly path: string

  constructor(root: string, label: string, nowMs: number) {
    const time = new Date(nowMs).toISOString().replaceAll(":", "-")
    this.path = unused(join(root, "damaged", `${time}-${label}`))
  }

  /** Moves a file or directory here, if it is there: an earlier repair may have used it up. */
  move(path: string, name: string): void {
    this.#put(path, name, renameSync)
    syncDirectory("doctor:sync-dir", dirname(path))
  }

  /** Gives a file that will be replaced a second name here. */
  keep(path: string, name: string): void {
    this.#put(path, name, linkSync)
  }

  /** Copies a file that stays in use. */
  copy(path: string, name: string): void {
    this.#put(path, name, (from, to) => copyFile("doctor:copy", from, to))
  }

  #put(path: string, name: string, act: (from: string, to: string) => void): void {
    if (lstatSync(path, { throwIfNoEntry: false }) === undefined) return // a link may lead nowhere
    const to = unused(join(this.path, name))
    mkdirSync(dirname(to), { recursive: true, mode: 0o700 })
    act(path, to)
    syncDirectory("doctor:sync-dir", dirname(to))
  }
}

function unused(path: string): string {
  for (let count = 2, candidate = path; ; count++) {
    if (!existsSync(candidate)) return candidate
    candidate = `${path}-${count}`
  }
}
