import { readlinkSync } from "node:fs"
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
