/** Reads, writes and waits on descriptors, where an errno need not be a failure. */
import type { Fd } from "./file.ts"
import { errno, libc } from "./libc.ts"
import { allocate, type Region } from "./memory.ts"

/** Bytes read, or a negative errno. */
export function readDevice(fd: Fd, into: Region): number {
  const n = libc.read(fd, into.address, into.bytes.length)
  return n < 0 ? -errno() : n
}

/** Bytes written, or a negative errno. */
export function writeDevice(fd: Fd, address: number, size: number): number {
  const n = libc.write(fd, address, size)
  return n < 0 ? -errno() : n
}

/** What ioctl(2) returns, or a negative errno. */
export function ioctlDevice(fd: Fd, request: number, argument: number): number {
  const n = libc.ioctl(fd, request, argument)
  return n < 0 ? -errno() : n
}

/** Lets other threads run that wait for this CPU. */
export function yieldCpu(): void {
  libc.sched_yield()
}

/** Of a region of one page; the descriptors come before it. */
const LIMIT_OFFSET = 4080

/**
 * Waits for any of a few descriptors. struct pollfd: fd i32@0, events i16@4, revents i16@6. struct timespec: seconds
 * i64@0, nanoseconds i64@8; only the low halves are written, and the others are 0.
 */
export class Poller {
  readonly #set: Region
  readonly #view: DataView
  readonly #count: number

  constructor(...fds: readonly Fd[]) {
    const POLLIN = 1
    this.#set = allocate(4096)
    this.#view = new DataView(this.#set.bytes.buffer, this.#set.bytes.byteOffset)
    this.#count = fds.length
    for (const [index, fd] of fds.entries()) {
      this.#view.setInt32(index * 8, fd, true)
      this.#view.setInt16(index * 8 + 4, POLLIN, true)
    }
  }

  /** Returns when a descriptor is ready, when a signal has come, or after the limit, if one is given. */
  wait(limitMs?: number): void {
    const n = libc.ppoll(this.#set.address, this.#count, this.#limit(limitMs), 0)
    if (n >= 0) return
    for (let index = 0; index < this.#count; index++) {
      this.#view.setInt16(index * 8 + 6, 0, true)
    }
  }

  /** Where it is, as the kernel reads it; 0 for none. */
  #limit(ms: number | undefined): number {
    if (ms === undefined) return 0
    const waitMs = Math.max(0, ms)
    const seconds = Math.floor(waitMs / 1000)
    this.#view.setInt32(LIMIT_OFFSET, seconds, true)
    this.#view.setInt32(LIMIT_OFFSET + 8, (waitMs - seconds * 1000) * 1e6, true)
    return this.#set.address + LIMIT_OFFSET
  }

  /** Whether the descriptor given as number `index` is readable or broken, as of the last wait(). */
  isReady(index: number): boolean {
    return this.#view.getInt16(index * 8 + 6, true) !== 0
  }
}
