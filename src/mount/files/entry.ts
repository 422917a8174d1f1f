/**
 * A file of the mount. Each kind of file has a class, which says what requests for it mean.
 *
 * `Directory` keeps the names and counts the kernel's references. Methods throw the errors that the client gets.
 */
import type { Deferred } from "../../fuse/deferred.ts"
import type { Attributes, Caller, LockOwner } from "../../fuse/filesystem.ts"
import { Fopen } from "../../fuse/flags.ts"
import { FuseError } from "../../fuse/fuse-error.ts"
import type { LockRange } from "../../fuse/lock-range.ts"
import type { BackedFile } from "../../store/backed-file.ts"
import { Errno } from "../../sys/errno.ts"
import type { Fd } from "../../sys/file.ts"
import { type FileAccess, MODE_BITS, setMode, setOwner, UNCHANGED } from "../../sys/file-access.ts"
import { emptyStatus, statusOf } from "../../sys/file-status.ts"
import type { Region } from "../../sys/memory.ts"

/** An undefined field stays as it is. */
export interface AccessChange {
  readonly uid: number | undefined
  readonly gid: number | undefined
  readonly mode: number | undefined
}

export interface FileEntry {
  readonly nodeId: number
  readonly name: string
  /** FOPEN_* bits of the answer to an open of the file. */
  readonly openFlags: number
  /** When it is above 0: the file that the kernel reads and writes itself (sys/bypass/passthrough.ts). */
  readonly backingId: number
  /** Seconds that the kernel may believe the name. */
  readonly nameTimeout: number
  readAttributes(into: Attributes): void
  /** chmod(2), chown(2); the kernel has checked that the caller may. */
  changeAccess(change: AccessChange): void
  /**
   * Throws when a client may not open it to write, whatever its mode says. `thread` is the kernel's id of the thread that
   * opens it, 0 if unknown.
   */
  checkWritable(thread: number): void
  /** A client opens the file, and will have it open as `handle`. Throws when there is none any more. */
  opened(thread: number, isToWrite: boolean, handle: number): void
  /** The client that opened it so no longer has it open. */
  released(handle: number): void
  read(offset: number, size: number, into: Region): number
  /** Throws when the client that opened this handle may not write any more. */
  checkWriter(handle: number): void
  /** Throws when a program may not change the file by stores into a mapping. */
  checkStored(): void
  /** `thread` is the kernel's id of the thread that writes, 0 if unknown. */
  write(offset: number, size: number, from: Region, thread: number): void
  /** A descriptor was closed. The answer may have to wait. */
  flush(thread: number): Deferred | undefined
  /**
   * Before a client's truncate(): by the handle of an open file (ftruncate(2)), or by its name. Throws when it is
   * refused. `thread` is the kernel's id of the thread, 0 if unknown.
   */
  cuttingOff(size: number, handle: number | undefined, thread: number): void
  truncate(size: number): void
  /**
   * Reserves room on the disk for `size` bytes at `offset`; with `isGrowing` the file then reaches at least that far.
   */
  allocate(offset: number, size: number, isGrowing: boolean): void
  /** `thread` is the kernel's id of the thread that syncs, 0 if unknown. */
  sync(thread: number, handle: number): void
  /**
   * A client asks for an exclusive lock on these bytes, which nobody on this node has locked. Only with
   * `--forward-writes`. When the `Deferred` is done the client gets the lock, unless somebody else has it by then. The
   * `Deferred` may fail, and this may throw, with the client's error (EAGAIN is "busy"). An interrupted client is
   * answered at once, and `onInterrupt` is called, if there is one.
   */
  locking(range: LockRange, owner: LockOwner, caller: Caller): Deferred | undefined
  /** The lock of these bytes, which `locking` has let pass, is given up, or the client did not get it. */
  unlocked(range: LockRange, owner: LockOwner): void
  /** Before the name goes. Throws when the file must stay. */
  removing(): void
  /** The kernel no longer knows the file. */
  close(): void
}

const S_IFREG = 0o100000
export const FOREVER = 365 * 24 * 3600

/**
 * A file with a file of the data directory behind it. Only clients change it, through the kernel, or the daemon, which
 * then tells the kernel. The kernel's cache therefore stays true.
 */
export abstract class BackedEntry implements FileEntry {
  readonly nodeId: number
  readonly name: string
  readonly openFlags = Fopen.KEEP_CACHE
  protected file: BackedFile
  protected isRemoved = false
  readonly #status = emptyStatus()

  constructor(nodeId: number, name: string, file: BackedFile) {
    this.nodeId = nodeId
    this.name = name
    this.file = file
  }

  get backingId(): number {
    return 0
  }

  get nameTimeout(): number {
    return FOREVER
  }

