import { readdirSync, readlinkSync } from "node:fs"
import { closeFile, type Fd, isOwnFile } from "./file.ts"
import { libc } from "./libc.ts"

const CLONE_FILES = 0x400

/** Standard error may be a socket. If its number came to stand for a file, the log would go into that file. */
const STANDARD_FD_MAX = 2

/**
 * Gives the calling thread a table of descriptors of its own: those open now, without all sockets, and without files that
 * other threads have opened whose path begins with one of `paths`. Those would stay open when the others close them, and
 * keep their room on the disk when they are removed. False where the kernel does not allow it.
 */
export function ownDescriptors(paths: readonly string[]): boolean {
  if (libc.unshare(CLONE_FILES) < 0) return false
  const isOfOthers = (link: string, fd: Fd) =>
    link.startsWith("socket:") || (paths.some((path) => link.startsWith(path)) && !isOwnFile(fd))
  const table = "/proc/thread-self/fd"
  const others = readdirSync(table)
    .map(Number)
    .filter((fd) => fd > STANDARD_FD_MAX && isOfOthers(linkOf(`${table}/${fd}`), fd))
  for (const fd of others) closeFile(fd)
  return true
}

/** Empty for a descriptor that is gone, as is that of the listing itself. */
function linkOf(path: string): string {
  try {
    return readlinkSync(path)
  } catch {
    return ""
  }
}

/** The kernel's id of the calling thread. FUSE requests of this thread carry it as their pid. */
export function threadId(): number {
  return libc.gettid()
}

export function userId(): number {
  return libc.getuid()
}

export function groupId(): number {
  return libc.getgid()
}
