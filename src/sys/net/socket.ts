/**
 * TCP connections of this process, beyond what `node:net` can do.
 *
 * A socket of `node:net` does not tell its descriptor. Its ports identify it among all open descriptors.
 */
import { readdirSync } from "node:fs"
import { endianness } from "node:os"
import { errno, libc } from "../libc.ts"
import { allocate } from "../memory.ts"

const IPPROTO_TCP = 6
const TCP_INFO = 11
const TCP_USER_TIMEOUT = 18
const TCP_NOTSENT_LOWAT = 25
/** Bytes that wait in the kernel to be sent, which is enough to keep a fast connection busy. */
const UNSENT_SIZE_MAX = 256 * 1024

/** struct sockaddr_in and sockaddr_in6 alike: family u16@0, port u16be@2. */
const ADDRESS_SIZE = 128
const LENGTH_AT = ADDRESS_SIZE
const VALUE_AT = ADDRESS_SIZE + 8
/** struct tcp_info: tcpi_last_ack_recv u32@56, milliseconds. */
const INFO_SIZE = 60
const LAST_ACK_AT = 56
const memory = allocate(4096)
const view = new DataView(memory.bytes.buffer, memory.bytes.byteOffset, 4096)
const isLittle = endianness() === "LE"

export interface Ports {
  readonly localPort?: number | undefined
  readonly remotePort?: number | undefined
}

/**
 * Has the kernel break a connection whose other side has taken nothing of what was sent to it for `limitMs`: because it
 * is gone, or because it does not read. Has it take no more than UNSENT_SIZE_MAX of what it cannot send. Returns whether
 * that could be set.
 */
export function limitStall({ localPort, remotePort }: Ports, limitMs: number): boolean {
  if (localPort === undefined || remotePort === undefined) return false
  let isSet = false
  for (const name of openNow()) {
    const fd = Number(name)
    if (portOf("getsockname", fd) !== localPort || portOf("getpeername", fd) !== remotePort)
      continue
    const isDone = setTcp(fd, TCP_USER_TIMEOUT, limitMs)
    isSet = (isDone && setTcp(fd, TCP_NOTSENT_LOWAT, UNSENT_SIZE_MAX)) || isSet
  }
  return isSet
}

/**
 * For how long nothing has come from the other side's kernel, not even that it has what was sent. It is the age of the
 * last acknowledgement, so it tells something only while something is sent. Undefined when the kernel does not tell.
 * `fd` is where the connection was found before: it may belong to another one by now.
 */
export function silenceOf(
  { localPort, remotePort }: Ports,
  fd?: number,
): { readonly fd: number; readonly ms: number } | undefined {
  if (localPort === undefined || remotePort === undefined) return undefined
  const isIt = (each: number) =>
    portOf("getsockname", each) === localPort && portOf("getpeername", each) === remotePort
  const found = fd !== undefined && isIt(fd) ? fd : openNow().map(Number).find(isIt)
  if (found === undefined) return undefined
  view.setUint32(LENGTH_AT, INFO_SIZE, isLittle)
  const [into, length] = [memory.address + VALUE_AT, memory.address + LENGTH_AT]
  if (libc.getsockopt(found, IPPROTO_TCP, TCP_INFO, into, length) !== 0) return undefined
  if (view.getUint32(LENGTH_AT, isLittle) < INFO_SIZE) return undefined
  return { fd: found, ms: view.getUint32(VALUE_AT + LAST_ACK_AT, isLittle) }
}

/** None when even this list cannot be opened: then a connection is as it was. */
function openNow(): string[] {
  try {
    return readdirSync("/proc/self/fd")
  } catch {
    return []
  }
}

function setTcp(fd: number, option: number, value: number): boolean {
  view.setUint32(VALUE_AT, value, isLittle)
  return libc.setsockopt(fd, IPPROTO_TCP, option, memory.address + VALUE_AT, 4) === 0
}

/** Undefined when it is not a connection. */
function portOf(call: "getsockname" | "getpeername", fd: number): number | undefined {
  view.setUint32(LENGTH_AT, ADDRESS_SIZE, isLittle)
  const code = libc[call](fd, memory.address, memory.address + LENGTH_AT) < 0 ? errno() : 0
  if (code !== 0 || !IP_FAMILIES.includes(view.getUint16(0, isLittle))) return undefined
  return view.getUint16(2)
}

const IP_FAMILIES = [2, 10] // AF_INET, AF_INET6
