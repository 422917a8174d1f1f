/**
 * What the protocol server asks of a file system: one method per request that needs an answer of its own. Everything
 * that the kernel can be told without asking (extended attributes, links, …) stays in `operations.ts`.
 *
 * 1. Methods run on the fs thread, one at a time, and never wait. An answer that is not possible yet comes later: the
 *    method returns a `Deferred`, and somebody calls `done()` or `fail()` on it.
 * 2. Errors are thrown: `FuseError` for a plain errno, anything else goes through the server's `errnoOf`. ENOSYS is
 *    never passed on: the kernel takes it to mean "do not ask again for the life of the mount".
 * 3. Objects and regions passed in are the server's, which reuses them for the next request. Copy what must outlive the
 *    call. `Entry` objects handed out may likewise be one object, filled anew each time: the server has used it up when
 *    it calls the next method.
 * 4. Names are decoded, contain no NUL and no "/", and are none of "", "." and "..". Offsets and sizes are safe
 *    integers, and so is their sum.
 */
import type { Region } from "../sys/memory.ts"
import type { Deferred } from "./deferred.ts"
import type { LockRange } from "./lock-range.ts"

/** The node id of the mounted directory. It is never looked up and never forgotten. */
export const ROOT_ID = 1

export interface FileSystem {
  /**
   * The entry of that name. Undefined when there is none, which the kernel will remember (throw ENOENT to have it ask
   * again). Each entry returned, here or by `create`, counts as one reference of the kernel to the node; `forget` gives
   * it back.
   */
  lookup(parentId: number, name: string): Entry | undefined
  /** The kernel drops `count` of its references to the node. */
  forget(nodeId: number, count: number): void

  getAttributes(nodeId: number, into: Attributes): void
  /** When a `Deferred` is done, the server asks for the attributes by `getAttributes`. */
  setAttributes(
    nodeId: number,
    change: AttributeChange,
    into: Attributes,
    caller: Caller,
  ): Deferred | undefined

  /** `flags` are those of open(2), without O_TRUNC, which comes as a `setAttributes` before. */
  open(nodeId: number, flags: number, caller: Caller, opened: Opened): Deferred | undefined
  /**
   * `mode` includes S_IFREG and has the caller's umask applied. The file may already exist if it was not made through
   * the mount: ESTALE then makes the kernel look it up, check and open it.
   */
  create(
    parentId: number,
    name: string,
    flags: number,
    mode: number,
    caller: Caller,
    opened: Opened,
  ): Entry
  /** Puts `size` bytes at the start of `into`, fewer only at the end of the file. Returns how many. */
  read(nodeId: number, handle: number, offset: number, size: number, into: Region): number
  /**
   * Writes the first `size` bytes of `from`, and returns how many it wrote. A `Deferred` that is done has written all
   * of them; `from` is gone by then. `isMapped`: a program has stored them into a mapping of the file, and the kernel
   * does not say which one.
   */
  write(
    nodeId: number,
    handle: number,
    offset: number,
    size: number,
    from: Region,
    caller: Caller,
    isMapped: boolean,
  ): number | Deferred
  /** fallocate(2) without a mode, or with FALLOC_FL_KEEP_SIZE: reserves room for these bytes on the disk. */
  allocate(nodeId: number, handle: number, offset: number, size: number, keepsSize: boolean): void
  /** A descriptor was closed; others of the handle may remain. close(2) returns the error. */
  flush(nodeId: number, handle: number, owner: LockOwner, caller: Caller): Deferred | undefined
  /** The last descriptor is gone. `flockOwner` is given when flock(2) was ever called on it. */
  release(nodeId: number, handle: number, flockOwner: LockOwner | undefined): void
  sync(nodeId: number, handle: number, dataOnly: boolean, caller: Caller): Deferred | undefined
  /** flock(2). Without `wait`, a lock that others hold is EWOULDBLOCK (EAGAIN). */
  flock(
    nodeId: number,
    handle: number,
    owner: LockOwner,
    kind: FlockKind,
    wait: boolean,
  ): Deferred | undefined
  /**
   * fcntl(2), F_GETLK: the first lock that conflicts with the requested one. Like `setLock` called only when INIT has
   * agreed that these locks are requests (`posixLocks`).
   */
  getLock(nodeId: number, request: PosixLockRequest): PosixLock | undefined
  /**
   * fcntl(2), F_SETLK and with `wait` F_SETLKW: EAGAIN or a wait when others hold a lock. `flush` ends the locks of an
   * owner, `release` those made through a handle.
   */
  setLock(
    nodeId: number,
    request: PosixLockRequest,
    wait: boolean,
    caller: Caller,
  ): Deferred | undefined