  readAttributes(into: Attributes): void {
    const status = this.#status
    statusOf(`${this.file.kind}:stat`, this.file.fd, status)
    into.size = status.size
    into.blocks = status.blocks
    into.blockSize = status.blockSize
    into.uid = status.uid
    into.gid = status.gid
    into.mode = S_IFREG | (status.mode & MODE_BITS)
    into.nlink = this.isRemoved ? 0 : 1
    into.mtimeMs = status.modifiedMs
    into.atimeMs = status.accessedMs
    into.ctimeMs = status.changedMs
    into.timeout = FOREVER
  }

  changeAccess(change: AccessChange): void {
    changeAccess(`${this.file.kind}:access`, this.file.fd, change)
  }

  checkWritable(_thread: number): void {}

  opened(_thread: number, _isToWrite: boolean, _handle: number): void {}

  released(_handle: number): void {}

  read(offset: number, size: number, into: Region): number {
    return this.file.read(into.address, size, offset)
  }

  checkWriter(_handle: number): void {}

  checkStored(): void {}

  write(offset: number, size: number, from: Region, _thread: number): void {
    this.file.write(from.address, size, offset)
  }

  flush(_thread: number): Deferred | undefined {
    return undefined
  }

  cuttingOff(_size: number, _handle: number | undefined, _thread: number): void {}

  truncate(size: number): void {
    this.file.truncate(size)
  }

  allocate(offset: number, size: number, isGrowing: boolean): void {
    if (!this.file.claim(offset, size)) throw FuseError.of(Errno.EOPNOTSUPP)
    if (isGrowing && offset + size > this.file.size()) this.truncate(offset + size)
  }

  sync(_thread: number, _handle: number): void {
    this.file.sync()
  }

  locking(_range: LockRange, _owner: LockOwner, _caller: Caller): Deferred | undefined {
    return undefined
  }

  unlocked(_range: LockRange, _owner: LockOwner): void {}

  removing(): void {
    this.file = this.file.remove()
    this.isRemoved = true
  }

  close(): void {
    if (this.isRemoved) this.file.close()
  }
}

/** A small file whose content we make up when it is read. Nobody can write it, and nothing of it is cached. */
export abstract class MadeUpEntry implements FileEntry {
  readonly nodeId: number
  readonly name: string
  readonly openFlags = Fopen.DIRECT_IO
  readonly backingId = 0
  readonly nameTimeout = 0
  readonly #encoder = new TextEncoder()

  constructor(nodeId: number, name: string) {
    this.nodeId = nodeId
    this.name = name
  }

  protected abstract content(): string
  protected abstract access(): FileAccess
  protected abstract modifiedMs(): number

  readAttributes(into: Attributes): void {
    const ms = this.modifiedMs()
    into.size = this.#encoder.encode(this.content()).length
    into.blocks = 0
    into.blockSize = 4096
    const { uid, gid, mode } = this.access()
    into.uid = uid
    into.gid = gid
    into.mode = S_IFREG | mode
    into.nlink = 1
    into.mtimeMs = ms
    into.atimeMs = ms
    into.ctimeMs = ms
    into.timeout = 0
  }

  /** Succeeds without effect: whoever changes the access of all files in the directory means other files. */
  changeAccess(): void {}

  checkWritable(): void {}

  opened(_thread: number, _isToWrite: boolean, _handle: number): void {}

  released(_handle: number): void {}

  read(offset: number, size: number, into: Region): number {
    const bytes = this.#encoder.encode(this.content()).subarray(offset, offset + size)
    into.bytes.set(bytes)
    return bytes.length
  }

  checkWriter(): void {}

  checkStored(): void {}

  write(): void {
    throw FuseError.of(Errno.EACCES)
  }

  flush(): undefined {}

  cuttingOff(): void {}

  truncate(_size: number): void {
    throw FuseError.of(Errno.EACCES)
  }

  allocate(): void {
    throw FuseError.of(Errno.EACCES)
  }

  sync(): void {}

  locking(_range: LockRange, _owner: LockOwner): Deferred | undefined {
    return undefined
  }

  unlocked(_range: LockRange, _owner: LockOwner): void {}

  removing(): void {
    throw FuseError.of(Errno.EACCES)
  }

  close(): void {}
}

/**
 * The owner comes first: a change of owner clears bits of the mode, and the kernel asks for them if they are to stay.
 */
export function changeAccess(op: string, fd: Fd, { uid, gid, mode }: AccessChange): void {
  if (uid !== undefined || gid !== undefined) setOwner(op, fd, uid ?? UNCHANGED, gid ?? UNCHANGED)
  if (mode !== undefined) setMode(op, fd, mode)
}
