/**
 * What must be true of the two directories before a node is opened. Each fault names the command that solves it. Like
 * the data directory, the mount directory is made when it is missing.
 *
 * A mount that a killed process left behind must be aborted before `preflight`: a look at it then fails instead of
 * hanging. That needs the data directory, so `checkDataDir` comes first.
 */
import { constants } from "node:fs"
import { access, lstat, mkdir, open, readdir, realpath, stat } from "node:fs/promises"
import { basename, dirname, join } from "node:path"
import { LitefsError, messageOf, shellWord } from "../../lib/errors.ts"
import { logger } from "../../lib/log.ts"
import type { LiteFSOptions } from "../../litefs-options.ts"
import { errnoText, isNoSpace, systemProblem, systemText } from "../../sys/errno.ts"
import { hasMount } from "../../sys/mount.ts"
import { hasOwnerRemark } from "../../sys/path.ts"
import { isInside } from "./mount-options.ts"

const log = logger("mount")

export async function preflight(
  options: Pick<LiteFSOptions, "fuseDir" | "dataDir">,
): Promise<void> {
  const { fuseDir, dataDir } = options
  const isThere = await checkFuseDir(fuseDir)
  // Symbolic links may lead from one into the other.
  const realFuseDir = await realPath(fuseDir)
  const realDataDir = await realPath(dataDir)
  if (
    realFuseDir === realDataDir ||
    isInside(realFuseDir, realDataDir) ||
    isInside(realDataDir, realFuseDir)
  ) {
    throw new LitefsError(
      "unavailable",
      `Cannot mount "${fuseDir}": it is really "${realFuseDir}" and the data directory is really ` +
        `"${realDataDir}", give each a directory of its own`,
    )
  }
  if (!isThere) await makeFuseDir(fuseDir)
}

/** What is wrong with the working directory of a command: that of this process. */
export async function workingDirectoryProblem(
  { fuseDir, dataDir }: Pick<LiteFSOptions, "fuseDir" | "dataDir">,
  workingDir: string,
): Promise<string | undefined> {
  const dir = await realPath(workingDir)
  const isIn = async (other: string) => {
    const real = await realPath(other)
    return dir === real || isInside(dir, real)
  }
  if (await isIn(dataDir))
    return "it is in the data directory, which is for nobody else: start LiteFS in another directory"
  if (await isIn(fuseDir))
    return "the mount covers it, and nobody replicates what is written there: start LiteFS in another directory"
  return undefined
}

async function makeFuseDir(dir: string): Promise<void> {
  try {
    await mkdir(dir, { recursive: true })
  } catch (error) {
    const user = process.getuid?.() ?? 0
    const advice =
      user === 0
        ? "choose another --fuse-dir"
        : `choose another --fuse-dir, or as root: install -d -o ${user} ${shellWord(dir)}`
    const { errno = 0 } = error as NodeJS.ErrnoException
    const problem = `it does not exist and cannot be made: ${errnoText(Math.abs(errno))}`
    throw new LitefsError("unavailable", `Cannot mount "${dir}": ${problem}, ${advice}`, {
      cause: error,
    })
  }
  log.info("made the mount directory", { dir })
}

/** False when it does not exist. */
async function checkFuseDir(dir: string): Promise<boolean> {
  // A mount with a dead daemon: the new one replaces it. The kernel may still list what it has kept of it.
  if (hasMount(dir)) return true
  let entries: string[]
  try {
    entries = await readdir(dir)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    const link = await linkToNowhere(dir)
    if (link !== undefined) {
      const problem = `${link}, choose another --fuse-dir`
      throw new LitefsError("unavailable", `Cannot mount "${dir}": ${problem}`, { cause: error })
    }
    if (code === "ENOENT") return false
    if (code === "ENOTCONN") return true // a mount behind a symbolic link
    throw new LitefsError("unavailable", `Cannot mount "${dir}": ${fuseDirFault(error)}`, {
      cause: error,
    })
  }
  if (entries.length > 0) {
    throw new LitefsError(
      "unavailable",
      `Cannot mount "${dir}": it is not empty, ${await adviceOn(dir, entries)}`,
    )
  }
  return true
}

