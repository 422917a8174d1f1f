/** Directories by path. As in `file.ts`, every call has a name in fault tests, and throws SysError when it fails. */
import { type Dirent, readdir, readdirSync } from "node:fs"
import { Errno, SysError } from "./errno.ts"
import { faults } from "./faults.ts"
import { closeFile, O_RDONLY, openFile, syncFile } from "./file.ts"
import { errno, libc } from "./libc.ts"
import { pathAddress } from "./path.ts"
import { trace } from "./trace.ts"

/** False when it existed already. Like files, it is for nobody else. */
export function makeDirectory(op: string, path: string, mode = 0o700): boolean {
  const fault = faults?.check(op) ?? 0
  if (fault !== 0) throw new SysError(fault, op, `make directory "${path}"`)
  const error = libc.mkdir(pathAddress(path), mode) < 0 ? errno() : 0
  if (error !== 0 && error !== Errno.EEXIST) {
    throw new SysError(error, op, `make directory "${path}"`)
  }
  if (error === 0) trace?.append({ type: "mkdir", path })
  return error === 0
}

/** The directory must be empty. */
export function removeDirectory(op: string, path: string): void {
  const fault = faults?.check(op) ?? 0
  if (fault !== 0) throw new SysError(fault, op, `remove directory "${path}"`)
  const error = libc.rmdir(pathAddress(path)) < 0 ? errno() : 0
  if (error !== 0) throw new SysError(error, op, `remove directory "${path}"`)
  trace?.append({ type: "unlink", path })
}

/** Names in a directory, in no order. */
export function listDirectory(op: string, path: string): Dirent[] {
  const fault = faults?.check(op) ?? 0
  if (fault !== 0) throw new SysError(fault, op, `list directory "${path}"`)
  return readdirSync(path, { withFileTypes: true })
}

/** Names in a directory, in no order, for a thread that must not wait for the disk. */
export function listNames(op: string, path: string): Promise<string[]> {
  const doing = `list directory "${path}"`
  const { promise, resolve, reject } = Promise.withResolvers<string[]>()
  const fault = faults?.check(op) ?? 0
  if (fault !== 0) reject(new SysError(fault, op, doing))
  else {
    readdir(path, (error, names) => {
      if (error === null) resolve(names)
      else reject(error)
    })
  }
  return promise
}

/** The names made and removed in the directory so far are durable when this returns. */
export function syncDirectory(op: string, path: string): void {
  const fd = openFile(op, path, O_RDONLY)
  const start = trace?.position ?? 0
  try {
    syncFile(op, fd)
  } finally {
    closeFile(fd)
  }
  trace?.append({ type: "sync-directory", path, start })
}
