/**
 * Who may do what with a file: owner, group and permissions, as in chmod(2) and chown(2).
 *
 * A process that is not root can give its files to nobody. Their permissions, which clients of the mount choose, may
 * keep it from its own files; openOwnFile() opens them all the same.
 */
import { systemCall } from "./call.ts"
import { Errno, SysError } from "./errno.ts"
import { type Fd, openFile, statusAt } from "./file.ts"
import { emptyStatus, statusOf } from "./file-status.ts"
import { libc } from "./libc.ts"
import { nameOf, pathAddress } from "./path.ts"
import { userId } from "./thread.ts"

export interface FileAccess {
  readonly uid: number
  readonly gid: number
  readonly mode: number // the twelve bits of chmod(2)
}

export const MODE_BITS = 0o7777
const OWNER_READS_AND_WRITES = 0o600

/** chown(2): leaves this one as it is. */
export const UNCHANGED = 0xffffffff

export function setMode(op: string, fd: Fd, mode: number): void {
  const doing = () => `change the mode of ${nameOf(fd)}`
  systemCall(op, doing, () => libc.fchmod(fd, mode & MODE_BITS))
}

export function setOwner(op: string, fd: Fd, uid: number, gid: number): void {
  const doing = () => `change the owner of ${nameOf(fd)}`
  systemCall(op, doing, () => libc.fchown(fd, uid, gid))
}

/** Gives the access as far as this process may: an owner that it cannot set stays, and the group is tried by itself. */
export function giveAccess(op: string, fd: Fd, { uid, gid, mode }: FileAccess): void {
  // In this order: a change of the owner clears bits of the mode.
  if (!mayOwn(op, fd, uid, gid)) mayOwn(op, fd, UNCHANGED, gid)
  setMode(op, fd, mode)
}

function mayOwn(op: string, fd: Fd, uid: number, gid: number): boolean {
  try {
    setOwner(op, fd, uid, gid)
    return true
  } catch (error) {
    // EINVAL: the user namespace of this process does not have the owner.
    if (hasErrno(error, Errno.EPERM) || hasErrno(error, Errno.EINVAL)) return false
    throw error
  }
}

export function accessOf(op: string, fd: Fd): FileAccess {
  statusOf(op, fd, status)
  return { uid: status.uid, gid: status.gid, mode: status.mode & MODE_BITS }
}

/** Undefined when there is no such file. */
export function accessAt(op: string, path: string): FileAccess | undefined {
  const found = statusAt(op, path)
  return found && { uid: found.uid, gid: found.gid, mode: found.mode & MODE_BITS }
}

const status = emptyStatus()

/** openFile() for a file of ours whose owner may have lost the right to it. The mode stays as it is. */
export function openOwnFile(op: string, path: string, flags: number): Fd {
  try {
    return openFile(op, path, flags)
  } catch (error) {
    if (!hasErrno(error, Errno.EACCES)) throw error
    const access = accessAt(op, path)
    if (access === undefined || access.uid !== userId()) throw error
    const { mode } = access
    if (libc.chmod(pathAddress(path), mode | OWNER_READS_AND_WRITES) < 0) throw error
    try {
      return openFile(op, path, flags)
    } finally {
      libc.chmod(pathAddress(path), mode)
    }
  }
}

export function openOwnIfExists(op: string, path: string, flags: number): Fd | undefined {
  try {
    return openOwnFile(op, path, flags)
  } catch (error) {
    if (hasErrno(error, Errno.ENOENT)) return undefined
    throw error
  }
}

function hasErrno(error: unknown, errno: number): boolean {
  return error instanceof SysError && error.errno === errno
}
