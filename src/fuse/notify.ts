/**
 * Notifications: what we tell the kernel without being asked. The peer thread writes them to /dev/fuse like replies. On
 * the thread that answers requests they can deadlock in the kernel, because an invalidation waits for pages that a READ
 * or WRITE still holds (seen; not even SIGKILL helps).
 *
 * A write that fails with ENOENT says that the kernel does not know the node or name: there was nothing to invalidate.
 */
import type { Region } from "../sys/memory.ts"
import { NotifyCode } from "./opcodes.ts"
import { NotifyInvalEntry, NotifyInvalInode, OutHeader } from "./replies.ts"

const BODY = OutHeader.size
const NAME = BODY + NotifyInvalEntry.size
const NAME_SIZE_MAX = 1024

/** Room for any notification. */
export const NOTIFY_SIZE = NAME + NAME_SIZE_MAX + 1

/** Makes notifications in a region. Every method returns the size of the message at the start of the region. */
export class Notifier {
  readonly #bytes: Uint8Array
  readonly #header
  readonly #inode
  readonly #entry

  constructor({ bytes }: Region) {
    this.#bytes = bytes
    this.#header = OutHeader.view(bytes)
    this.#inode = NotifyInvalInode.view(bytes, BODY)
    this.#entry = NotifyInvalEntry.view(bytes, BODY)
  }

  /**
   * Forget the attributes of the node, and its cached pages in a range of bytes; dirty ones are first written back as
   * WRITE requests. A `length` of 0 or less means to the end of the file. For a directory, forget its cached listing.
   */
  invalidateInode(nodeId: number, offset: number, length: number): number {
    this.#inode.nodeId = nodeId
    this.#inode.offset = offset
    this.#inode.length = length
    return this.#finish(NotifyCode.INVAL_INODE, BODY + NotifyInvalInode.size)
  }

  /** Forget the attributes only: the size, above all. */
  invalidateAttributes(nodeId: number): number {
    return this.invalidateInode(nodeId, -1, 0)
  }

  /** Forget what the name means, even that it means nothing. Its next use is a LOOKUP. */
  invalidateEntry(parentId: number, name: string): number {
    const { read, written } = encoder.encodeInto(
      name,
      this.#bytes.subarray(NAME, NAME + NAME_SIZE_MAX),
    )
    if (read < name.length) {
      throw new RangeError(`Cannot invalidate a name of ${name.length} characters: it is too long`)
    }
    this.#bytes[NAME + written] = 0
    this.#entry.parentId = parentId
    this.#entry.nameLength = written
    this.#entry.flags = 0
    return this.#finish(NotifyCode.INVAL_ENTRY, NAME + written + 1)
  }

  #finish(code: number, size: number): number {
    this.#header.len = size
    this.#header.error = code
    this.#header.uniqueLo = 0
    this.#header.uniqueHi = 0
    return size
  }
}

const encoder = new TextEncoder()
