/**
 * What builds keep outside of the repository, so that a new clone need not make it again: `LITEFS_BUILD_CACHE`, or
 * `litefs-build` in the user's cache directory. It may be removed at any time.
 */
import { createHash } from "node:crypto"
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs"
import { homedir } from "node:os"
import { join } from "node:path"

/**
 * A directory that `make` has filled, now or earlier. Its name says from what: when that changes, it is another one.
 *
 * It is there whole or not at all, also when two builds make it at once.
 */
export async function cachedDirectory(
  name: string,
  madeFrom: string,
  make: (directory: string) => Promise<void>,
): Promise<string> {
  const target = join(cacheRoot(), `${name}-${madeFrom.slice(0, 16)}`)
  if (existsSync(target)) return target
  mkdirSync(cacheRoot(), { recursive: true })
  const temporary = mkdtempSync(join(cacheRoot(), `making-${name}-`))
  try {
    await make(temporary)
    if (!existsSync(target)) renameSync(temporary, target)
  } finally {
    rmSync(temporary, { recursive: true, force: true })
  }
  return target
}

/** The sum of some files and words, in hexadecimal. */
export function sumOf(files: readonly string[], ...words: string[]): string {
  const hash = createHash("sha256")
  for (const word of words) hash.update(`${word}\0`)
  for (const file of files) hash.update(`${file}\0`).update(readFileSync(file))
  return hash.digest("hex")
}

function cacheRoot(): string {
  const { LITEFS_BUILD_CACHE, XDG_CACHE_HOME } = process.env
  if (LITEFS_BUILD_CACHE) return LITEFS_BUILD_CACHE
  return join(XDG_CACHE_HOME || join(homedir(), ".cache"), "litefs-build")
}
