/**
 * The protocol as one table, with a row for each request: what it carries, and how it is answered.
 *
 * ENOSYS in answer to many requests means "never again": the kernel stops sending them for the life of the mount and
 * does without. That suits what we do not have (ACCESS, POLL, xattrs, LSEEK, …). It is fatal for OPEN, CREATE and
 * FLUSH, which must reach us: a file system cannot answer it. FSYNC and FSYNCDIR stay away only when the server was
 * told that nobody needs them.
 */
import { assert } from "../lib/assert.ts"
import { Errno } from "../sys/errno.ts"
import { Deferred } from "./deferred.ts"
import type { DirectoryOffsets } from "./directory-offsets.ts"
import { readDirectory } from "./directory-reply.ts"
import type { FileSystem, FlockKind, PosixLockRequest } from "./filesystem.ts"
import { FallocateMode, FsyncFlag, LkFlag, LockType, ReleaseFlag, WriteFlag } from "./flags.ts"
import { OFFSET_MAX } from "./lock-range.ts"
import { Opcode } from "./opcodes.ts"
import type { Reply } from "./reply.ts"
import { join64, type Request } from "./request.ts"
import {
  BatchForgetIn,
  CreateIn,
  FallocateIn,
  FlushIn,
  ForgetIn,
  ForgetOne,
  FsyncIn,
  GetattrIn,
  InterruptIn,
  LkIn,
  OpenIn,
  ReadIn,
  ReleaseIn,
  Rename2In,
  RenameIn,
  SetattrIn,
  WriteIn,
} from "./requests.ts"

export interface Operation {
  /** Bytes of the record after the header. A shorter request is refused unseen. */
  recordSize: number
  /** The names after the record, and what a client is told when one is not UTF-8. */
  names?: { count: 1 | 2; notUtf8: number }
  /** The kernel does not wait for a reply, and would not know what to do with one. */
  isSilent?: true
  handle(exchange: Exchange): Answer
}

/** What handlers work with. */
export interface Exchange {
  readonly fileSystem: FileSystem
  readonly request: Request
  readonly reply: Reply
  readonly directories: DirectoryOffsets
  readonly negativeTimeout: number // seconds
  isSyncless(isDirectory: boolean): boolean
  hasPosixLocks(): boolean
  init(): number
  openDirectory(): number
  interrupt(uniqueLo: number, uniqueHi: number): void
}

/** The size of the payload in `reply`, or -errno, or the promise of an answer. */
export type Answer = number | Later

/** Once `deferred` is done, `fill` puts the payload into the given reply and returns its size. */
export interface Later {
  deferred: Deferred
  fill(reply: Reply): number
}

/** One name, of something that exists, or is to be made. */
const OLD_NAME = { count: 1, notUtf8: Errno.ENOENT } as const
const NEW_NAME = { count: 1, notUtf8: Errno.EILSEQ } as const

