/**
 * A file that is written by a thread that must not wait for the disk. As in `file.ts`, every call has a name in fault
 * tests and throws SysError when it fails.
 */
import { type FileHandle, open, rm } from "node:fs/promises"
import { SysError } from "./errno.ts"
import { faults } from "./faults.ts"
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

  async close(): Promise<void> {
    await this.#handle.close()
  }
}

/** Whether it is there or not. */
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
    throw new SysError(Math.abs(errno), op, doing)
  }
}
