import { Errno, SysError } from "./errno.ts"
import { faults } from "./faults.ts"
import { errno, libc } from "./libc.ts"
import { allocate } from "./memory.ts"
import { pathAddress } from "./path.ts"

const AT_FDCWD = -100
const AT_STATX_DONT_SYNC = 0x4000
const STATX_INO = 0x100
const INODE_WORD = 8 // of struct statx: ino@32

const buffer = allocate(4096)
const words = new Uint32Array(buffer.bytes.buffer, buffer.bytes.byteOffset, 64)

/**
 * The inode of the file that the path names, as the kernel knows it; undefined when there is none. In a FUSE mount it
 * costs no request while the kernel knows the name.
 */
export function inodeAt(op: string, path: string): number | undefined {
  const fault = faults?.check(op) ?? 0
  if (fault !== 0) throw new SysError(fault, op, `look for "${path}"`)
  const address = pathAddress(path)
  const failed = libc.statx(AT_FDCWD, address, AT_STATX_DONT_SYNC, STATX_INO, buffer.address) < 0
  const error = failed ? errno() : 0
  if (error === Errno.ENOENT) return undefined
  if (error !== 0) throw new SysError(error, op, `look for "${path}"`)
  return (words[INODE_WORD] as number) + (words[INODE_WORD + 1] as number) * 4294967296
}
