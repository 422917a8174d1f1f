/** Directories by path. As in `file.ts`, every call has a name in fault tests, and throws SysError when it fails. */
import { type Dirent, readdir, readdirSync } from "node:fs"
import { checkFault, systemCall } from "./call.ts"
import { Errno, SysError } from "./errno.ts"
import { closing, O_RDONLY, openSpecial, syncFile } from "./file.ts"
import { libc } from "./libc.ts"
import { ownerRemark, pathAddress } from "./path.ts"
import { trace } from "./trace.ts"

/** False when it existed already. Like files, it is for nobody else. */
export function makeDirectory(op: string, path: string, mode = 0o700): boolean {
  const call = () => libc.mkdir(pathAddress(path), mode)
  if (systemCall(op, () => `make directory "${path}"`, call, Errno.EEXIST) !== 0) return false
  trace?.append({ type: "mkdir", path })
  return true
}

/** The directory must be empty. */
export function removeDirectory(op: string, path: string): void {
  systemCall(
    op,
    () => `remove directory "${path}"`,
    () => libc.rmdir(pathAddress(path)),
  )
  trace?.append({ type: "unlink", path })
}

/** Names in a directory, in no order. */
export function listDirectory(op: string, path: string): Dirent[] {
  checkFault(op, () => `list directory "${path}"`)
  try {
    return readdirSync(path, { withFileTypes: true })
  } catch (error) {
    throw listProblem(op, path, error)
  }
}

/** Names in a directory, in no order, for a thread that must not wait for the disk. */
export async function listNames(op: string, path: string): Promise<string[]> {
  checkFault(op, () => `list directory "${path}"`)
  const { promise, resolve, reject } = Promise.withResolvers<string[]>()
  readdir(path, (error, names) =>
    error === null ? resolve(names) : reject(listProblem(op, path, error)),
  )
  return await promise
}

function listProblem(op: string, path: string, error: unknown): unknown {
  const { errno } = error as NodeJS.ErrnoException
  if (errno === undefined) return error
  const number = Math.abs(errno)
  return new SysError(number, op, `list directory "${path}"`, ownerRemark(path, number))
}

/** The names made and removed in the directory so far are durable when this returns. */
export function syncDirectory(op: string, path: string): void {
  using directory = closing(openSpecial(op, path, O_RDONLY))
  const start = trace?.position ?? 0
  syncFile(op, directory.fd)
  trace?.append({ type: "sync-directory", path, start })
}