  unlink(parentId: number, name: string, caller: Caller): Deferred | undefined
  /** `flags` are those of renameat2(2): RENAME_NOREPLACE, RENAME_EXCHANGE. */
  rename(
    parentId: number,
    name: string,
    newParentId: number,
    newName: string,
    flags: number,
    caller: Caller,
  ): void
  /** EPERM is the answer to a request for something that no file system here has, a directory or a link. */
  refused?(what: string, name: string, caller: Caller): void
  /** All entries, without "." and "..", in any order. */
  list(nodeId: number): Iterable<DirectoryEntry>
  syncDirectory(nodeId: number): void
  statfs(into: Statfs): void
}

/** A name that was found. */
export interface Entry {
  nodeId: number
  generation: number // tells apart two nodes that had the same id in succession
  attributes: Attributes
  entryTimeout: number // seconds for which the kernel may believe that the name means this node
}

export interface Attributes {
  nodeId: number // st_ino
  size: number
  blocks: number // of 512 bytes
  mode: number // type and permissions
  nlink: number
  uid: number
  gid: number
  mtimeMs: number
  atimeMs: number
  ctimeMs: number
  blockSize: number // preferred for I/O; st_blksize
  timeout: number // seconds for which the kernel may believe all this, without asking again
}

/** What to change; undefined fields stay. A change of times is granted and ignored. */
export interface AttributeChange {
  size: number | undefined
  /** The open file it is made through: ftruncate(2), but not truncate(2) and open(2) with O_TRUNC. */
  handle: number | undefined
  mode: number | undefined
  uid: number | undefined
  gid: number | undefined
}

/** Who asks. `pid` is 0 when the process is in a pid namespace that the kernel cannot map to ours. */
export interface Caller {
  pid: number
  uid: number
  gid: number
}

/** The kernel's view of a newly opened file. */
export interface Opened {
  handle: number // comes back in every request on the open file
  flags: number // FOPEN_*
  backingId: number // with FOPEN_PASSTHROUGH: what FUSE_DEV_IOC_BACKING_OPEN returned
}

export interface DirectoryEntry {
  name: string
  nodeId: number // d_ino
  kind: "file" | "directory"
}

export interface Statfs {
  blocks: number // of `blockSize`, as are the next two
  blocksFree: number
  blocksAvailable: number // to users other than root
  files: number
  filesFree: number
  blockSize: number
  nameLengthMax: number // bytes
}

/** The kernel's name for a holder of locks: 64 opaque bits, reused once the holder is gone. */
export type LockOwner = bigint

export type FlockKind = "shared" | "exclusive" | "unlock"

/** A lock of fcntl(2) that somebody asks for, or gives up. */
export interface PosixLockRequest extends LockRange {
  readonly owner: LockOwner // a process or, for F_OFD_*, an open file
  readonly kind: FlockKind
  readonly handle: number // the handle it is made through
  readonly pid: number // of the process, for F_GETLK of others
}

/** A held lock. */
export interface PosixLock extends PosixLockRequest {
  readonly kind: Exclude<FlockKind, "unlock">
}