export const OPERATIONS: Readonly<Record<number, Operation>> = {
  [Opcode.LOOKUP]: {
    recordSize: 0,
    names: OLD_NAME,
    handle({ fileSystem, request, reply, negativeTimeout }) {
      const entry = fileSystem.lookup(request.header.nodeId, nameOf(request))
      return entry === undefined ? reply.negativeEntry(negativeTimeout) : reply.entry(entry)
    },
  },

  [Opcode.FORGET]: {
    recordSize: ForgetIn.size,
    isSilent: true,
    handle({ fileSystem, request }) {
      fileSystem.forget(request.header.nodeId, request.forget.count)
      return 0
    },
  },

  [Opcode.BATCH_FORGET]: {
    recordSize: BatchForgetIn.size,
    isSilent: true,
    handle({ fileSystem, request }) {
      const { count } = request.batchForget
      if (request.bodySize < BatchForgetIn.size + count * ForgetOne.size) return -Errno.EINVAL
      for (let index = 0; index < count; index++) {
        const one = request.forgetAt(index)
        fileSystem.forget(one.nodeId, one.count)
      }
      return 0
    },
  },

  [Opcode.GETATTR]: {
    recordSize: GetattrIn.size,
    handle({ fileSystem, request, reply }) {
      return getAttributes(fileSystem, request.header.nodeId, reply)
    },
  },

  [Opcode.SETATTR]: {
    recordSize: SetattrIn.size,
    handle({ fileSystem, request, reply }) {
      const { nodeId } = request.header
      const { change } = request
      const { attributes } = reply.scratch
      if (change.size !== undefined && !Number.isSafeInteger(change.size)) return -Errno.EFBIG
      const deferred = fileSystem.setAttributes(nodeId, change, attributes, request.caller)
      if (deferred === undefined) return reply.attributes(attributes)
      return { deferred, fill: (later) => getAttributes(fileSystem, nodeId, later) }
    },
  },

  [Opcode.OPEN]: {
    recordSize: OpenIn.size,
    handle({ fileSystem, request, reply }) {
      const opened = reply.blankOpened()
      const { nodeId } = request.header
      const deferred = fileSystem.open(nodeId, request.open.flags, request.caller, opened)
      if (deferred === undefined) return reply.opened(opened)
      const answer = { ...opened }
      return { deferred, fill: (later) => later.opened(answer) }
    },
  },

  [Opcode.CREATE]: {
    recordSize: CreateIn.size,
    names: NEW_NAME,
    handle({ fileSystem, request, reply }) {
      const { nodeId } = request.header
      const { flags, mode } = request.create
      const opened = reply.blankOpened()
      const name = nameOf(request)
      const entry = fileSystem.create(nodeId, name, flags, mode, request.caller, opened)
      return reply.created(entry, opened)
    },
  },

  [Opcode.READ]: {
    recordSize: ReadIn.size,
    handle({ fileSystem, request, reply }) {
      const { nodeId } = request.header
      const { handle, offset, size } = request.read
      if (size > reply.payload.bytes.length) return -Errno.EINVAL // fewer bytes would mean "end of file"
      if (!Number.isSafeInteger(offset + size)) return 0
      const count = fileSystem.read(nodeId, handle, offset, size, reply.payload)
      assert(count >= 0 && count <= size, `Cannot answer a READ of ${size} bytes with ${count}`)
      return count
    },
  },

  [Opcode.WRITE]: {
    recordSize: WriteIn.size,
    handle({ fileSystem, request, reply }) {
      const { nodeId } = request.header
      const { handle, offset, size, writeFlags } = request.write
      const isMapped = (writeFlags & WriteFlag.CACHE) !== 0 // no write(2) is held back
      const { data, caller } = request
      if (size > request.bodySize - WriteIn.size) return -Errno.EINVAL
      if (!Number.isSafeInteger(offset + size)) return -Errno.EFBIG
      const written = fileSystem.write(nodeId, handle, offset, size, data, caller, isMapped)
      if (written instanceof Deferred) {
        return { deferred: written, fill: (later) => later.written(size) }
      }
      const isPossible = written >= 0 && written <= size
      assert(isPossible, `Cannot answer a WRITE of ${size} bytes with ${written}`)
      return reply.written(written)
    },
  },

  [Opcode.FALLOCATE]: {
    recordSize: FallocateIn.size,
    handle({ fileSystem, request }) {
      const { nodeId } = request.header
      const { handle, offset, length, mode } = request.fallocate
      if (mode !== 0 && mode !== FallocateMode.KEEP_SIZE) return -Errno.EOPNOTSUPP
      if (!Number.isSafeInteger(offset + length)) return -Errno.EFBIG
      const keepsSize = mode === FallocateMode.KEEP_SIZE
      fileSystem.allocate(nodeId, handle, offset, length, keepsSize)
      return 0
    },
  },

  [Opcode.FLUSH]: {
    recordSize: FlushIn.size,
    handle({ fileSystem, request }) {
      const { handle, ownerLo, ownerHi } = request.flush
      const owner = join64(ownerLo, ownerHi)
      return empty(fileSystem.flush(request.header.nodeId, handle, owner, request.caller))
    },
  },

  [Opcode.RELEASE]: {
    recordSize: ReleaseIn.size,
    handle({ fileSystem, request }) {
      const { handle, releaseFlags, ownerLo, ownerHi } = request.release
      const hasFlock = (releaseFlags & ReleaseFlag.FLOCK_UNLOCK) !== 0
      const owner = hasFlock ? join64(ownerLo, ownerHi) : undefined
      fileSystem.release(request.header.nodeId, handle, owner)
      return 0
    },
  },

  [Opcode.FSYNC]: {
    recordSize: FsyncIn.size,
    handle({ fileSystem, request, isSyncless }) {
      if (isSyncless(false)) return -Errno.ENOSYS
      const { handle, flags } = request.fsync
      const dataOnly = (flags & FsyncFlag.FDATASYNC) !== 0
      return empty(fileSystem.sync(request.header.nodeId, handle, dataOnly, request.caller))
    },
  },

  [Opcode.SETLK]: { recordSize: LkIn.size, handle: (exchange) => setLock(exchange, false) },
  [Opcode.SETLKW]: { recordSize: LkIn.size, handle: (exchange) => setLock(exchange, true) },

  [Opcode.GETLK]: {
    recordSize: LkIn.size,
    handle({ fileSystem, request, reply, hasPosixLocks }) {
      if (!hasPosixLocks()) return -Errno.ENOSYS
      const wanted = posixLock(request)
      if (wanted === undefined || wanted.kind === "unlock") return -Errno.EINVAL
      return reply.lock(fileSystem.getLock(request.header.nodeId, wanted))
    },
  },

  [Opcode.UNLINK]: {
    recordSize: 0,
    names: OLD_NAME,
    handle({ fileSystem, request }) {
      return empty(fileSystem.unlink(request.header.nodeId, nameOf(request), request.caller))
    },
  },

  [Opcode.RENAME]: {
    recordSize: RenameIn.size,
    names: { count: 2, notUtf8: Errno.EILSEQ },
    handle: ({ fileSystem, request }) => rename(fileSystem, request, request.rename.newParentId, 0),
  },

  [Opcode.RENAME2]: {
    recordSize: Rename2In.size,
    names: { count: 2, notUtf8: Errno.EILSEQ },
    handle({ fileSystem, request }) {
      const { newParentId, flags } = request.rename2
      return rename(fileSystem, request, newParentId, flags)
    },
  },

  [Opcode.OPENDIR]: {
    recordSize: OpenIn.size,
    handle: (exchange) => exchange.openDirectory(),
  },

  [Opcode.READDIR]: {
    recordSize: ReadIn.size,
    handle({ fileSystem, request, reply, directories }) {
      const { nodeId } = request.header
      const { offset, size } = request.read
      const rest = directories.after(nodeId, fileSystem.list(nodeId), offset)
      return readDirectory(rest, reply.payload.bytes, size)
    },
  },

  [Opcode.RELEASEDIR]: { recordSize: ReleaseIn.size, handle: () => 0 },

  [Opcode.FSYNCDIR]: {
    recordSize: FsyncIn.size,
    handle({ fileSystem, request, isSyncless }) {
      if (isSyncless(true)) return -Errno.ENOSYS
      fileSystem.syncDirectory(request.header.nodeId)
      return 0
    },
  },

  [Opcode.STATFS]: {
    recordSize: 0,
    handle({ fileSystem, reply }) {
      const { statfs } = reply.scratch
      fileSystem.statfs(statfs)
      return reply.statfs(statfs)
    },
  },

  [Opcode.INIT]: { recordSize: 8, handle: (exchange) => exchange.init() }, // major and minor

  [Opcode.DESTROY]: { recordSize: 0, handle: () => 0 },

  [Opcode.INTERRUPT]: {
    recordSize: InterruptIn.size,
    isSilent: true,
    handle(exchange) {
      const { uniqueLo, uniqueHi } = exchange.request.interrupt
      exchange.interrupt(uniqueLo, uniqueHi)
      return 0
    },
  },

  [Opcode.NOTIFY_REPLY]: { recordSize: 0, isSilent: true, handle: () => 0 },

  // The requests below are refused, whatever is in their records: only the sizes matter.

  // A mount is one directory of databases and what belongs to them.
  [Opcode.MKNOD]: { recordSize: 16, names: NEW_NAME, handle: refuseToMake("a special file") },
  [Opcode.MKDIR]: { recordSize: 8, names: NEW_NAME, handle: refuseToMake("a directory") },
  [Opcode.RMDIR]: { recordSize: 0, names: OLD_NAME, handle: refuse(Errno.EPERM) },
  // The target follows the name.
  [Opcode.SYMLINK]: { recordSize: 0, names: NEW_NAME, handle: refuseToMake("a symbolic link") },
  [Opcode.LINK]: { recordSize: 8, names: NEW_NAME, handle: refuseToMake("a link") },
  [Opcode.READLINK]: { recordSize: 0, handle: refuse(Errno.EINVAL) },
  [Opcode.IOCTL]: { recordSize: 0, handle: refuse(Errno.ENOTTY) },

  // After one ENOSYS the kernel does these itself, or does without them.
  [Opcode.ACCESS]: { recordSize: 8, handle: refuse(Errno.ENOSYS) },
  [Opcode.LSEEK]: { recordSize: 24, handle: refuse(Errno.ENOSYS) },
  [Opcode.COPY_FILE_RANGE]: { recordSize: 56, handle: refuse(Errno.ENOSYS) },
  [Opcode.COPY_FILE_RANGE_64]: { recordSize: 56, handle: refuse(Errno.ENOSYS) },
}

