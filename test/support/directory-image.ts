/** A directory as it is at one moment, kept in memory, to be made again any number of times. */
import {
  closeSync,
  ftruncateSync,
  futimesSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  writeSync,
} from "node:fs"
import { join } from "node:path"

export interface FileImage {
  readonly name: string
  readonly bytes: Uint8Array // without the zeros at the end
  readonly size: number
  readonly modifiedMs: number
  readonly inode: string // as sys/trace.ts has it
}

export class DirectoryImage {
  readonly directories: string[] = []
  readonly files: FileImage[] = []

  constructor(root: string) {
    for (const name of readdirSync(root, { recursive: true, encoding: "utf8" }).sort()) {
      const status = statSync(join(root, name))
      if (status.isDirectory()) {
        this.directories.push(name)
      } else if (!status.isSocket()) {
        const bytes = withoutZeros(readFileSync(join(root, name)))
        const inode = `${status.dev}:${status.ino}`
        this.files.push({ name, bytes, size: status.size, modifiedMs: status.mtimeMs, inode })
      }
    }
  }

  /** Makes it at a place where nothing is. */
  writeTo(root: string): void {
    mkdirSync(root, { recursive: true })
    for (const name of this.directories) mkdirSync(join(root, name))
    for (const { name, bytes, size, modifiedMs } of this.files) {
      const fd = openSync(join(root, name), "wx")
      writeSync(fd, bytes)
      ftruncateSync(fd, size)
      futimesSync(fd, modifiedMs / 1000, modifiedMs / 1000)
      closeSync(fd)
    }
  }
}

/** The segments of a commit log are mostly empty, and a hole costs nothing to write. */
function withoutZeros(bytes: Uint8Array): Uint8Array {
  let end = bytes.length
  while (end > 0 && bytes[end - 1] === 0) end--
  return bytes.slice(0, end)
}
