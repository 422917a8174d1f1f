/** Files that a user names in a setting. */
import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs"

const SIZE_MAX = 1024 * 1024

/** What a shell has opened for us: `--auth-token-file <(pass litefs)`. */
const HANDED_OVER = /^\/dev\/stdin$|^\/(dev|proc\/(self|\d+))\/fd\/\d+$/

/**
 * The text of a file. Throws what the system says, or an Error with the end of a sentence (readProblem() passes it on) for
 * anything but a regular file, or a pipe that is open already, of up to 1 MiB: a named pipe would keep the program waiting,
 * and a device has no end.
 */
export function readGivenFile(path: string): string {
  const isHandedOver = HANDED_OVER.test(path)
  // A regular file does not know O_NONBLOCK, and a named pipe without a writer does not wait.
  const flags = constants.O_RDONLY | constants.O_NOCTTY
  const fd = openSync(path, isHandedOver ? flags : flags | constants.O_NONBLOCK)
  try {
    const status = fstatSync(fd)
    if (status.isDirectory()) throw new Error("it is a directory, it should be a file")
    const isPipe = isHandedOver && status.isFIFO()
    if (!status.isFile() && !isPipe) {
      const kind = status.isFIFO() ? "a named pipe" : "a device"
      throw new Error(`it is ${kind}, it should be a file`)
    }
    const bytes = Buffer.alloc((isPipe ? SIZE_MAX : Math.min(status.size, SIZE_MAX)) + 1)
    let size = 0
    for (;;) {
      const count = readSync(fd, bytes, size, bytes.length - size, isPipe ? null : size)
      size += count
      if (count === 0 || size === bytes.length) break
    }
    if (size > SIZE_MAX) throw new Error(`it has over ${SIZE_MAX} bytes, it should have less`)
    return textOf(bytes.subarray(0, size))
  } finally {
    closeSync(fd)
  }
}

/** Nothing is replaced: a path of other bytes would be another path. */
function textOf(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    throw new Error("it has bytes that are not UTF-8, it should be a text")
  }
}