/** What the table lacks we do not have, and the kernel need not ask again. */
export const UNKNOWN_OPERATION: Operation = { recordSize: 0, handle: refuse(Errno.ENOSYS) }

function refuse(errno: number): () => number {
  return () => -errno
}

function empty(deferred: Deferred | undefined): Answer {
  return deferred === undefined ? 0 : { deferred, fill: () => 0 }
}

function nameOf({ name }: Request): string {
  assert(name !== undefined, "Cannot handle a name that is not UTF-8")
  return name
}

function getAttributes(fileSystem: FileSystem, nodeId: number, reply: Reply): number {
  const { attributes } = reply.scratch
  fileSystem.getAttributes(nodeId, attributes)
  return reply.attributes(attributes)
}

function refuseToMake(what: string) {
  return ({ fileSystem, request }: Exchange): Answer => {
    fileSystem.refused?.(`make ${what}`, nameOf(request), request.caller)
    return -Errno.EPERM
  }
}

function rename(fileSystem: FileSystem, request: Request, newParentId: number, flags: number): 0 {
  const { newName } = request
  assert(newName !== undefined, "Cannot handle a name that is not UTF-8")
  fileSystem.rename(
    request.header.nodeId,
    nameOf(request),
    newParentId,
    newName,
    flags,
    request.caller,
  )
  return 0
}

