/**
 * A file for a thread that writes it and must not wait for the disk. As in `file.ts`, every call has a name in fault
 * tests and throws SysError when it fails.
 */
import { type FileHandle, open, rename, rm } from "node:fs/promises"
import { dirname } from "node:path"
import { SysError } from "./errno.ts"
import { faults } from "./faults.ts"
import { makeRoom } from "./spare-descriptors.ts"
import { trace } from "./trace.ts"

export class AsyncFile {
  readonly #kind: string
  readonly #handle: FileHandle
  #size = 0

  /** Makes a file where there is none. */
  static async create(kind: string, path: string): Promise<AsyncFile> {
    const handle = await call(`${kind}:open`, `open "${path}"`, () => open(path, "wx", 0o600))
    trace?.append({ type: "create", path, inode: trace.inodeOf(handle.fd) })
    return new AsyncFile(kind, handle)
  }

  private constructor(kind: string, handle: FileHandle) {
    this.#kind = kind
    this.#handle = handle
  }

  /** Adds all of the bytes at the end. */
  async append(bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length; ) {
      const size = bytes.length - done
      const { bytesWritten } = await call(`${this.#kind}:write`, `write ${size} bytes`, () =>
        this.#handle.write(bytes, done, size),
      )
      done += bytesWritten
    }
    const inode = trace?.inodeOf(this.#handle.fd) ?? ""
    trace?.append({ type: "write", inode, offset: this.#size }, bytes)
    this.#size += bytes.length
  }

  /** The written bytes and the size are durable when this resolves. */
  async sync(): Promise<void> {
    const start = trace?.position ?? 0
    await call(`${this.#kind}:fsync`, "sync a file", () => this.#handle.sync())
    trace?.append({ type: "sync", inode: trace.inodeOf(this.#handle.fd), start })
  }

  async close(): Promise<void> {
    await this.#handle.close()
  }
}

/** The new name is durable when this resolves. Both names are in one directory. */
export async function renameDurably(kind: string, from: string, to: string): Promise<void> {
  await call(`${kind}:rename`, `rename "${from}" to "${to}"`, () => rename(from, to))
  trace?.append({ type: "rename", path: from, to })
  const path = dirname(to)
  const start = trace?.position ?? 0
  const directory = await call(`${kind}:open-dir`, `open "${path}"`, () => open(path, "r"))
  try {
    await call(`${kind}:sync-dir`, `sync "${path}"`, () => directory.sync())
  } finally {
    await directory.close()
  }
  trace?.append({ type: "sync-directory", path, start })
}

/** Opens a file for reading. */
export function openToRead(op: string, path: string): Promise<FileHandle> {
  return call(op, `open "${path}"`, () => open(path))
}

/** Removes a file that may be missing. */
export async function removeFile(op: string, path: string): Promise<void> {
  await call(op, `remove "${path}"`, () => rm(path, { force: true }))
  trace?.append({ type: "unlink", path })
}

async function call<T>(op: string, doing: string, action: () => Promise<T>): Promise<T> {
  const fault = faults?.check(op) ?? 0
  if (fault !== 0) throw new SysError(fault, op, doing)
  try {
    return await action()
  } catch (error) {
    const { errno } = error as NodeJS.ErrnoException
    if (errno === undefined) throw error
    if (makeRoom(op, Math.abs(errno))) return call(op, doing, action)
    throw new SysError(Math.abs(errno), op, doing)
  }
}
