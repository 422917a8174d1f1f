import { describe, expect, test } from "bun:test"
import type { AttributeChange } from "../../src/fuse/filesystem.ts"
import { Fattr } from "../../src/fuse/flags.ts"
import * as replies from "../../src/fuse/replies.ts"
import * as requests from "../../src/fuse/requests.ts"
import { attributes, entry } from "../support/fake-filesystem.ts"
import { fieldsOf } from "../support/fake-kernel.ts"

// offsetof() of every field, by a C compiler from <linux/fuse.h>, under our names: not from our own
// code.
const ATTR =
  "ino@{0} size@{8} blocks@{16} atime@{24} mtime@{32} ctime@{40} atimeNs@{48} mtimeNs@{52} " +
  "ctimeNs@{56} mode@{60} nlink@{64} uid@{68} gid@{72} rdev@{76} blockSize@{80} flags@{84}"
const attrAt = (start: number) => ATTR.replace(/\{(\d+)\}/g, (_, at) => `${start + Number(at)}`)

type Layout = { size: number; offsets: Readonly<Record<string, number>> }

test.each<[string, Layout, number, string]>([
  [
    "fuse_in_header",
    requests.InHeader,
    40,
    "len@0 opcode@4 unique@8 nodeId@16 uid@24 gid@28 pid@32 extensionLength@36 padding@38",
  ],
  ["fuse_out_header", replies.OutHeader, 16, "len@0 error@4 unique@8"],
  ["fuse_attr", replies.Attr, 88, attrAt(0)],
  [
    "fuse_entry_out",
    replies.EntryOut,
    128,
    `nodeId@0 generation@8 entryTimeout@16 attributeTimeout@24 entryTimeoutNs@32 attributeTimeoutNs@36 ${attrAt(40)}`,
  ],
  ["fuse_attr_out", replies.AttrOut, 104, `timeout@0 timeoutNs@8 dummy@12 ${attrAt(16)}`],
  ["fuse_getattr_in", requests.GetattrIn, 16, "flags@0 dummy@4 handle@8"],
  [
    "fuse_setattr_in",
    requests.SetattrIn,
    88,
    "valid@0 padding@4 handle@8 size@16 owner@24 atime@32 mtime@40 ctime@48 atimeNs@56 mtimeNs@60 " +
      "ctimeNs@64 mode@68 unused4@72 uid@76 gid@80 unused5@84",
  ],
  ["fuse_open_in", requests.OpenIn, 8, "flags@0 openFlags@4"],
  ["fuse_create_in", requests.CreateIn, 16, "flags@0 mode@4 umask@8 openFlags@12"],
  ["fuse_open_out", replies.OpenOut, 16, "handle@0 openFlags@8 backingId@12"],
  ["fuse_release_in", requests.ReleaseIn, 24, "handle@0 flags@8 releaseFlags@12 owner@16"],
  ["fuse_flush_in", requests.FlushIn, 24, "handle@0 unused@8 owner@16"],
  [
    "fuse_read_in",
    requests.ReadIn,
    40,
    "handle@0 offset@8 size@16 readFlags@20 owner@24 flags@32 padding@36",
  ],
  [
    "fuse_write_in",
    requests.WriteIn,
    40,
    "handle@0 offset@8 size@16 writeFlags@20 owner@24 flags@32 padding@36",
  ],
  ["fuse_write_out", replies.WriteOut, 8, "size@0 padding@4"],
  ["fuse_fsync_in", requests.FsyncIn, 16, "handle@0 flags@8 padding@12"],
  [
    "fuse_lk_in",
    requests.LkIn,
    48,
    "handle@0 owner@8 start@16 end@24 type@32 pid@36 flags@40 padding@44",
  ],
  ["fuse_lk_out", replies.LkOut, 24, "start@0 end@8 type@16 pid@20"],
  [
    "fuse_init_in",
    requests.InitIn,
    64,
    "major@0 minor@4 maxReadahead@8 flags@12 flags2@16 unused@20",
  ],
  [
    "fuse_init_out",
    replies.InitOut,
    64,
    "major@0 minor@4 maxReadahead@8 flags@12 maxBackground@16 congestionThreshold@18 maxWrite@20 " +
      "timeGranularity@24 maxPages@28 mapAlignment@30 flags2@32 maxStackDepth@36 requestTimeout@40 unused@42",
  ],
  ["fuse_interrupt_in", requests.InterruptIn, 8, "unique@0"],
  ["fuse_forget_in", requests.ForgetIn, 8, "count@0"],
  ["fuse_forget_one", requests.ForgetOne, 16, "nodeId@0 count@8"],
  ["fuse_batch_forget_in", requests.BatchForgetIn, 8, "count@0 dummy@4"],
  ["fuse_rename_in", requests.RenameIn, 8, "newParentId@0"],
  ["fuse_rename2_in", requests.Rename2In, 16, "newParentId@0 flags@8 padding@12"],
  [
    "fuse_kstatfs",
    replies.StatfsOut,
    80,
    "blocks@0 blocksFree@8 blocksAvailable@16 files@24 filesFree@32 blockSize@40 nameLengthMax@44 " +
      "fragmentSize@48 padding@52 spare@56",
  ],
  ["fuse_dirent", replies.Dirent, 24, "ino@0 offset@8 nameLength@16 type@20"],
  ["fuse_notify_inval_inode_out", replies.NotifyInvalInode, 24, "nodeId@0 offset@8 length@16"],
  ["fuse_notify_inval_entry_out", replies.NotifyInvalEntry, 16, "parentId@0 nameLength@8 flags@12"],
  ["fuse_fallocate_in", requests.FallocateIn, 32, "handle@0 offset@8 length@16 mode@24 padding@28"],
])("%s is laid out as in C", (_name, record, size, offsets) => {
  const ours = Object.entries(record.offsets).map(([name, offset]) => `${name}@${offset}`)
  expect(ours.join(" ")).toBe(offsets)
  expect(record.size).toBe(size)
})

