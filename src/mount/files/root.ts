/**
 * The directory at the top of the mount. It has the owner and the mode of the directory below the mount. A change goes
 * to that directory, so the next start finds it.
 */
import type { Attributes } from "../../fuse/filesystem.ts"
import { must } from "../../lib/assert.ts"
import type { Fd } from "../../sys/file.ts"
import { accessOf, type FileAccess } from "../../sys/file-access.ts"
import { type AccessChange, changeAccess, FOREVER } from "./entry.ts"

const S_IFDIR = 0o040000
const S_ISGID = 0o2000

export class Root {
  readonly #startedMs: number
  #below: Fd | undefined

  constructor(startedMs: number) {
    this.#startedMs = startedMs
  }

  /** Before the first request. */
  mounted(below: Fd): void {
    this.#below = below
  }

  get access(): FileAccess {
    return accessOf("fuse:stat", this.#fd)
  }

  /** The group of a file that a client makes: in a directory with the bit S_ISGID that of the directory. */
  groupOfNew(callerGid: number): number {
    const { gid, mode } = this.access
    return (mode & S_ISGID) === 0 ? callerGid : gid
  }

  changeAccess(change: AccessChange): void {
    changeAccess("fuse:access", this.#fd, change)
  }

  readAttributes(into: Attributes): void {
    const { uid, gid, mode } = this.access
    into.uid = uid
    into.gid = gid
    into.mode = S_IFDIR | mode
    into.size = 0
    into.blocks = 0
    into.blockSize = 4096
    into.nlink = 1
    into.mtimeMs = into.atimeMs = into.ctimeMs = this.#startedMs
    into.timeout = FOREVER
  }

  get #fd(): Fd {
    return must(this.#below, "directory below the mount")
  }
}
