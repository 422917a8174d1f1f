/**
 * Descriptors of others: pidfd_open(2) and pidfd_getfd(2). The calls return -1 when they fail, and errno() tells why. Who
 * may trace a process may copy its descriptors; a thread may always copy those of another one of its process.
 */
import { Errno, SysError } from "../errno.ts"
import { closeFile, type Fd } from "../file.ts"
import { errno, libc } from "../libc.ts"
import { makeRoom } from "../spare-descriptors.ts"

/** The same on x86-64 and arm64. */
const SYS_PIDFD_OPEN = 434
const SYS_PIDFD_GETFD = 438
/** For a thread that is no first one of its process, since Linux 6.9. */
const PIDFD_THREAD = 0x80

export function openPidFd(id: number, flags = 0): number {
  return libc.syscall(SYS_PIDFD_OPEN, id, flags, 0, 0, 0)
}

export function copyDescriptor(pidFd: Fd, fd: Fd): number {
  return libc.syscall(SYS_PIDFD_GETFD, pidFd, fd, 0, 0, 0)
}

/**
 * A descriptor that only another thread of this process has, with a table of its own: it is closed when that thread
 * ends, whatever this one waits for.
 */
export class OtherThreadsFile {
  readonly #pidFd: Fd
  readonly #fd: Fd

  private constructor(pidFd: Fd, fd: Fd) {
    this.#pidFd = pidFd
    this.#fd = fd
  }

  /** Undefined where the kernel is older, or a filter forbids it. `thread` is the kernel's id of it. */
  static of(thread: number, fd: Fd): OtherThreadsFile | undefined {
    const pidFd = openPidFd(thread, PIDFD_THREAD)
    if (pidFd < 0) return undefined
    const copy = copyDescriptor(pidFd, fd)
    if (copy >= 0) {
      closeFile(copy)
      return new OtherThreadsFile(pidFd, fd)
    }
    closeFile(pidFd)
    return undefined
  }

  /** Calls `act` with a copy of it. Returns false when the thread has ended. */
  use(act: (fd: Fd) => void): boolean {
    const copy = this.#copy()
    if (copy === undefined) return false
    try {
      act(copy)
      return true
    } finally {
      closeFile(copy)
    }
  }

  #copy(): Fd | undefined {
    for (;;) {
      const copy = copyDescriptor(this.#pidFd, this.#fd)
      if (copy >= 0) return copy
      const error = errno()
      if (error === Errno.ESRCH || error === Errno.EBADF) return undefined
      if (!makeRoom("fuse:copy", error)) {
        throw new SysError(error, "fuse:copy", "copy the descriptor of the mount")
      }
    }
  }
}
