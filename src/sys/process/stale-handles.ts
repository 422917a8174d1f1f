/**
 * Handles of a mount whose daemon is gone. The kernel silently answers them from its cache for as long as they are
 * open. This makes the kernel forget, so that their next read fails.
 *
 *   pages of files   dropped through a copy of each descriptor: pidfd_getfd(2), posix_fadvise(2) DONTNEED
 *   mapped pages     cannot be dropped while they are mapped; process_madvise(2) PAGEOUT unmaps those of one process
 *                    alone. Their next reader gets SIGBUS, as with every I/O error under mmap(2)
 *   a WAL            that clients write past their daemon (mount/bypass.ts) can be written to still. The locks that a
 *                    writer needs are taken through copies of its descriptors, and kept for as long as this process
 *                    lives. A client in locking_mode=EXCLUSIVE needs none, and has to end
 *   a wal-index      is always mapped, and while it does not change SQLite believes the pages that it remembers.
 *                    Its header is zeroed in the client's memory: SQLite then reads the WAL, which fails. Of a WAL that
 *                    does not fail it is that of an empty one: SQLite then reads the database file
 *
 * All this needs the right to trace the process. It does not reach what a connection remembers that never looks at a
 * file (locking_mode=EXCLUSIVE), a running transaction, descriptors of threads with a table of their own, and
 * descriptors in transit through a socket.
 */
import {
  closeSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  statSync,
  writeSync,
} from "node:fs"
import type { Clock } from "../../lib/clock.ts"
import { Errno, SysError } from "../errno.ts"
import { closeFile, type Fd } from "../file.ts"
import { fileSystemStatus } from "../file-status.ts"
import { errno, libc } from "../libc.ts"
import { type LockKind, tryLock } from "../locks.ts"
import { allocate } from "../memory.ts"
import { pathAddress } from "../path.ts"
import { userId } from "../thread.ts"
import { copyDescriptor, openPidFd } from "./pidfd.ts"

export interface StaleHandles {
  /** Processes that have files of the mount open. */
  readonly pids: readonly number[]
  /** … that this process may not deal with: they may read old content. */
  readonly denied: readonly number[]
  /** Processes that do not show what they have open. */
  readonly hidden: readonly number[]
  /** … that have pages in their memory which could not be taken from them. */
  readonly mapped: readonly number[]
  /** … that may write to a WAL, because they are in a transaction of it, or have it for themselves. */
  readonly writing: readonly number[]
  /** Devices of mounts that have files open, "major:minor". */
  readonly devices: readonly string[]
}

/** The headers of a wal-index, and how much of it has been copied into the database (SQLite: walformat.html). */
const WAL_INDEX_HEAD_SIZE = 100

/** What keeps clients from writing to a WAL that they write past their daemon. */
export interface KeptFromWriting {
  readonly clock: Clock
  /** Bytes of the wal-index that a writer locks. */
  readonly index: LockBytes
  /** From the head of a wal-index to that of an empty WAL, which differs. */
  emptied(head: Uint8Array): Uint8Array
  /** Bytes of the database file that a client locks who has it for itself. */
  readonly database: LockBytes
  /** Those who are in a transaction are waited for this long, milliseconds. */
  readonly limitMs: number
}

export interface LockBytes {
  readonly start: number
  readonly length: number
}

/**
 * `devices` are those of mounts ("major:minor"). A mount that somebody still serves is left alone. `kept` is given when
 * clients may write past the daemon that is gone.
 */
export function dropStaleHandles(
  devices: ReadonlySet<string>,
  kept?: KeptFromWriting,
): StaleHandles {
  const found = look(devices)
  let { reached } = found
  try {
    let writing: readonly Holder[] = []
    if (kept !== undefined) {
      writing = stillWriting(reached, kept)
      // Who opened a file while its daemon died may not have had it yet.
      for (const holder of reached) holder.leave()
      reached = []
      const again = look(devices)
      reached = again.reached
      found.denied.push(...again.denied.filter(({ pid }) => !found.pids.has(pid)))
      for (const pid of again.pids) found.pids.add(pid)
      if (writing.length === 0) writing = stillWriting(reached, kept)
    }
    const { emptied = () => new Uint8Array(WAL_INDEX_HEAD_SIZE) } = kept ?? {}
    for (const holder of reached) holder.resetWalIndexes(emptied)
    for (const holder of reached) holder.pageOut()
    for (const holder of reached) holder.dropPages()
    const mapped = reached.filter((holder) => holder.isCached())
    const pidsOf = (some: readonly Holder[]) => some.map(({ pid }) => pid)
    return {
      pids: [...found.pids],
      denied: pidsOf(found.denied),
      hidden: pidsOf(found.hidden),
      mapped: pidsOf(mapped),
      writing: pidsOf(writing),
      devices: [...new Set(reached.flatMap((holder) => holder.devices))],
    }
  } finally {
    for (const holder of reached) holder.leave()
  }
}

