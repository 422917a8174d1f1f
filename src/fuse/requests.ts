/**
 * The records of requests, as include/uapi/linux/fuse.h lays them out. A request is a
 * fuse_in_header, the record of its opcode, and then names (each ended by a NUL) or data.
 *
 * Ids that we hand out (nodes, handles), offsets and sizes are plain numbers. `unique` and lock owners are the
 * kernel's: they are opaque, and use all 64 bits.
 */
import { assert } from "../lib/assert.ts"
import { pad, pair64, struct, u16, u32, u64, type ViewOf } from "../lib/struct.ts"
import type { AttributeChange } from "./filesystem.ts"
import { Fattr } from "./flags.ts"

/** Comes first in every request. */
export const InHeader = struct({
  len: u32, // of the whole request, this header included
  opcode: u32,
  unique: pair64, // echoed in the reply
  nodeId: u64, // the subject of the request; the directory, when there is a name
  uid: u32,
  gid: u32,
  pid: u32, // 0 when our pid namespace does not have the process
  extensionLength: u16, // in units of 8 bytes; none without SECURITY_CTX and CREATE_SUPP_GROUP
  padding: pad(2),
})
assert(InHeader.size === 40, "fuse_in_header is 40 bytes")

export const InitIn = struct({
  major: u32,
  minor: u32,
  maxReadahead: u32, // bytes
  flags: u32, // InitFlag
  flags2: u32, // InitFlag2; valid with INIT_EXT
  unused: pad(44),
})
assert(InitIn.size === 64, "fuse_init_in is 64 bytes")

/** Bytes of fuse_init_in before protocol 7.36. Its fields have kept their places. */
export const INIT_IN_SIZE_MIN = InitIn.offsets.flags2

export const ForgetIn = struct({
  count: u64, // references given back: nlookup
})
assert(ForgetIn.size === 8, "fuse_forget_in is 8 bytes")

/** Followed by `count` ForgetOne. */
export const BatchForgetIn = struct({
  count: u32,
  dummy: pad(4),
})
assert(BatchForgetIn.size === 8, "fuse_batch_forget_in is 8 bytes")

export const ForgetOne = struct({
  nodeId: u64,
  count: u64, // references given back: nlookup
})
assert(ForgetOne.size === 16, "fuse_forget_one is 16 bytes")

export const GetattrIn = struct({
  flags: u32, // FUSE_GETATTR_…
  dummy: pad(4),
  handle: u64, // valid with FH
})
assert(GetattrIn.size === 16, "fuse_getattr_in is 16 bytes")

export const SetattrIn = struct({
  valid: u32, // Fattr: which of the fields below to apply
  padding: pad(4),
  handle: u64,
  size: u64,
  owner: pair64,
  atime: u64, // seconds, as are the next two
  mtime: u64,
  ctime: u64,
  atimeNs: u32,
  mtimeNs: u32,
  ctimeNs: u32,
  mode: u32,
  unused4: pad(4),
  uid: u32,
  gid: u32,
  unused5: pad(4),
})
assert(SetattrIn.size === 88, "fuse_setattr_in is 88 bytes")

/** The fields of a SETATTR that are valid; the others become undefined. */
export function readChange(request: ViewOf<typeof SetattrIn>, into: AttributeChange): void {
  const valid = request.valid
  into.size = (valid & Fattr.SIZE) !== 0 ? request.size : undefined
  into.handle = (valid & Fattr.FH) !== 0 ? request.handle : undefined
  into.mode = (valid & Fattr.MODE) !== 0 ? request.mode : undefined
  into.uid = (valid & Fattr.UID) !== 0 ? request.uid : undefined
  into.gid = (valid & Fattr.GID) !== 0 ? request.gid : undefined
}

/** Also of OPENDIR. */
export const OpenIn = struct({
  flags: u32, // OpenFlag
  openFlags: u32, // FUSE_OPEN_KILL_SUIDGID, with HANDLE_KILLPRIV_V2
})
assert(OpenIn.size === 8, "fuse_open_in is 8 bytes")

export const CreateIn = struct({
  flags: u32, // OpenFlag
  mode: u32, // with the umask applied
  umask: u32,
  openFlags: u32,
})
assert(CreateIn.size === 16, "fuse_create_in is 16 bytes")

/** Also of RELEASEDIR. */
export const ReleaseIn = struct({
  handle: u64,
  flags: u32, // OpenFlag
  releaseFlags: u32, // ReleaseFlag
  owner: pair64, // valid with FLOCK_UNLOCK
})
assert(ReleaseIn.size === 24, "fuse_release_in is 24 bytes")

export const FlushIn = struct({
  handle: u64,
  unused: pad(8),
  owner: pair64,
})
assert(FlushIn.size === 24, "fuse_flush_in is 24 bytes")

/** Also of READDIR. */
export const ReadIn = struct({
  handle: u64,
  offset: u64,
  size: u32,
  readFlags: u32, // FUSE_READ_…
  owner: pair64, // valid with LOCKOWNER
  flags: u32, // OpenFlag
  padding: pad(4),
})
assert(ReadIn.size === 40, "fuse_read_in is 40 bytes")

/** Followed by `size` bytes. */
export const WriteIn = struct({
  handle: u64,
  offset: u64,
  size: u32,
  writeFlags: u32, // WriteFlag
  owner: pair64, // valid with LOCKOWNER
  flags: u32, // OpenFlag
  padding: pad(4),
})
assert(WriteIn.size === 40, "fuse_write_in is 40 bytes")

/** Also of FSYNCDIR. */
export const FsyncIn = struct({
  handle: u64,
  flags: u32, // FsyncFlag
  padding: pad(4),
})
assert(FsyncIn.size === 16, "fuse_fsync_in is 16 bytes")

/** GETLK, SETLK, SETLKW. */
export const LkIn = struct({
  handle: u64,
  owner: pair64,
  start: pair64, // bytes; both ends included
  end: pair64, // 2^63 - 1 for "to the end of the file"
  type: u32, // LockType
  pid: u32,
  flags: u32, // LkFlag
  padding: pad(4),
})
assert(LkIn.size === 48, "fuse_lk_in is 48 bytes")

export const InterruptIn = struct({
  unique: pair64, // of the request that is no longer wanted
})
assert(InterruptIn.size === 8, "fuse_interrupt_in is 8 bytes")

/** Followed by the old and the new name. */
export const RenameIn = struct({
  newParentId: u64,
})
assert(RenameIn.size === 8, "fuse_rename_in is 8 bytes")

/** Followed by the old and the new name. */
export const Rename2In = struct({
  newParentId: u64,
  flags: u32, // RenameFlag
  padding: pad(4),
})
assert(Rename2In.size === 16, "fuse_rename2_in is 16 bytes")

export const FallocateIn = struct({
  handle: u64,
  offset: u64,
  length: u64,
  mode: u32, // of fallocate(2)
  padding: pad(4),
})
assert(FallocateIn.size === 32, "fuse_fallocate_in is 32 bytes")
