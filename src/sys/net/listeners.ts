/**
 * The listening sockets of this process, all at once: held, they leave new connections to the kernel, which keeps them
 * in its queue. While no file can be opened, accept() fails, and the event loop would try it again and again.
 *
 * The runtime cannot pause a listener. So it is asked for nothing in the epoll of the event loop, epoll_ctl(2), of which
 * /proc tells the rest: proc_pid_fdinfo(5). Where it does not, nothing is held.
 */
import { endianness } from "node:os"
import { listDirectory } from "../directory.ts"
import { closeFile, type Fd, O_RDONLY, openSpecial, readBytesAt } from "../file.ts"
import { libc } from "../libc.ts"
import { allocate } from "../memory.ts"

const SOL_SOCKET = 1
const SO_ACCEPTCONN = 30
const EPOLL_CTL_MOD = 3
const EPOLLIN = 1

/** struct epoll_event: events u32@0, data u64, which x86-64 alone does not align. */
const DATA_AT = process.arch === "x64" ? 4 : 8
const VALUE_AT = 16
const LENGTH_AT = 24
const memory = allocate(4096)
const view = new DataView(memory.bytes.buffer, memory.bytes.byteOffset, 4096)
const isLittle = endianness() === "LE"

const FDINFO = "/proc/thread-self/fdinfo"

/** An epoll with listening sockets. What /proc says of it is kept open: there may be no descriptor left to open it. */
interface Poll {
  readonly fd: number
  readonly info: Fd
}

const polls: Poll[] = []
let areHeld = false

/** Call it while files can be opened, after there is a listener. */
export function findListeners(): void {
  if (polls.length > 0) return
  for (const name of descriptors()) {
    const poll = pollOf(Number(name))
    if (poll !== undefined) polls.push(poll)
  }
}

/** Returns whether they were held only now. */
export function holdListeners(): boolean {
  if (areHeld || polls.length === 0) return false
  areHeld = true
  for (const poll of polls) change(poll, (events) => events & ~EPOLLIN)
  return true
}

/** Returns whether they were held. */
export function releaseListeners(): boolean {
  if (!areHeld) return false
  areHeld = false
  for (const poll of polls) change(poll, (events) => events | EPOLLIN)
  return true
}

function descriptors(): string[] {
  try {
    return listDirectory("listeners:list", FDINFO).map(({ name }) => name)
  } catch {
    return []
  }
}

function pollOf(fd: number): Poll | undefined {
  let info: Fd | undefined
  try {
    info = openSpecial("listeners:open", `${FDINFO}/${fd}`, O_RDONLY)
    if (listening({ fd, info }).length > 0) return { fd, info }
  } catch {
    // It was closed in between, or may not be read.
  }
  if (info !== undefined) closeFile(info)
  return undefined
}

function change(poll: Poll, to: (events: number) => number): void {
  for (const { fd, events, data } of listening(poll)) {
    view.setUint32(0, to(events) >>> 0, isLittle)
    view.setBigUint64(DATA_AT, data, isLittle)
    libc.epoll_ctl(poll.fd, EPOLL_CTL_MOD, fd, memory.address)
  }
}

interface Watched {
  readonly fd: number
  readonly events: number
  /** What the event loop knows the socket by. */
  readonly data: bigint
}

function listening({ info }: Poll): Watched[] {
  const found: Watched[] = []
  const lines = textOf(info).matchAll(/^tfd:\s*(\d+) events:\s*([0-9a-f]+) data:\s*([0-9a-f]+)/gm)
  for (const [, fd, events, data] of lines) {
    if (!accepts(Number(fd))) continue
    found.push({ fd: Number(fd), events: Number(`0x${events}`), data: BigInt(`0x${data}`) })
  }
  return found
}

const PIECE_SIZE = 65536

/** A line for each socket of the event loop, of some 90 bytes. */
function textOf(info: Fd): string {
  const piece = new Uint8Array(PIECE_SIZE)
  let text = ""
  for (let offset = 0; ; ) {
    const size = readBytesAt("listeners:read", info, piece, offset)
    if (size === 0) return text
    text += Buffer.from(piece.buffer, 0, size).toString("latin1")
    offset += size
  }
}

function accepts(fd: number): boolean {
  view.setUint32(LENGTH_AT, 4, isLittle)
  const { address } = memory
  const value = address + VALUE_AT
  if (libc.getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, value, address + LENGTH_AT) !== 0) return false
  return view.getUint32(VALUE_AT, isLittle) === 1
}
