/**
 * A database file for the thread that writes to it. It leaves word of when it did, for the start after a kill
 * (recovery/kept-sums.ts): `dbs/<name>/written`, of which the page cache keeps what a killed daemon has written.
 *
 *    0  "LFSWRT01"
 *    8  f64 wall clock just before a write, milliseconds since 1970
 *   16  u32 1: the file may have pages of a transaction that nobody has captured
 *
 * Numbers are big endian. The word is left before a write, and not again for NOTE_MS. It is never synced, and counts only
 * until the machine is started anew. Without a word, or with one that does not fit the file, the next start reads all of
 * the file: nothing fails for want of it, but for a write that needs the mark.
 */
import { systemClock } from "../lib/clock.ts"
import { closing, O_CREAT, O_RDWR, openFile, readWhole, writeBytesAt } from "../sys/file.ts"
import type { FileAccess } from "../sys/file-access.ts"
import { emptyStatus, statusOf } from "../sys/file-status.ts"
import { BackedFile } from "./backed-file.ts"

const MAGIC = 0x4c46535752543031n // "LFSWRT01"
const SIZE = 20
const NOTE_MS = 5
/** The clock of the file system may be behind by a tick. */
const BEFORE_MS = 12
/** Between the word and the write that follows the last moment at which no new word was due. */
const AFTER_MS = NOTE_MS + 20

const status = emptyStatus()

export class NotedFile extends BackedFile {
  readonly #notePath: string
  #notedMs = 0
  #isHalf = false

  constructor(path: string, notePath: string, access?: FileAccess) {
    super("database", path, access)
    this.#notePath = notePath
  }

  override write(address: number, size: number, offset: number): void {
    this.#note()
    super.write(address, size, offset)
  }

  override writeBytes(bytes: Uint8Array, offset: number): void {
    this.#note()
    super.writeBytes(bytes, offset)
  }

  override truncate(size: number): void {
    this.#note()
    super.truncate(size)
  }

  override reserve(offset: number, size: number): boolean {
    this.#note()
    return super.reserve(offset, size)
  }

  override replaceBy(path: string, oldPath: string): void {
    super.replaceBy(path, oldPath)
    this.noteReplaced()
  }

  /** The file is another one now, and whole. */
  noteReplaced(): void {
    if (!this.open()) return
    statusOf("database:stat", this.fd, status)
    this.#isHalf = false
    this.#leave(status.modifiedMs)
  }

  override halfWritten(): void {
    this.#isHalf = true
    this.#write(systemClock.wallMs())
  }

  override wholeAgain(): void {
    this.#isHalf = false
    this.#leave(this.#notedMs)
  }

  #note(): void {
    const nowMs = systemClock.wallMs()
    if (Math.abs(nowMs - this.#notedMs) >= NOTE_MS) this.#leave(nowMs)
  }

  #leave(ms: number): void {
    try {
      this.#write(ms)
    } catch {
      this.#notedMs = 0 // the next write tries again
    }
  }

  #write(ms: number): void {
    const bytes = new Uint8Array(SIZE)
    const view = new DataView(bytes.buffer)
    view.setBigUint64(0, MAGIC)
    view.setFloat64(8, ms)
    view.setUint32(16, this.#isHalf ? 1 : 0)
    using file = closing(openFile("written:open", this.#notePath, O_RDWR | O_CREAT))
    writeBytesAt("written:write", file.fd, bytes, 0)
    this.#notedMs = ms
  }
}

/** What a thread has left; undefined when there is no word. */
export interface LastWrite {
  readonly ms: number
  readonly isHalf: boolean
}

export function readLastWrite(notePath: string): LastWrite | "unreadable" | undefined {
  const bytes = readWhole("written:read", notePath)
  if (bytes === undefined) return undefined
  const view = new DataView(bytes.buffer)
  if (bytes.length !== SIZE || view.getBigUint64(0) !== MAGIC) return "unreadable"
  return { ms: view.getFloat64(8), isHalf: view.getUint32(16) !== 0 }
}

/** Whether a file with this mtime was written last by the thread that has left the word. */
export function wasWrittenAt({ ms }: LastWrite, modifiedMs: number): boolean {
  return modifiedMs >= ms - BEFORE_MS && modifiedMs <= ms + AFTER_MS
}
