/** A Worker that waits for a lock, so that the main thread does not: it has signals to hear. */
import { messageOf } from "../../lib/errors.ts"
import { Errno, SysError } from "../../sys/errno.ts"
import { closeFile, O_RDONLY, openFile, waitForFileLock } from "../../sys/file.ts"
import type { FlockAnswer } from "./halt-lock.ts"

declare const self: Worker

self.onmessage = ({ data: path }: MessageEvent<string>) => {
  self.postMessage(lock(path))
}

function lock(path: string): FlockAnswer {
  try {
    const fd = openFile("halt:open", path, O_RDONLY)
    try {
      waitForFileLock(fd)
      return { fd }
    } catch (error) {
      closeFile(fd)
      throw error
    }
  } catch (error) {
    const isMissing = error instanceof SysError && error.errno === Errno.ENOENT
    return { problem: isMissing ? "there is no such database in a mount" : messageOf(error) }
  }
}
