/**
 * What must be true of the two directories before a node is opened, each fault with the command
 * that mends it.
 *
 * A mount that a killed process left behind must be aborted before: looking at it fails then, and does not hang.
 */
import { readdir, realpath, stat } from "node:fs/promises"
import { basename, dirname, join } from "node:path"
import { LitefsError } from "../lib/errors.ts"
import type { LiteFSOptions } from "../litefs-options.ts"
import { hasMount } from "../sys/mount.ts"
import { isInside } from "./mount-options.ts"

export async function preflight(
  options: Pick<LiteFSOptions, "fuseDir" | "dataDir">,
): Promise<void> {
  const { fuseDir, dataDir } = options
  await checkFuseDir(fuseDir)
  await checkDataDir(dataDir)

  // Symbolic links may lead one into the other.
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
}

async function checkFuseDir(dir: string): Promise<void> {
  // A mount whose daemon is dead: the new one takes its place. What the kernel has kept of it may still be listed.
  if (hasMount(dir)) return
  let entries: string[]
  try {
    entries = await readdir(dir)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOTCONN") return // one behind a symbolic link
    throw new LitefsError("unavailable", `Cannot mount "${dir}": ${fuseDirFault(dir, error)}`, {
      cause: error,
    })
  }
  if (entries.length > 0) {
    throw new LitefsError(
      "unavailable",
      `Cannot mount "${dir}": it is not empty, ` +
        `move "${entries[0]}" out of it or choose another --fuse-dir`,
    )
  }
}

function fuseDirFault(dir: string, error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException
  switch (code) {
    case "ENOENT":
      return `it does not exist, create it with: mkdir -p ${shellWord(dir)}`
    case "ENOTDIR":
      return "it is not a directory, choose another --fuse-dir"
    case "EACCES":
      return "it may not be read by this user, run LiteFS as root or choose another --fuse-dir"
    default:
      return message
  }
}

/** It need not exist yet, but nothing else may be in its place. */
async function checkDataDir(dir: string): Promise<void> {
  try {
    const stats = await stat(dir)
    if (stats.isDirectory()) return
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return
    throw new LitefsError("unavailable", `Cannot use the data directory "${dir}": ${error}`, {
      cause: error,
    })
  }
  throw new LitefsError(
    "unavailable",
    `Cannot use the data directory "${dir}": it is not a directory, choose another --data-dir`,
  )
}

/** Where a path leads when its symbolic links are followed; its end need not exist. */
async function realPath(path: string): Promise<string> {
  try {
    return await realpath(path)
  } catch (error) {
    const parent = dirname(path)
    if (parent === path) throw error
    return join(await realPath(parent), basename(path))
  }
}

/** Quoted for a shell where it must be. */
function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
}