/** Whether the kernel knows the call, and no filter of this process forbids it: tried on itself. */
export function canCopyDescriptors(): boolean {
  const pidFd = openPidFd(process.pid)
  if (pidFd < 0) return false
  const copy = copyDescriptor(pidFd, pidFd)
  closeFile(pidFd)
  if (copy >= 0) closeFile(copy)
  return copy >= 0
}

interface Found {
  readonly pids: Set<number>
  readonly reached: Holder[] // their descriptors are copied
  readonly denied: Holder[]
  readonly hidden: readonly Holder[]
}

function look(devices: ReadonlySet<string>): Found {
  const processes = processIds().map((pid) => new Holder(pid, devices))
  const owners = lockOwners(devices)
  const hidden = processes.filter(({ isHidden, pid }) => isHidden && !owners.has(pid))
  const holders = processes.filter(({ isHolding, isHidden, pid }) => {
    return isHolding || (isHidden && owners.has(pid))
  })
  const denied = holders.filter((holder) => holder.isHidden || !holder.enter())
  const reached = holders.filter((holder) => !denied.includes(holder))
  return { pids: new Set(holders.map(({ pid }) => pid)), reached, denied, hidden }
}

/** Takes the locks of every WAL that they have open. Returns those that do not give them up within the time. */
function stillWriting(holders: readonly Holder[], kept: KeptFromWriting): Holder[] {
  const deadline = kept.clock.monotonicMs() + kept.limitMs
  for (;;) {
    const writing = holders.filter((holder) => !holder.keepFromWriting(kept))
    if (writing.length === 0 || kept.clock.monotonicMs() > deadline) return writing
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, PAUSE_MS)
  }
}

function processIds(): number[] {
  const names = readdirSync("/proc").filter((name) => /^\d+$/.test(name))
  return names.map(Number).filter((pid) => pid !== process.pid)
}

interface Mapping {
  readonly start: number
  readonly size: number
  readonly offset: number
  readonly path: string
}

/** A process with files of the mount. Files that it closes meanwhile no longer matter. */
class Holder {
  readonly pid: number
  readonly #fds: readonly number[]
  readonly #mappings: readonly Mapping[]
  #pidFd: Fd | undefined
  /** Copies of its descriptors. */
  #copies: { readonly fd: Fd; readonly path: string }[] = []

  /** The process is somebody else's, and does not show its open files. */
  readonly isHidden: boolean

  constructor(pid: number, devices: ReadonlySet<string>) {
    this.pid = pid
    const fds = descriptorsOf(pid, devices)
    this.isHidden = fds === undefined
    this.#fds = fds ?? []
    this.#mappings = mappingsOf(pid, devices)
  }

  get isHolding(): boolean {
    return this.#fds.length > 0 || this.#mappings.length > 0
  }

  /** False when this process may not access it. */
  enter(): boolean {
    const pidFd = openPidFd(this.pid)
    if (pidFd < 0) return errno() === Errno.ESRCH
    this.#pidFd = pidFd
    for (const target of this.#fds) {
      const fd = copyDescriptor(pidFd, target)
      const error = fd < 0 ? errno() : 0
      if (error === 0) this.#copies.push({ fd, path: pathOf(this.pid, target) })
      else if (error !== Errno.EBADF && error !== Errno.ESRCH) {
        this.leave()
        return false
      }
    }
    return true
  }

