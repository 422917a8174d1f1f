/** The database that a word of a command line means. */
import { existsSync } from "node:fs"
import { join } from "node:path"

/**
 * A word with a slash is a path, any other the name of a database in the mount. To the original every word is a path:
 * in a directory where LiteFS has that database, the word means that database.
 */
export function databasePath(word: string, fuseDir: string): string {
  const isHere = existsSync(".lag") && existsSync(`${word}-pos`)
  return word.includes("/") || isHere ? word : join(fuseDir, word)
}
