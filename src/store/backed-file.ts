import { LitefsError } from "../lib/errors.ts"
import { Errno, SysError } from "../sys/errno.ts"
import {
  claimSpace,
  closeFile,
  closing,
  type Fd,
  fileExists,
  linkFile,
  O_CREAT,
  O_EXCL,
  O_RDWR,
  openFile,
  readAt,
  readBytesAt,
  renameFile,
  reserveSpace,
  syncData,
  truncateFile,
  unlinkFile,
  writeAt,
  writeBytesAt,
} from "../sys/file.ts"
import {
  accessOf,
  type FileAccess,
  giveAccess,
  openOwnFile,
  openOwnIfExists,
} from "../sys/file-access.ts"
import { fileSystemStatus, sizeOf } from "../sys/file-status.ts"
import type { Region } from "../sys/memory.ts"

/** Bytes: what ext4 has for a file in its blocks of 4 KiB. Page numbers below it are exact, and can be counted. */
export const FILE_SIZE_MAX = (2 ** 32 - 1) * 4096

/** From so many bytes on it is worth a look at what is free. */
const LARGE_CLAIM = 16 * 1024 * 1024

/**
 * A file of the data directory that stands behind a file of the mount.
 *
 * It is opened once, on first use, and stays open: what was opened before a removal keeps working after it. `kind`
 * names its system calls in fault tests ("wal:write"). `access` is the owner and the mode of a file that is made
 * without any given; without it the file is for nobody but the daemon.
 */
export class BackedFile {
  readonly kind: string
  readonly path: string
  readonly #access: FileAccess | undefined
  #fd: Fd | undefined

  constructor(kind: string, path: string, access?: FileAccess) {
    this.kind = kind
    this.path = path
    this.#access = access
  }

  /** Opens the file, making it when it is not there. */
  create(): Fd {
    return this.open() ? this.fd : this.make()
  }

  /** Makes the file, which is not there. */
  make(access = this.#access): Fd {
    const op = `${this.kind}:open`
    const fd = openFile(op, this.path, O_RDWR | O_CREAT | O_EXCL)
    try {
      if (access !== undefined) giveAccess(`${this.kind}:access`, fd, access)
    } catch (error) {
      closeFile(fd)
      unlinkFile(op, this.path)
      throw error
    }
    this.#fd = fd
    return fd
  }

  /** False when there is no such file. */
  open(): boolean {
    this.#fd ??= openOwnIfExists(`${this.kind}:open`, this.path, O_RDWR)
    return this.#fd !== undefined
  }

  /**
   * Its owner and mode, or those it would be made with when there is no such file. Undefined: nobody but the daemon.
   */
  get access(): FileAccess | undefined {
    return this.open() ? accessOf(`${this.kind}:stat`, this.fd) : this.#access
  }

  /** The descriptor of the file, which the caller has opened or knows to exist. */
  get fd(): Fd {
    this.#fd ??= openOwnFile(`${this.kind}:open`, this.path, O_RDWR)
    return this.#fd
  }

  get isOpen(): boolean {
    return this.#fd !== undefined
  }

  /** Bytes; 0 when there is no such file. */
  size(): number {
    return this.open() ? sizeOf(`${this.kind}:stat`, this.fd) : 0
  }

  read(address: number, size: number, offset: number): number {
    return readAt(`${this.kind}:read`, this.fd, address, size, offset)
  }

  /** As ByteSource has it; nothing when there is no such file. */
  readAt(offset: number, target: Uint8Array): number {
    return this.open() ? readBytesAt(`${this.kind}:read`, this.fd, target, offset) : 0
  }

  /** Reads all of `size`; what lies beyond the end of the file reads as zeros. */
  readPadded(into: Region, size: number, offset: number): void {
    const n = this.open() ? this.read(into.address, size, offset) : 0
    if (n < size) into.bytes.fill(0, n, size)
  }

  /**
   * Throws EFBIG, as ext4 does, before anything is done for a size that no file can have: some file systems take it for
   * a file with holes, and nobody may go through these.
   */
  checkSize(size: number): void {
    if (size <= FILE_SIZE_MAX) return
    throw new SysError(Errno.EFBIG, `${this.kind}:size`, `make "${this.path}" ${size} bytes long`)
  }

  write(address: number, size: number, offset: number): void {
    this.checkSize(offset + size)
    writeAt(`${this.kind}:write`, this.fd, address, size, offset)
  }

  writeBytes(bytes: Uint8Array, offset: number): void {
    writeBytesAt(`${this.kind}:write`, this.fd, bytes, offset)
  }

  truncate(size: number): void {
    this.checkSize(size)
    truncateFile(`${this.kind}:truncate`, this.fd, size)
  }

  /**
   * Makes room for what a client claims; false where that cannot be promised. A file system that runs full on the way
   * keeps what it has reserved, so what is more than is free is refused before.
   */
  claim(offset: number, size: number): boolean {
    this.checkSize(offset + size)
    if (size > LARGE_CLAIM && offset + size - this.size() > freeSpace(this.path)) {
      const what = `Cannot reserve ${size} bytes of "${this.path}"`
      throw new LitefsError("no-space", `${what}: the disk has less left`)
    }
    return claimSpace(`${this.kind}:reserve`, this.fd, offset, size)
  }

  /** Makes room for bytes that are about to be written; false where that cannot be promised. */
  reserve(offset: number, size: number): boolean {
    this.checkSize(offset + size)
    return reserveSpace(`${this.kind}:reserve`, this.fd, offset, size)
  }

  sync(): void {
    syncData(`${this.kind}:fsync`, this.fd)
  }

  /**
   * The file at `path`, of the same file system, takes the place of this one and its access. This one keeps the name
   * `oldPath`: freeing the room of a large file takes long, and somebody else may do it. Can be repeated.
   */
  replaceBy(path: string, oldPath: string): void {
    if (fileExists(`${this.kind}:look`, path)) {
      this.giveAccessTo(path)
      if (this.open()) this.#keepAs(oldPath)
      renameFile(`${this.kind}:replace`, path, this.path)
    }
    this.close()
    this.create()
  }

  /** Another file will take the place of this one: gives clients the same rights to it. */
  giveAccessTo(path: string): void {
    const { access, kind } = this
    if (access === undefined) return
    using file = closing(openOwnFile(`${kind}:open`, path, O_RDWR))
    giveAccess(`${kind}:access`, file.fd, access)
  }

  #keepAs(path: string): void {
    try {
      linkFile(`${this.kind}:link`, this.path, path)
    } catch {
      // Then it goes at once.
    }
  }

  /** Takes the name away. Open handles move to the returned file; this one stands for the name. */
  remove(): BackedFile {
    unlinkFile(`${this.kind}:unlink`, this.path)
    const removed = new BackedFile(this.kind, this.path, this.#access)
    removed.#fd = this.#fd
    this.#fd = undefined
    return removed
  }

  /** It is about to get pages of a transaction that is not captured. Throws when that must not be (noted-file.ts). */
  halfWritten(): void {}

  /** All its pages are captured again. */
  wholeAgain(): void {}

  close(): void {
    if (this.#fd !== undefined) closeFile(this.#fd)
    this.#fd = undefined
  }
}

/** Of the file system of a file, bytes. */
function freeSpace(path: string): number {
  const { blocksAvailable, blockSize } = fileSystemStatus("data:statfs", path)
  return blocksAvailable * blockSize
}
