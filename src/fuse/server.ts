/**
 * The FUSE protocol as a function from bytes to bytes. The request lies in one buffer, and the reply is made in
 * another. How they get there and away (`session.ts`) is no concern of this file.
 *
 * 1. Every request that wants a reply gets exactly one: from `handle`, or later through `send`. Any error of a file
 *    system becomes an errno.
 * 2. Nothing in a request is believed. A request that is shorter than it claims is EINVAL, and no handler sees it.
 * 3. READ, WRITE, GETATTR and a LOOKUP of a known name allocate nothing.
 */
import { AssertionError, assert, must } from "../lib/assert.ts"
import { Errno } from "../sys/errno.ts"
import type { Region } from "../sys/memory.ts"
import type { Deferred } from "./deferred.ts"
import { DirectoryOffsets } from "./directory-offsets.ts"
import type { FileSystem } from "./filesystem.ts"
import { InitFlag } from "./flags.ts"
import { FuseError } from "./fuse-error.ts"
import { MAX_WRITE, negotiate, type Protocol } from "./negotiation.ts"
import { Opcode } from "./opcodes.ts"
import {
  type Exchange,
  type Later,
  OPERATIONS,
  type Operation,
  UNKNOWN_OPERATION,
} from "./operations.ts"
import { OutHeader } from "./replies.ts"
import { Reply, SMALL_REPLY_SIZE } from "./reply.ts"
import { join64, Request } from "./request.ts"
import { InHeader, WriteIn } from "./requests.ts"
import { traceDeferral, traceReply, traceRequest } from "./trace.ts"

/** Sizes of the buffers. The kernel refuses a read with less room than its largest WRITE needs. */
export const REQUEST_SIZE = MAX_WRITE + 8192
export const REPLY_SIZE = MAX_WRITE + 8192

export interface FuseServerOptions {
  fileSystem: FileSystem
  /** The errno for an error of a file system other than a FuseError. */
  errnoOf(error: unknown): number
  /** Sends a reply to an earlier request: the first `size` bytes of the region, now. */
  send(reply: Region, size: number): void
  /** Hears of broken invariants: the request was answered with EIO, but it may be unwise to go on. */
  onFault(error: unknown): void
  request: Region // of REQUEST_SIZE
  reply: Region // of REPLY_SIZE
  negativeTimeout: number // seconds for which the kernel may believe that a name does not exist
  /**
   * No FSYNC, or FSYNCDIR, requests: fsync(2) then succeeds at once. For a file system that answers a WRITE only when
   * everything that must be durable is. Asked at the first sync: the kernel remembers it. Default: false
   */
  isSyncless?(isDirectory: boolean): boolean
  /** Where requests are counted, by opcode. */
  requestCounts?: Float64Array
  passthrough?: boolean // negotiate FUSE_PASSTHROUGH. Default: false
  /** The locks of fcntl(2) are requests; otherwise the kernel keeps them. Default: false */
  posixLocks?: boolean
  trace?: ((line: string) => void) | undefined
}

export class FuseServer {
  readonly #options: FuseServerOptions
  readonly #trace: ((line: string) => void) | undefined
  readonly #request: Request
  readonly #reply: Reply
  readonly #laterRegion: Region
  readonly #laterReply: Reply // of its own: it may be sent while #reply is in the making
  readonly #waiting = new WaitingRequests()
  readonly #exchange: Exchange
  readonly #counts: Float64Array | undefined
  #protocol: Protocol | undefined

