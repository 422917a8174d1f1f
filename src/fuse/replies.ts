/**
 * The records of replies and notifications, as include/uapi/linux/fuse.h lays them out. A reply is a fuse_out_header
 * and then, unless it is an error, exactly the record that the kernel expects: a size that is off by one byte fails the
 * request with EIO.
 */
import { assert } from "../lib/assert.ts"
import { i32, i64, pad, pair64, struct, u16, u32, u64, type ViewOf } from "../lib/struct.ts"
import type { Attributes, Entry, Opened, PosixLock, Statfs } from "./filesystem.ts"
import { LockType } from "./flags.ts"

/** Begins every reply. An error has nothing else. */
export const OutHeader = struct({
  len: u32, // of the whole reply, this header included
  error: i32, // 0 or -errno; in a notification (unique 0) its NotifyCode
  unique: pair64, // of the request
})
assert(OutHeader.size === 16, "fuse_out_header is 16 bytes")

export const Attr = struct({
  ino: u64,
  size: u64,
  blocks: u64, // of 512 bytes
  atime: u64, // seconds, as are the next two
  mtime: u64,
  ctime: u64,
  atimeNs: u32,
  mtimeNs: u32,
  ctimeNs: u32,
  mode: u32,
  nlink: u32,
  uid: u32,
  gid: u32,
  rdev: u32,
  blockSize: u32,
  flags: u32, // FUSE_ATTR_SUBMOUNT, FUSE_ATTR_DAX
})
assert(Attr.size === 88, "fuse_attr is 88 bytes")

/** Fills a fuse_attr, or a record that ends with one. */
function writeAttr(attr: Omit<ViewOf<typeof Attr>, "at" | "clear">, from: Attributes): void {
  const atime = Math.floor(from.atimeMs / 1000)
  const mtime = Math.floor(from.mtimeMs / 1000)
  const ctime = Math.floor(from.ctimeMs / 1000)
  attr.ino = from.nodeId
  attr.size = from.size
  attr.blocks = from.blocks
  attr.atime = atime
  attr.mtime = mtime
  attr.ctime = ctime
  attr.atimeNs = (from.atimeMs - atime * 1000) * 1e6
  attr.mtimeNs = (from.mtimeMs - mtime * 1000) * 1e6
  attr.ctimeNs = (from.ctimeMs - ctime * 1000) * 1e6
  attr.mode = from.mode
  attr.nlink = from.nlink
  attr.uid = from.uid
  attr.gid = from.gid
  attr.rdev = 0
  attr.blockSize = from.blockSize
  attr.flags = 0
}

/** GETATTR, SETATTR. */
export const AttrOut = struct({
  timeout: u64, // seconds
  timeoutNs: u32,
  dummy: pad(4),
  ...Attr.fields,
})
assert(AttrOut.size === 104, "fuse_attr_out is 104 bytes")

export function writeAttributes(out: ViewOf<typeof AttrOut>, from: Attributes): void {
  out.timeout = from.timeout
  out.timeoutNs = nanosecondsOf(from.timeout)
  writeAttr(out, from)
}

/** LOOKUP, and the first part of CREATE. */
export const EntryOut = struct({
  nodeId: u64, // 0: there is no such name, and the kernel may remember that
  generation: u64,
  entryTimeout: u64, // seconds
  attributeTimeout: u64, // seconds
  entryTimeoutNs: u32,
  attributeTimeoutNs: u32,
  ...Attr.fields,
})
assert(EntryOut.size === 128, "fuse_entry_out is 128 bytes")

/** "No such name", which the kernel may believe for `timeout` seconds. */
export function writeNegativeEntry(out: ViewOf<typeof EntryOut>, timeout: number): void {
  out.clear()
  out.entryTimeout = timeout
  out.entryTimeoutNs = nanosecondsOf(timeout)
}

export function writeEntry(out: ViewOf<typeof EntryOut>, entry: Entry): void {
  out.nodeId = entry.nodeId
  out.generation = entry.generation
  out.entryTimeout = entry.entryTimeout
  out.attributeTimeout = entry.attributes.timeout
  out.entryTimeoutNs = nanosecondsOf(entry.entryTimeout)
  out.attributeTimeoutNs = nanosecondsOf(entry.attributes.timeout)
  writeAttr(out, entry.attributes)
}

