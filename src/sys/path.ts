import { readlinkSync, statSync } from "node:fs"
import { dirname } from "node:path"
import { Errno, SysError } from "./errno.ts"
import { allocate } from "./memory.ts"

/** Where paths lie during one system call: two of up to PATH_MAX (4096) bytes each. */
const scratch = allocate(8192)
const encoder = new TextEncoder()

/** The address of `path` as a NUL-terminated string, valid until the next call with the same `slot`. */
export function pathAddress(path: string, slot: 0 | 1 = 0): number {
  const start = slot * 4096
  const { read, written } = encoder.encodeInto(path, scratch.bytes.subarray(start, start + 4095))
  if (read < path.length) throw new SysError(Errno.ENAMETOOLONG, "path", `use path "${path}"`)
  scratch.bytes[start + written] = 0
  return scratch.address + start
}

/** The name of an open file, for messages. */
export function nameOf(fd: number): string {
  try {
    return `"${readlinkSync(`/proc/self/fd/${fd}`)}"`
  } catch {
    return "a file"
  }
}

/**
 * Whose a file is that this user may not open: LiteFS has run as another user, or a backup was put back. The end of an error: `, "/d/lock" belongs to root, not to this user (uid 1000)`. Empty when that is
 * not the reason.
 */
export function ownerRemark(path: string, errno: number): string {
  if (errno !== Errno.EACCES && errno !== Errno.EPERM) return ""
  const user = process.getuid?.() ?? 0
  if (user === 0) return ""
  for (let at = path; ; at = dirname(at)) {
    const owner = ownerOf(at)
    if (owner === user || (owner === undefined && at === dirname(at))) return ""
    if (owner === undefined) continue // nobody may look there, or it is to be made
    return `, "${at}" belongs to ${owner === 0 ? "root" : `uid ${owner}`}, not to this user (uid ${user})`
  }
}

export function hasOwnerRemark(message: string): boolean {
  return /" belongs to (root|uid \d+), not to this user \(uid \d+\)$/.test(message)
}

function ownerOf(path: string): number | undefined {
  try {
    return statSync(path).uid
  } catch {
    return undefined
  }
}