  constructor(options: FuseServerOptions) {
    const { request, reply, fileSystem, negativeTimeout } = options
    const requestSizeMin = InHeader.size + WriteIn.size + MAX_WRITE
    const laterOffset = REPLY_SIZE - SMALL_REPLY_SIZE
    assert(request.bytes.length >= requestSizeMin, "Cannot serve: the request buffer is too small")
    assert(reply.bytes.length >= REPLY_SIZE, "Cannot serve: the reply buffer is too small")
    this.#options = options
    this.#trace = options.trace
    this.#counts = options.requestCounts
    this.#request = new Request(request)
    this.#reply = new Reply(part(reply, 0, OutHeader.size + MAX_WRITE))
    this.#laterRegion = part(reply, laterOffset, SMALL_REPLY_SIZE)
    this.#laterReply = new Reply(this.#laterRegion)
    this.#exchange = {
      fileSystem,
      request: this.#request,
      reply: this.#reply,
      directories: new DirectoryOffsets(),
      negativeTimeout,
      isSyncless: (isDirectory) => options.isSyncless?.(isDirectory) ?? false,
      hasPosixLocks: () => ((this.#protocol?.flags ?? 0) & InitFlag.POSIX_LOCKS) !== 0,
      init: () => this.#init(),
      openDirectory: () => this.#openDirectory(),
      interrupt: (lo, hi) => this.#waiting.interrupt(lo, hi),
    }
  }

  /** Defined after INIT. */
  get protocol(): Protocol | undefined {
    return this.#protocol
  }

  /** Handles the request of `length` bytes. Returns the size of its reply, 0 for none (yet). */
  handle(length: number): number {
    if (length < InHeader.size) return 0 // it cannot be answered: nobody knows what it is
    const request = this.#request
    request.length = length
    const { opcode, uniqueLo, uniqueHi } = request.header
    const counts = this.#counts
    if (counts !== undefined && opcode < counts.length) counts[opcode] = (counts[opcode] ?? 0) + 1
    const operation = OPERATIONS[opcode] ?? UNKNOWN_OPERATION

    const answer = this.#answer(operation)
    if (answer === undefined || operation.isSilent) return 0
    if (this.#trace) this.#trace(traceReply(uniqueLo, uniqueHi, answer))
    return this.#reply.finish(uniqueLo, uniqueHi, answer)
  }

  /** The size of the payload or -errno; undefined when it comes later. */
  #answer(operation: Operation): number | undefined {
    const request = this.#request
    const { recordSize, names } = operation
    const { len, opcode } = request.header
    const isWhole = len === request.length && request.bodySize >= recordSize
    const decoding = isWhole ? request.decodeNames(recordSize, names?.count ?? 0) : "missing"
    if (this.#trace) this.#trace(traceRequest(request, decoding !== "missing"))

    if (decoding === "missing") return -Errno.EINVAL
    if (decoding === "not UTF-8") return -must(names, "errno for a bad name").notUtf8
    if (this.#protocol === undefined && opcode !== Opcode.INIT) return -Errno.EPROTO
    try {
      const answer = operation.handle(this.#exchange)
      return typeof answer === "number" ? answer : this.#answerLater(answer)
    } catch (error) {
      return -this.#errnoOf(error)
    }
  }

  #answerLater({ deferred, fill }: Later): undefined {
    const { uniqueLo, uniqueHi } = this.#request.header
    this.#waiting.add(uniqueLo, uniqueHi, deferred, (errno) => {
      const answer = errno === 0 ? this.#fillLater(fill) : -this.#sane(errno)
      if (this.#trace) this.#trace(traceReply(uniqueLo, uniqueHi, answer))
      const size = this.#laterReply.finish(uniqueLo, uniqueHi, answer)
      this.#options.send(this.#laterRegion, size)
    })
    if (this.#trace) this.#trace(traceDeferral(uniqueLo, uniqueHi))
  }

  #fillLater(fill: (reply: Reply) => number): number {
    try {
      return fill(this.#laterReply)
    } catch (error) {
      return -this.#errnoOf(error)
    }
  }

  #init(): number {
    if (this.#protocol !== undefined) return -Errno.EPROTO
    const { passthrough = false, posixLocks = false } = this.#options
    const wanted = { passthrough, posixLocks }
    const { answer, protocol } = negotiate(this.#request, this.#reply, wanted)
    this.#protocol = protocol
    return answer
  }

  /**
   * There is nothing to open: a sync of a directory needs no OPENDIR and RELEASEDIR. The kernel then also keeps listings
   * (as with FOPEN_CACHE_DIR) until an entry changes through the mount. When the daemon itself adds or removes one, it
   * must invalidate the data of the directory (`Notifier.invalidateInode(id, 0, 0)`). A kernel that cannot be told so
   * gets a meaningless handle.
   */
  #openDirectory(): number {
    const flags = this.#protocol?.flags ?? 0
    if ((flags & InitFlag.NO_OPENDIR_SUPPORT) !== 0) return -Errno.ENOSYS
    return this.#reply.opened(this.#reply.blankOpened())
  }

  #errnoOf(error: unknown): number {
    if (error instanceof FuseError) return this.#sane(error.errno)
    if (error instanceof AssertionError) {
      this.#options.onFault(error)
      return Errno.EIO
    }
    try {
      return this.#sane(this.#options.errnoOf(error))
    } catch (errorOfErrnoOf) {
      this.#options.onFault(errorOfErrnoOf)
      return Errno.EIO
    }
  }

  /** An errno that a file system may answer: one that the kernel takes, and not ENOSYS. */
  #sane(errno: number): number {
    if (errno === Errno.ENOSYS) return Errno.EOPNOTSUPP
    return Number.isInteger(errno) && errno > 0 && errno <= ERRNO_MAX ? errno : Errno.EIO
  }
}

/** The kernel reserves larger ones for itself, and fails the write of the reply. */
const ERRNO_MAX = 511

function part({ address, bytes }: Region, offset: number, size: number): Region {
  return { address: address + offset, bytes: bytes.subarray(offset, offset + size) }
}

/** The requests that wait for their answer, by the kernel's unique id. */
class WaitingRequests {
  readonly #deferreds = new Map<bigint, Deferred>()

  /** `send` gets the errno of the answer, 0 for success. */
  add(uniqueLo: number, uniqueHi: number, deferred: Deferred, send: (errno: number) => void): void {
    const unique = join64(uniqueLo, uniqueHi)
    deferred.bind((errno) => {
      must(this.#deferreds.get(unique), `request ${unique}`)
      this.#deferreds.delete(unique)
      send(errno)
    })
    this.#deferreds.set(unique, deferred)
  }

  /** An unknown request was answered while the INTERRUPT was under way. */
  interrupt(uniqueLo: number, uniqueHi: number): void {
    this.#deferreds.get(join64(uniqueLo, uniqueHi))?.interrupt()
  }
}
