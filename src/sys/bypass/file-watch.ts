/** inotify(7): which files of a few have been written to. */

import { readDevice } from "../device.ts"
import { Errno, SysError } from "../errno.ts"
import { closeFile, type Fd } from "../file.ts"
import { errno, libc } from "../libc.ts"
import { allocate } from "../memory.ts"
import { pathAddress } from "../path.ts"

const IN_NONBLOCK = 0o4000
const IN_CLOEXEC = 0o2000000
const IN_MODIFY = 2

/** struct inotify_event: i32 wd@0, u32 mask@4, u32 cookie@8, u32 len@12, then a name of that size. */
const EVENT_SIZE = 16

export class FileWatch {
  readonly fd: Fd
  readonly #events = allocate(16 * 1024)
  readonly #view = new DataView(this.#events.bytes.buffer, this.#events.bytes.byteOffset)

  constructor() {
    this.fd = libc.inotify_init1(IN_NONBLOCK | IN_CLOEXEC)
    if (this.fd < 0) throw new SysError(errno(), "watch:open", "watch files")
  }

  /** The number of the file from here on. */
  add(path: string): number {
    const number = libc.inotify_add_watch(this.fd, pathAddress(path), IN_MODIFY)
    if (number < 0) throw new SysError(errno(), "watch:add", `watch "${path}"`)
    return number
  }

  remove(number: number): void {
    libc.inotify_rm_watch(this.fd, number)
  }

  /** The numbers of those that were written to since the last call; "all" when too much has happened. */
  take(): ReadonlySet<number> | "all" {
    const written = new Set<number>()
    for (;;) {
      const size = readDevice(this.fd, this.#events)
      if (size === -Errno.EAGAIN) return written
      if (size <= 0) throw new SysError(-size, "watch:read", "read what was written to")
      for (let at = 0; at < size; at += EVENT_SIZE + this.#view.getUint32(at + 12, true)) {
        const number = this.#view.getInt32(at, true)
        if (number < 0) return "all" // IN_Q_OVERFLOW
        written.add(number)
      }
    }
  }

  close(): void {
    closeFile(this.fd)
  }
}