describe("readChange()", () => {
  const read = (fields: Partial<Record<string, number>>) => {
    const view = requests.SetattrIn.view(new Uint8Array(requests.SetattrIn.size))
    Object.assign(view, fields)
    const change = {} as AttributeChange
    requests.readChange(view, change)
    return change
  }
  const values = { handle: 3, size: 4096, mode: 0o600, uid: 7, gid: 8 }
  const nothing = {
    size: undefined,
    handle: undefined,
    mode: undefined,
    uid: undefined,
    gid: undefined,
  }

  test("takes the fields that are valid", () => {
    const all = Fattr.SIZE | Fattr.FH | Fattr.MODE | Fattr.UID | Fattr.GID
    expect(read({ ...values, valid: all })).toEqual(values)
    expect(read({ ...values, valid: Fattr.SIZE })).toEqual({ ...nothing, size: 4096 })
  })

  test("leaves out what is not valid, and times", () => {
    const times = Fattr.ATIME | Fattr.MTIME_NOW | Fattr.CTIME
    expect(read({ ...values, valid: times })).toEqual(nothing)
  })
})

test("writeAttributes() splits times into seconds and nanoseconds, also before 1970", () => {
  const bytes = new Uint8Array(replies.AttrOut.size)
  replies.writeAttributes(replies.AttrOut.view(bytes), attributes({ timeout: 0.25 }))
  const fields = fieldsOf(replies.AttrOut, bytes)
  expect(fields).toMatchObject({ timeout: 0, timeoutNs: 250_000_000, ino: 5, size: 4096 })
  expect(fields).toMatchObject({ mtime: 1_700_000_000, mtimeNs: 250_000_000, atime: 0, atimeNs: 0 })
  expect(fields).toMatchObject({ ctimeNs: 500_000_000, uid: 1000, gid: 1001, rdev: 0, flags: 0 })
  expect(new DataView(bytes.buffer).getBigInt64(16 + 40, true)).toBe(-1n) // ctime
})

test("writeEntry() tells the timeouts of name and attributes apart", () => {
  const bytes = new Uint8Array(replies.EntryOut.size)
  replies.writeEntry(replies.EntryOut.view(bytes), entry())
  expect(fieldsOf(replies.EntryOut, bytes)).toMatchObject({
    nodeId: 5,
    generation: 2,
    entryTimeout: 1,
    entryTimeoutNs: 500_000_000,
    attributeTimeout: 60,
    attributeTimeoutNs: 0,
    mode: 0o100644,
  })
})

test("writeNegativeEntry() leaves nothing of an earlier entry", () => {
  const bytes = new Uint8Array(replies.EntryOut.size).fill(0xff)
  replies.writeNegativeEntry(replies.EntryOut.view(bytes), 10)
  expect(bytes.filter((byte) => byte !== 0)).toEqual(new Uint8Array([10]))
})
