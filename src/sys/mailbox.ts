/**
 * Messages to the fs thread, which blocks in poll(2) and has no event loop to deliver postMessage(): a pipe whose read
 * end is in its poll set. Any thread may send.
 *
 * A message is u32 length and that many bytes of JSON, together at most PIPE_BUF (4096) bytes, which pipe(7) writes
 * atomically: messages of two threads never mix.
 */
import { assert } from "../lib/assert.ts"
import { plainCall } from "./call.ts"
import { Errno, SysError } from "./errno.ts"
import { closeFile, type Fd } from "./file.ts"
import { errno, libc } from "./libc.ts"
import { allocate } from "./memory.ts"

const PIPE_BUF = 4096
const PIPE_CAPACITY = 65536
const O_CLOEXEC = 0o2000000
const O_NONBLOCK = 0o4000

/** The two ends of a mailbox, as numbers for a Worker of this process. */
export interface MailboxEnds {
  readonly readFd: Fd
  readonly writeFd: Fd
}

/** The read end does not block. The write end blocks, so no message is lost. */
export function createMailbox(): MailboxEnds {
  const pair = allocate(4096)
  const call = () => libc.pipe2(pair.address, O_CLOEXEC)
  plainCall("mailbox", () => "make a pipe", call)
  const view = new DataView(pair.bytes.buffer, pair.bytes.byteOffset, 8)
  const ends = { readFd: view.getInt32(0, true), writeFd: view.getInt32(4, true) }
  const F_SETFL = 4
  libc.fcntl(ends.readFd, F_SETFL, O_NONBLOCK)
  return ends
}

export class MailboxSender<Message> {
  readonly #writeFd: Fd
  readonly #buffer = allocate(PIPE_BUF)
  readonly #encoder = new TextEncoder()

  constructor(writeFd: Fd) {
    this.#writeFd = writeFd
  }

  send(message: Message): void {
    const { bytes, address } = this.#buffer
    const text = JSON.stringify(message)
    const { read, written } = this.#encoder.encodeInto(text, bytes.subarray(4))
    assert(read === text.length, "a message fits PIPE_BUF")
    new DataView(bytes.buffer, bytes.byteOffset, 4).setUint32(0, written, true)
    const call = () => libc.write(this.#writeFd, address, written + 4)
    plainCall("mailbox", () => "send a message", call)
  }
}

export class MailboxReceiver<Message> {
  readonly readFd: Fd
  readonly #buffer = allocate(PIPE_CAPACITY)
  readonly #view = new DataView(this.#buffer.bytes.buffer, this.#buffer.bytes.byteOffset)
  readonly #decoder = new TextDecoder()
  #size = 0

  constructor(readFd: Fd) {
    this.readFd = readFd
  }

  /** Hands over every message that has arrived, in order. */
  receive(handle: (message: Message) => void): void {
    const { bytes, address } = this.#buffer
    const n = libc.read(this.readFd, address + this.#size, PIPE_CAPACITY - this.#size)
    const error = n < 0 ? errno() : 0
    if (error === Errno.EAGAIN || error === Errno.EINTR) return
    if (error !== 0) throw new SysError(error, "mailbox", "receive messages")
    this.#size += n
    let offset = 0
    while (this.#size - offset >= 4) {
      const length = this.#view.getUint32(offset, true)
      if (this.#size - offset - 4 < length) break
      const text = this.#decoder.decode(bytes.subarray(offset + 4, offset + 4 + length))
      offset += 4 + length
      handle(JSON.parse(text) as Message)
    }
    bytes.copyWithin(0, offset, this.#size)
    this.#size -= offset
  }
}

export function closeMailbox(ends: MailboxEnds): void {
  closeFile(ends.readFd)
  closeFile(ends.writeFd)
}
