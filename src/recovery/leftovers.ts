/** Files beside a database that a crash leaves. */
import { join } from "node:path"
import { listDirectory } from "../sys/directory.ts"
import { unlinkFile } from "../sys/file.ts"

/**
 * Pages that were kept for a snapshot, and files that were to replace others: nobody will use them. Does not throw,
 * because they harm nobody.
 */
export function removeLeftovers(directory: string): void {
  try {
    for (const { name } of listDirectory("leftover:list", directory)) {
      if (isLeftover(name)) unlinkFile("leftover:unlink", join(directory, name))
    }
  } catch {
    // The next start tries again.
  }
}

export function isLeftover(name: string): boolean {
  return /^snapshot-\d+$|^(synced|checksums|sums)\.tmp$/.test(name)
}
