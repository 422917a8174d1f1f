/** A Worker that waits for a lock. The main thread has signals to hear and cannot wait. */
import { LitefsError } from "../../lib/errors.ts"
import { hostPort } from "../../lib/port.ts"
import { Errno, SysError } from "../../sys/errno.ts"
import { closedOnError, type Fd, O_RDONLY, openFile, waitForFileLock } from "../../sys/file.ts"
import type { FlockThread } from "./halt-lock.ts"

declare const self: Worker

hostPort<FlockThread, object>(self, { lock })

function lock(path: string): Fd {
  const fd = open(path)
  closedOnError(fd, () => waitForFileLock(fd))
  return fd
}

function open(path: string): Fd {
  try {
    return openFile("halt:open", path, O_RDONLY)
  } catch (error) {
    const isMissing = error instanceof SysError && error.errno === Errno.ENOENT
    throw isMissing ? new LitefsError("not-found", "there is no such database in a mount") : error
  }
}
