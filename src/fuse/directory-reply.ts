import { Errno } from "../sys/errno.ts"
import type { Placed } from "./directory-offsets.ts"
import { DirentType } from "./flags.ts"
import { Dirent } from "./replies.ts"

const encoder = new TextEncoder()

/**
 * Puts as many entries into `into` as `size` bytes hold: the payload of READDIR. Returns the bytes used. 0 means the
 * end of the directory, so an entry that does not fit at all is -EINVAL.
 */
export function readDirectory(entries: readonly Placed[], into: Uint8Array, size: number): number {
  const room = Math.min(size, into.length)
  const dirent = Dirent.view(into)
  let used = 0
  for (const { offset, entry } of entries) {
    const name = encoder.encode(entry.name)
    const end = used + Dirent.size + name.length
    const next = Math.ceil(end / 8) * 8
    if (next > room) return used === 0 ? -Errno.EINVAL : used

    dirent.at(used)
    dirent.ino = entry.nodeId
    dirent.offset = offset
    dirent.nameLength = name.length
    dirent.type = entry.kind === "directory" ? DirentType.DIR : DirentType.REG
    into.set(name, used + Dirent.size)
    into.fill(0, end, next)
    used = next
  }
  return used
}
