/** The database that a word of a command line means, and why it is not there. */
import { existsSync, statSync } from "node:fs"
import { dirname, join } from "node:path"
import { shellWord } from "../../lib/errors.ts"
import { isDeadMount } from "../../sys/mount.ts"
import { directoryOf, runningNodes, suggestion } from "./running-nodes.ts"

/**
 * A word with a slash is a path, any other the name of a database in the mount. To the original every word is a path:
 * in a directory where LiteFS has that database, the word means that database.
 */
export function databasePath(word: string, fuseDir: string): string {
  const isHere = isMount(".") && existsSync(`${word}-pos`)
  return word.includes("/") || isHere ? word : join(fuseDir, word)
}

/** The mount that `--fuse-dir` names or, when it is not given, that of the only node that runs. */
export function fuseDirOf({ values, isGiven }: FuseDirArgs): string {
  return directoryOf(values["fuse-dir"], isGiven("fuse-dir"), runningNodes().mounts)
}

interface FuseDirArgs {
  readonly values: { readonly "fuse-dir": string }
  isGiven(name: "fuse-dir"): boolean
}

/** Why a database is not where databasePath() leads; undefined when it is for the mount to know. */
export function misplacement(word: string, path: string): string | undefined {
  const directory = dirname(path)
  const death = deathOfMount(directory)
  if (death !== undefined) return death
  const isPath = word.includes("/")
  const advice = isPath
    ? "is LiteFS mounted there?"
    : `give where LiteFS is mounted with --fuse-dir${suggestion(runningNodes().mounts)}`
  if (isDenied(directory) || isDenied(join(directory, ".lag"))) {
    return `this user may not enter "${directory}", run it as the user of LiteFS, or see --allow-other and "Who may use the mount" in docs/guide.md`
  }
  if (!existsSync(directory)) return `there is no directory "${directory}", ${advice}`
  if (isPath || isMount(directory)) return undefined
  if (existsSync(join(directory, "dbs"))) {
    return `"${directory}" is a data directory of LiteFS, ${advice}`
  }
  return `"${directory}", where it was looked for, is not a mount of LiteFS, ${advice}`
}

/** Undefined when it lives, or none was there. */
export function deathOfMount(directory: string): string | undefined {
  if (!isDeadMount(directory)) return undefined
  return `the LiteFS that served "${directory}" has died: start it again, or: umount ${shellWord(directory)}`
}

function isDenied(path: string): boolean {
  try {
    statSync(path)
    return false
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EACCES"
  }
}

function isMount(directory: string): boolean {
  return existsSync(join(directory, ".lag"))
}