/** SETLK and SETLKW. Only flock(2) arrives, unless INIT has agreed that the locks of fcntl(2) are requests too. */
function setLock({ fileSystem, request, hasPosixLocks }: Exchange, wait: boolean): Answer {
  const { nodeId } = request.header
  const { handle, ownerLo, ownerHi, type, flags } = request.lk
  if ((flags & LkFlag.FLOCK) !== 0) {
    const kind = FLOCK_KINDS[type]
    if (kind === undefined) return -Errno.EINVAL
    return empty(fileSystem.flock(nodeId, handle, join64(ownerLo, ownerHi), kind, wait))
  }
  if (!hasPosixLocks()) return -Errno.ENOSYS
  const lock = posixLock(request)
  if (lock === undefined) return -Errno.EINVAL
  return empty(fileSystem.setLock(nodeId, lock, wait, request.caller))
}

/** Undefined when the request makes no sense. */
function posixLock({ lk }: Request): PosixLockRequest | undefined {
  const kind = FLOCK_KINDS[lk.type]
  const start = join64(lk.startLo, lk.startHi)
  const end = join64(lk.endLo, lk.endHi)
  if (kind === undefined || start > end || end > OFFSET_MAX) return undefined
  const owner = join64(lk.ownerLo, lk.ownerHi)
  return { owner, kind, handle: lk.handle, pid: lk.pid, start, end }
}

const FLOCK_KINDS: Readonly<Record<number, FlockKind>> = {
  [LockType.RDLCK]: "shared",
  [LockType.WRLCK]: "exclusive",
  [LockType.UNLCK]: "unlock",
}
