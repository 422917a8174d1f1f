/**
 * The reply in the making: a header and a payload in a fixed buffer. The methods put a payload there and return its
 * size; `finish` then completes the header.
 */
import { assert } from "../lib/assert.ts"
import type { Region } from "../sys/memory.ts"
import type { Attributes, Entry, Opened, PosixLock, Statfs } from "./filesystem.ts"
import {
  AttrOut,
  EntryOut,
  InitOut,
  LkOut,
  OpenOut,
  OutHeader,
  StatfsOut,
  WriteOut,
  writeAttributes,
  writeEntry,
  writeLock,
  writeNegativeEntry,
  writeOpened,
  writeStatfs,
} from "./replies.ts"

const PAYLOAD = OutHeader.size

export class Reply {
  /** For data that was read. */
  readonly payload: Region
  readonly init

  /** For a file system to fill, and then for the method of the same name here. */
  readonly scratch: { attributes: Attributes; opened: Opened; statfs: Statfs } = {
    attributes: {
      nodeId: 0,
      size: 0,
      blocks: 0,
      mode: 0,
      nlink: 0,
      uid: 0,
      gid: 0,
      mtimeMs: 0,
      atimeMs: 0,
      ctimeMs: 0,
      blockSize: 0,
      timeout: 0,
    },
    opened: { handle: 0, flags: 0, backingId: 0 },
    statfs: {
      blocks: 0,
      blocksFree: 0,
      blocksAvailable: 0,
      files: 0,
      filesFree: 0,
      blockSize: 0,
      nameLengthMax: 0,
    },
  }

  readonly #header
  readonly #attr
  readonly #entry
  readonly #openOut
  readonly #openOutAfterEntry
  readonly #writeOut
  readonly #lkOut
  readonly #statfsOut

  constructor({ address, bytes }: Region) {
    assert(address % 4 === 0, `Cannot make replies at address ${address}: it is not aligned`)
    this.payload = { address: address + PAYLOAD, bytes: bytes.subarray(PAYLOAD) }
    this.init = InitOut.view(bytes, PAYLOAD)
    this.#header = OutHeader.view(bytes)
    this.#attr = AttrOut.view(bytes, PAYLOAD)
    this.#entry = EntryOut.view(bytes, PAYLOAD)
    this.#openOut = OpenOut.view(bytes, PAYLOAD)
    this.#openOutAfterEntry = OpenOut.view(bytes, PAYLOAD + EntryOut.size)
    this.#writeOut = WriteOut.view(bytes, PAYLOAD)
    this.#lkOut = LkOut.view(bytes, PAYLOAD)
    this.#statfsOut = StatfsOut.view(bytes, PAYLOAD)
  }

  /** For a file that is opened in no special way. */
  blankOpened(): Opened {
    const { opened } = this.scratch
    opened.handle = 0
    opened.flags = 0
    opened.backingId = 0
    return opened
  }

  attributes(attributes: Attributes): number {
    writeAttributes(this.#attr, attributes)
    return AttrOut.size
  }

  entry(entry: Entry): number {
    assert(entry.nodeId !== 0, "Cannot answer with an entry without a node")
    writeEntry(this.#entry, entry)
    return EntryOut.size
  }

  /** No such name, for `timeout` seconds. */
  negativeEntry(timeout: number): number {
    writeNegativeEntry(this.#entry, timeout)
    return EntryOut.size
  }

  opened(opened: Opened): number {
    writeOpened(this.#openOut, opened)
    return OpenOut.size
  }

  created(entry: Entry, opened: Opened): number {
    writeOpened(this.#openOutAfterEntry, opened)
    return this.entry(entry) + OpenOut.size
  }

  written(size: number): number {
    this.#writeOut.size = size
    this.#writeOut.padding = 0
    return WriteOut.size
  }

  /** Undefined: no conflict. */
  lock(lock: PosixLock | undefined): number {
    writeLock(this.#lkOut, lock)
    return LkOut.size
  }

  statfs(statfs: Statfs): number {
    writeStatfs(this.#statfsOut, statfs)
    return StatfsOut.size
  }

  /** Completes the reply. `answer` is the size of the payload or -errno. Returns its whole size. */
  finish(uniqueLo: number, uniqueHi: number, answer: number): number {
    const size = answer < 0 ? PAYLOAD : PAYLOAD + answer
    this.#header.len = size
    this.#header.error = Math.min(answer, 0)
    this.#header.uniqueLo = uniqueLo
    this.#header.uniqueHi = uniqueHi
    return size
  }
}

/** Room for any reply without data. */
export const SMALL_REPLY_SIZE = PAYLOAD + EntryOut.size + OpenOut.size
