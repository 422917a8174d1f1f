/**
 * Tells the kernel what the daemon has changed behind its back, so that the kernel asks again.
 *
 * Only the peer thread does this: on the thread that answers requests it can deadlock in the kernel. It may block while
 * the fs thread answers a request that holds a page of the file.
 *
 * It has no descriptor of the mount meanwhile, where it can borrow that of the fs thread. When the process is killed, the
 * mount has to go with the fs thread: the peer thread may wait for a file that a client has locked whose request nobody
 * answers any more, and such a wait ends with the mount alone (Linux: fuse_file_write_iter, inode_lock).
 */
import { ROOT_ID } from "../../fuse/filesystem.ts"
import { NOTIFY_SIZE, Notifier } from "../../fuse/notify.ts"
import type { CachedRange } from "../../mount/contract.ts"
import { writeDevice } from "../../sys/device.ts"
import { Errno, SysError } from "../../sys/errno.ts"
import type { Fd } from "../../sys/file.ts"
import { allocate } from "../../sys/memory.ts"
import type { OtherThreadsFile } from "../../sys/process/pidfd.ts"

/** With this many ranges, forgetting the whole file costs less. */
const RANGE_COUNT_MAX = 64

export class KernelCache {
  readonly #device: Fd | OtherThreadsFile
  readonly #message = allocate(Math.max(NOTIFY_SIZE, 4096))
  readonly #notifier = new Notifier(this.#message)

  constructor(device: Fd | OtherThreadsFile) {
    this.#device = device
  }

  /** The pages of a database file, ascending, and its size and times. */
  forgetPages(nodeId: number, pageSize: number, pgnos: readonly number[]): void {
    const ranges = contiguous(pgnos)
    if (ranges.length > RANGE_COUNT_MAX) return this.forgetFile(nodeId)
    for (const [first, count] of ranges) {
      const offset = (first - 1) * pageSize
      this.#send(this.#notifier.invalidateInode(nodeId, offset, count * pageSize))
    }
    if (ranges.length === 0) this.#send(this.#notifier.invalidateAttributes(nodeId))
  }

  /** Bytes of a file, and its size and times. */
  forgetRange({ nodeId, offset, size }: CachedRange): void {
    this.#send(this.#notifier.invalidateInode(nodeId, offset, size))
  }

  /** The whole file. */
  forgetFile(nodeId: number): void {
    this.#send(this.#notifier.invalidateInode(nodeId, 0, 0))
  }

  /** The meaning of a name, and the listing of the directory. */
  forgetName(name: string): void {
    this.#send(this.#notifier.invalidateEntry(ROOT_ID, name))
    this.forgetFile(ROOT_ID)
  }

  #send(size: number): void {
    if (typeof this.#device === "number") this.#write(this.#device, size)
    else this.#device.use((device) => this.#write(device, size))
  }

  #write(device: Fd, size: number): void {
    const result = writeDevice(device, this.#message.address, size)
    // ENOENT: the kernel does not know it. ENODEV, ENOTCONN: the mount is gone.
    if (result >= 0 || result === -Errno.ENOENT) return
    if (result === -Errno.ENODEV || result === -Errno.ENOTCONN) return
    throw new SysError(-result, "fuse:notify", "tell the kernel of a change")
  }
}

/** Runs of consecutive numbers as [first, count]. */
function contiguous(pgnos: readonly number[]): [first: number, count: number][] {
  const ranges: [number, number][] = []
  for (const pgno of pgnos) {
    const last = ranges.at(-1)
    if (last !== undefined && last[0] + last[1] === pgno) last[1] += 1
    else ranges.push([pgno, 1])
  }
  return ranges
}