/** A program that ran while nothing was mounted has left a database, with rows that no node has. */
async function adviceOn(dir: string, entries: readonly string[]): Promise<string> {
  const some = entries.slice(0, ENTRIES_LOOKED_AT)
  const found = await Promise.all(some.map((name) => isDatabase(join(dir, name))))
  const name = some.find((_, index) => found[index])
  if (name === undefined) return `move "${entries[0]}" out of it or choose another --fuse-dir`
  return (
    `the database "${name}" was written there while nothing was mounted, and no node has that: ` +
    "move it elsewhere, look whether its rows are wanted (litefs import), or choose another --fuse-dir"
  )
}

const ENTRIES_LOOKED_AT = 100

async function isDatabase(path: string): Promise<boolean> {
  const magic = "SQLite format 3\0"
  try {
    await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
    const { buffer, bytesRead } = await file.read(Buffer.alloc(magic.length), 0, magic.length, 0)
    return buffer.toString("latin1", 0, bytesRead) === magic
  } catch {
    return false
  }
}

function fuseDirFault(error: unknown): string {
  switch ((error as NodeJS.ErrnoException).code) {
    case "ENOTDIR":
      return "it is not a directory, choose another --fuse-dir"
    case "EACCES":
      return "it may not be read by this user, run LiteFS as root or choose another --fuse-dir"
    default:
      return systemText(error)
  }
}

/** A link on the way to what is missing: nothing can be made there. */
async function linkToNowhere(dir: string): Promise<string | undefined> {
  for (let path = dir; ; path = dirname(path)) {
    const [status, target] = await Promise.all(
      [lstat, stat].map((look) => look(path).catch(() => {})),
    )
    if (status?.isSymbolicLink() === true && target === undefined) {
      return `${path === dir ? "it" : `"${path}"`} is a symbolic link that leads nowhere`
    }
    if (target !== undefined || path === dirname(path)) return undefined
  }
}

/**
 * The data directory need not exist yet, but this user must be able to make it and to write there. Call it before
 * anything else looks at the directory.
 */
export async function checkDataDir(dir: string): Promise<void> {
  const problem = await dataDirFault(dir)
  if (problem === undefined) return
  throw new LitefsError("unavailable", `Cannot use the data directory "${dir}": ${problem}`)
}

async function dataDirFault(dir: string): Promise<string | undefined> {
  let existing = dir
  for (;;) {
    try {
      if (!(await stat(existing)).isDirectory()) {
        const what = existing === dir ? "it" : `"${existing}"`
        return `${what} is not a directory, choose another --data-dir`
      }
      await access(existing, constants.W_OK | constants.X_OK)
      return undefined
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      const link = await linkToNowhere(dir)
      if (link !== undefined) return `${link}, choose another --data-dir`
      const isMissing = code === "ENOENT" || code === "ENOTDIR"
      if (!isMissing || existing === dirname(existing)) return refusal(dir, existing, error)
      existing = dirname(existing)
    }
  }
}

function refusal(dir: string, existing: string, error: unknown): string {
  const what = existing === dir ? "it may not be written to" : `"${existing}" may not be written to`
  switch ((error as NodeJS.ErrnoException).code) {
    case "EROFS":
      return `${what}, its file system is read-only, choose another --data-dir`
    case "EACCES":
    case "EPERM": {
      const user = process.getuid?.() ?? 0
      const advice = `choose another --data-dir, or as root: install -d -o ${user} -m 700 ${shellWord(dir)}`
      return `${what} by this user (uid ${user}), ${advice}`
    }
    default:
      return systemProblem(error) ?? messageOf(error)
  }
}

/** Replaces the system's words when there is no room for what a start needs, and says how to get a right to it. */
export function startProblem(error: unknown, { dataDir }: Pick<LiteFSOptions, "dataDir">): unknown {
  const message = messageOf(error)
  if (hasOwnerRemark(message)) {
    const advice = `as root: chown -R ${process.getuid?.() ?? 0} ${shellWord(dataDir)}`
    return new LitefsError("unavailable", `${message}, ${advice}`, { cause: error })
  }
  if (!isNoSpace(error)) return error
  const problem = "there is no space left, make room there or choose another --data-dir"
  const text = `Cannot use the data directory "${dataDir}": ${problem}`
  return new LitefsError("no-space", text, { cause: error })
}

/** The target of a path with its symbolic links followed; its end need not exist. */
async function realPath(path: string): Promise<string> {
  try {
    return await realpath(path)
  } catch (error) {
    const parent = dirname(path)
    if (parent === path) throw error
    return join(await realPath(parent), basename(path))
  }
}
