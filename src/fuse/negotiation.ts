/**
 * INIT: the first request of a mount, in which the kernel offers and we choose.
 *
 * We want the same everywhere, and do without what a kernel does not offer. We never want WRITEBACK_CACHE (a commit
 * would come too late to refuse it) or ATOMIC_O_TRUNC (a truncation is one request, SETATTR). We want POSIX_LOCKS only
 * for a mount that has to see locks. Otherwise they stay with the kernel, where they cost nothing.
 */
import { Errno } from "../sys/errno.ts"
import { InitFlag, InitFlag2 } from "./flags.ts"
import { InitOut } from "./replies.ts"
import type { Reply } from "./reply.ts"
import type { Request } from "./request.ts"
import { INIT_IN_SIZE_MIN, InitIn } from "./requests.ts"

const MAJOR = 7
const MINOR = 45 // the newest version whose records we know
const MINOR_MIN = 23 // from here on (Linux 3.15) all records in use have today's size

/** The most that one READ or WRITE carries, when the kernel has MAX_PAGES. */
export const MAX_WRITE = 1 << 20
const MAX_WRITE_WITHOUT_MAX_PAGES = 32 * 4096
const MAX_PAGES = MAX_WRITE / 4096

const MAX_BACKGROUND = 64
const CONGESTION_THRESHOLD = 48

export interface Wanted {
  passthrough: boolean
  posixLocks: boolean
}

export interface Protocol {
  minor: number
  flags: number // InitFlag
  flags2: number // InitFlag2
}

/**
 * Answers INIT in `reply`, with the size of the payload or -errno. `protocol` stays undefined when the kernel speaks a
 * newer major version: it is told ours, and starts anew with that.
 */
export function negotiate(
  request: Request,
  reply: Reply,
  wanted: Wanted,
): { answer: number; protocol?: Protocol } {
  const { major, minor } = request.init
  if (major < MAJOR || (major === MAJOR && minor < MINOR_MIN)) return { answer: -Errno.EPROTO }

  const out = reply.init
  out.clear()
  out.major = MAJOR
  out.minor = MINOR
  if (major > MAJOR) return { answer: InitOut.size }
  if (request.bodySize < INIT_IN_SIZE_MIN) return { answer: -Errno.EPROTO }

  const { maxReadahead, flags: offered, flags2 } = request.init
  const hasFlags2 = (offered & InitFlag.INIT_EXT) !== 0 && request.bodySize >= InitIn.size
  const offered2 = hasFlags2 ? flags2 : 0
  const protocol: Protocol = {
    minor: Math.min(minor, MINOR),
    flags: offered & wantedFlags(wanted),
    flags2: offered2 & wantedFlags2(wanted),
  }

  out.minor = protocol.minor
  out.maxReadahead = maxReadahead
  out.flags = protocol.flags
  out.flags2 = protocol.flags2
  out.maxBackground = MAX_BACKGROUND
  out.congestionThreshold = CONGESTION_THRESHOLD
  out.timeGranularity = 1
  if ((protocol.flags & InitFlag.MAX_PAGES) !== 0) {
    out.maxPages = MAX_PAGES
    out.maxWrite = MAX_WRITE
  } else {
    out.maxWrite = MAX_WRITE_WITHOUT_MAX_PAGES
  }
  if ((protocol.flags2 & InitFlag2.PASSTHROUGH) !== 0) out.maxStackDepth = 1
  return { answer: InitOut.size, protocol }
}

function wantedFlags(wanted: Wanted): number {
  const always =
    InitFlag.ASYNC_READ |
    InitFlag.BIG_WRITES |
    InitFlag.MAX_PAGES |
    InitFlag.PARALLEL_DIROPS |
    InitFlag.EXPLICIT_INVAL_DATA |
    InitFlag.FLOCK_LOCKS |
    InitFlag.NO_OPENDIR_SUPPORT |
    InitFlag.INIT_EXT
  return wanted.posixLocks ? always | InitFlag.POSIX_LOCKS : always
}

function wantedFlags2(wanted: Wanted): number {
  return wanted.passthrough ? InitFlag2.PASSTHROUGH : 0
}