  leave(): void {
    const kept = new Set(held.values())
    for (const { fd } of this.#copies) if (!kept.has(fd)) closeFile(fd)
    this.#copies = []
    if (this.#pidFd !== undefined) closeFile(this.#pidFd)
    this.#pidFd = undefined
  }

  /** Of the mounts whose files it has open. */
  get devices(): string[] {
    return this.#copies.flatMap(({ fd }) => identityOf(fd)?.device ?? [])
  }

  /** False while it is in a transaction of a WAL, or has one for itself. */
  keepFromWriting({ index, database }: KeptFromWriting): boolean {
    for (const { fd, path } of this.#copies) {
      if (isWalIndex(path) && !keep(fd, "exclusive", index)) return false
      const wal = this.#copies.find((other) => other.path === `${path}-wal`)
      if (wal === undefined || keep(fd, "shared", database)) continue
      if (!isBeyondDaemon(wal.fd)) continue // its daemon wrote that WAL, and is gone
      return false
    }
    return true
  }

  resetWalIndexes(emptied: (head: Uint8Array) => Uint8Array): void {
    const indexes = this.#mappings.filter(({ path, offset }) => offset === 0 && isWalIndex(path))
    if (indexes.length === 0) return
    attempt(() => {
      const memory = openSync(`/proc/${this.pid}/mem`, "r+")
      const head = new Uint8Array(WAL_INDEX_HEAD_SIZE)
      try {
        for (const { start } of indexes) {
          attempt(() => {
            readSync(memory, head, 0, head.length, start)
            writeSync(memory, emptied(head), 0, head.length, start)
          })
        }
      } finally {
        closeSync(memory)
      }
    })
  }

  /** Pages that are also mapped elsewhere stay. */
  pageOut(): void {
    if (this.#pidFd === undefined) return
    for (const { path, start, size } of this.#mappings) {
      if (isWalIndex(path)) continue
      range[0] = BigInt(start)
      range[1] = BigInt(size)
      libc.syscall(SYS_PROCESS_MADVISE, this.#pidFd, rangeMemory.address, 1, MADV_PAGEOUT, 0)
    }
  }

  dropPages(): void {
    for (const { fd } of this.#copies) libc.posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED)
  }

  /** Whether the kernel still has pages of a file, other than of a wal-index. */
  isCached(): boolean {
    return this.#copies.some(({ fd, path }) => !isWalIndex(path) && hasPages(fd))
  }
}

/** Descriptors through which locks are held for good, by device and inode: a path may stand for several files. */
const held = new Map<string, Fd>()
const PAUSE_MS = 20

/** Takes a lock of a file and keeps it, unless that is done. False: somebody else has it. */
function keep(fd: Fd, kind: LockKind, { start, length }: LockBytes): boolean {
  const identity = identityOf(fd)
  if (identity === undefined) return false // nobody knows which file it is
  const key = `${identity.device}:${identity.inode}`
  if (held.has(key)) return true
  if (!tryLock(fd, kind, start, length)) return false
  held.set(key, fd)
  return true
}

/** Whether the file is read without the daemon, which is gone. Nobody knows of an empty one. */
function isBeyondDaemon(fd: Fd): boolean {
  libc.posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED)
  return libc.pread(fd, status.address, 1, 0) >= 0
}

function isWalIndex(path: string): boolean {
  return path.endsWith("-shm")
}

/**
 * Undefined when the process hides its descriptors, but may have some of the mount. A process that has ended has none.
 */
function descriptorsOf(pid: number, devices: ReadonlySet<string>): number[] | undefined {
  const directory = `/proc/${pid}/fd`
  try {
    return readdirSync(directory)
      .filter((name) => {
        const path = `${directory}/${name}`
        const device = deviceOf(path)
        return device !== undefined && devices.has(device) && isDead(path, device)
      })
      .map(Number)
  } catch (error) {
    const code = error instanceof SysError ? error.errno : (error as { errno?: number }).errno
    const isRefused = Math.abs(code ?? 0) === Errno.EACCES
    return isRefused && mayBeClient(pid) ? undefined : []
  }
}

/** Kernel threads have no command line. The mount of a user who is not root is for that user's own processes. */
function mayBeClient(pid: number): boolean {
  const command = attempt(() => readFileSync(`/proc/${pid}/cmdline`, "utf8")) ?? ""
  const owner = attempt(() => statSync(`/proc/${pid}`).uid)
  return command !== "" && (userId() === 0 || owner === userId())
}

/** What everybody may know: proc(5), /proc/locks. Clients of a WAL always hold some locks. */
function lockOwners(devices: ReadonlySet<string>): ReadonlySet<number> {
  const owners = new Set<number>()
  for (const line of (attempt(() => readFileSync("/proc/locks", "utf8")) ?? "").split("\n")) {
    const match = / (\d+) ([0-9a-f]+):([0-9a-f]+):\d+ \d+ \S+$/.exec(line)
    if (match === null) continue
    const [major, minor] = match.slice(2, 4).map((hex) => Number.parseInt(hex, 16))
    if (devices.has(`${major}:${minor}`)) owners.add(Number(match[1]))
  }
  return owners
}

function pathOf(pid: number, fd: number): string {
  const path = attempt(() => readlinkSync(`/proc/${pid}/fd/${fd}`)) ?? ""
  return path.replace(/ \(deleted\)$/, "")
}

/** proc(5), /proc/[pid]/maps: `start-end perms offset major:minor inode path`, in hexadecimal. */
function mappingsOf(pid: number, devices: ReadonlySet<string>): Mapping[] {
  const text = attempt(() => readFileSync(`/proc/${pid}/maps`, "utf8")) ?? ""
  const mappings: Mapping[] = []
  for (const line of text.split("\n")) {
    const match =
      /^([0-9a-f]+)-([0-9a-f]+) \S+ ([0-9a-f]+) ([0-9a-f]+):([0-9a-f]+) \d+ +(.+)$/.exec(line)
    if (match === null) continue
    const [start, end, offset, major, minor] = match
      .slice(1, 6)
      .map((hex) => Number.parseInt(hex, 16))
    if (start === undefined || end === undefined || offset === undefined) continue
    if (!devices.has(`${major}:${minor}`) || !dead.has(`${major}:${minor}`)) continue
    const path = (match[6] as string).replace(/ \(deleted\)$/, "")
    mappings.push({ start, size: end - start, offset, path })
  }
  return mappings
}

/** Devices known to have no server. */
const dead = new Set<string>()
const served = new Set<string>()

/**
 * Another mount may have got the number of a device. A mount that nobody serves answers so at once. A file that was
 * closed meanwhile says nothing of the others.
 */
function isDead(path: string, device: string): boolean {
  if (dead.has(device)) return true
  if (served.has(device)) return false
  try {
    fileSystemStatus("fuse:probe", path)
    served.add(device)
  } catch (error) {
    const code = error instanceof SysError ? error.errno : 0
    if (code === Errno.ENOTCONN || code === Errno.ECONNABORTED) dead.add(device)
  }
  return dead.has(device)
}

/**
 * The kernel has it in memory and asks nobody. Undefined when the file is closed. Throws when this process may not
 * look. statx(2): dev_major@136, dev_minor@140.
 */
function deviceOf(path: string): string | undefined {
  const failed = libc.statx(AT_FDCWD, pathAddress(path), AT_STATX_DONT_SYNC, 0, status.address) < 0
  const error = failed ? errno() : 0
  if (error === Errno.EACCES) throw new SysError(error, "fuse:probe", `look at ${path}`)
  if (failed) return undefined
  return deviceInStatus()
}

function deviceInStatus(): string {
  return `${statusView.getUint32(136, true)}:${statusView.getUint32(140, true)}`
}

/** The same of an open file, and ino@32. */
function identityOf(fd: Fd): { readonly device: string; readonly inode: bigint } | undefined {
  const flags = AT_STATX_DONT_SYNC | AT_EMPTY_PATH
  if (libc.statx(fd, pathAddress(""), flags, STATX_INO, status.address) < 0) return undefined
  return { device: deviceInStatus(), inode: statusView.getBigUint64(32, true) }
}

const PAGE_SIZE = 4096
const CHECKED_SIZE_MAX = 1 << 30

/** mincore(2) of the whole file, up to a size. */
function hasPages(fd: Fd): boolean {
  const size = Math.min(libc.lseek(fd, 0, SEEK_END), CHECKED_SIZE_MAX)
  if (size <= 0) return false
  const at = libc.mmap(0, size, PROT_READ, MAP_SHARED, fd, 0)
  if (at === -1) return false
  try {
    const count = Math.ceil(size / PAGE_SIZE)
    for (let first = 0; first < count; first += residency.bytes.length) {
      const some = Math.min(count - first, residency.bytes.length)
      const failed = libc.mincore(at + first * PAGE_SIZE, some * PAGE_SIZE, residency.address) < 0
      if (failed) return false
      if (residency.bytes.subarray(0, some).some((byte) => (byte & 1) === 1)) return true
    }
    return false
  } finally {
    libc.munmap(at, size)
  }
}

function attempt<T>(act: () => T): T | undefined {
  try {
    return act()
  } catch {
    return undefined // the process has ended, or hides itself
  }
}

/** The same on x86-64 and arm64. */
const SYS_PROCESS_MADVISE = 440
const MADV_PAGEOUT = 21
const POSIX_FADV_DONTNEED = 4
const AT_FDCWD = -100
const AT_STATX_DONT_SYNC = 0x4000
const AT_EMPTY_PATH = 0x1000
const STATX_INO = 0x100
const SEEK_END = 2
const PROT_READ = 1
const MAP_SHARED = 1

const status = allocate(4096)
const statusView = new DataView(status.bytes.buffer, status.bytes.byteOffset, 256)
const rangeMemory = allocate(4096)
const range = new BigUint64Array(rangeMemory.bytes.buffer, rangeMemory.bytes.byteOffset, 2)
const residency = allocate(65536)
