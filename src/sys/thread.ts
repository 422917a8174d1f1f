import { libc } from "./libc.ts"

/** The kernel's id of the calling thread: what a FUSE request of this thread carries as its pid. */
export function threadId(): number {
  return libc.gettid()
}

export function userId(): number {
  return libc.getuid()
}

export function groupId(): number {
  return libc.getgid()
}