/** The fraction of a number of seconds, in nanoseconds. */
function nanosecondsOf(seconds: number): number {
  return (seconds % 1) * 1e9
}

/** OPEN, and the second part of CREATE. */
export const OpenOut = struct({
  handle: u64,
  openFlags: u32, // Fopen
  backingId: i32, // with FOPEN_PASSTHROUGH
})
assert(OpenOut.size === 16, "fuse_open_out is 16 bytes")
assert(OpenOut.offsets.backingId === 12, "fuse_open_out.backing_id is at 12")

export function writeOpened(out: ViewOf<typeof OpenOut>, opened: Opened): void {
  out.handle = opened.handle
  out.openFlags = opened.flags
  out.backingId = opened.backingId
}

export const WriteOut = struct({
  size: u32,
  padding: u32,
})
assert(WriteOut.size === 8, "fuse_write_out is 8 bytes")

/** GETLK. */
export const LkOut = struct({
  start: pair64, // bytes; both ends included
  end: pair64,
  type: u32, // LockType; UNLCK: no conflict, and the rest means nothing
  pid: u32,
})
assert(LkOut.size === 24, "fuse_lk_out is 24 bytes")

export function writeLock(out: ViewOf<typeof LkOut>, lock: PosixLock | undefined): void {
  out.clear()
  out.type = LockType.UNLCK
  if (lock === undefined) return
  out.startLo = Number(lock.start & 0xffffffffn)
  out.startHi = Number(lock.start >> 32n)
  out.endLo = Number(lock.end & 0xffffffffn)
  out.endHi = Number(lock.end >> 32n)
  out.type = lock.kind === "shared" ? LockType.RDLCK : LockType.WRLCK
  out.pid = lock.pid
}

export const StatfsOut = struct({
  blocks: u64,
  blocksFree: u64,
  blocksAvailable: u64,
  files: u64,
  filesFree: u64,
  blockSize: u32,
  nameLengthMax: u32,
  fragmentSize: u32, // the unit of the counts above
  padding: pad(4),
  spare: pad(24),
})
assert(StatfsOut.size === 80, "fuse_kstatfs is 80 bytes")

export function writeStatfs(out: ViewOf<typeof StatfsOut>, from: Statfs): void {
  out.clear()
  out.blocks = from.blocks
  out.blocksFree = from.blocksFree
  out.blocksAvailable = from.blocksAvailable
  out.files = from.files
  out.filesFree = from.filesFree
  out.blockSize = from.blockSize
  out.nameLengthMax = from.nameLengthMax
  out.fragmentSize = from.blockSize
}

/** An entry of READDIR: followed by the name, without a NUL, and zeros up to a multiple of 8. */
export const Dirent = struct({
  ino: u64,
  offset: u64, // where the next READDIR continues
  nameLength: u32,
  type: u32, // DirentType
})
assert(Dirent.size === 24, "fuse_dirent is 24 bytes before its name")

export const InitOut = struct({
  major: u32,
  minor: u32,
  maxReadahead: u32,
  flags: u32, // InitFlag: those of the request's that we want
  maxBackground: u16, // READs ahead and RELEASEs that may wait at once
  congestionThreshold: u16,
  maxWrite: u32,
  timeGranularity: u32, // ns
  maxPages: u16, // of a request; valid with MAX_PAGES
  mapAlignment: u16,
  flags2: u32, // InitFlag2; valid with INIT_EXT
  maxStackDepth: u32, // valid with PASSTHROUGH; 1: the files behind are on no stacked file system
  requestTimeout: u16, // s
  unused: pad(22),
})
assert(InitOut.size === 64, "fuse_init_out is 64 bytes")
assert(InitOut.offsets.maxStackDepth === 36, "fuse_init_out.max_stack_depth is at 36")

export const NotifyInvalInode = struct({
  nodeId: u64,
  offset: i64, // negative: only the attributes
  length: i64, // 0 or less: to the end of the file
})
assert(NotifyInvalInode.size === 24, "fuse_notify_inval_inode_out is 24 bytes")

/** Followed by the name and a NUL. */
export const NotifyInvalEntry = struct({
  parentId: u64,
  nameLength: u32,
  flags: u32, // none: the name goes at once
})
assert(NotifyInvalEntry.size === 16, "fuse_notify_inval_entry_out is 16 bytes")
