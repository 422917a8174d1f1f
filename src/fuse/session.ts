/**
 * One mount's conversation with the kernel, on a thread of its own.
 *
 *   serving ── the mount is gone: read(2) says ENODEV ──▶ ended
 *
 * The thread sleeps in poll(2) on the device and on the mailbox, and never runs an event loop: other threads reach it
 * through the mailbox only. It takes messages before requests: what another thread said before it let a client see
 * something is known when that client asks.
 *
 * A client in a transaction sends one request after the other, and waking a sleeping thread takes about as long as all
 * the rest of a request. While requests come quickly, the thread therefore polls a while for the next one before it
 * sleeps (`scripts/bench` on tmpfs, 2 CPUs: 3400 to 5700 inserts/s in WAL mode, 700 to 1400 in DELETE mode).
 */

import { availableParallelism } from "node:os"
import { type Clock, systemClock } from "../lib/clock.ts"
import { Poller, readDevice, writeDevice, yieldCpu } from "../sys/device.ts"
import { Errno, SysError } from "../sys/errno.ts"
import type { Fd } from "../sys/file.ts"
import type { Region } from "../sys/memory.ts"
import type { FuseServer } from "./server.ts"

export interface SessionOptions {
  readonly device: Fd
  readonly server: FuseServer
  readonly request: Region
  readonly reply: Region
  /**
   * Does what can wait until the client has its answer. When it returns a number, it is called again after that many
   * milliseconds, even if no request comes before.
   */
  afterReply(): number | undefined
  /** The same when there was no request. */
  idle(): number | undefined
  /** A descriptor that is readable when there are messages, and a function that takes them. */
  readonly mailbox: { readonly readFd: Fd; take(): void }
  /** The same for what happens beside requests. */
  readonly beside?: { readonly readFd: Fd; take(): void }
}

/** The thread polls this long for a quick request, milliseconds. */
const QUICK_MS = 0.1

/** With one CPU the client could not send anything meanwhile. */
const canLook = availableParallelism() > 1

/** Waits for a descriptor of the poller, and first polls for one if the last wait was short. */
class Patience {
  readonly #poller: Poller
  readonly #clock: Clock
  #isQuick = false

  constructor(poller: Poller, clock: Clock) {
    this.#poller = poller
    this.#clock = clock
  }

  wait(limitMs: number | undefined): void {
    const startMs = this.#clock.monotonicMs()
    if (!this.#isQuick || !this.#look(startMs + QUICK_MS)) this.#poller.wait(limitMs)
    this.#isQuick = canLook && this.#clock.monotonicMs() < startMs + QUICK_MS
  }

  #look(untilMs: number): boolean {
    do {
      this.#poller.wait(0)
      if ([0, 1, 2].some((index) => this.#poller.isReady(index))) return true
      yieldCpu() // its sender may be waiting for this very CPU
    } while (this.#clock.monotonicMs() < untilMs)
    return false
  }
}

/**
 * read(2) has no request, and may have one the next time. ENOENT: it was interrupted before it was read. ECONNABORTED:
 * the mount went while it was being read (Linux: fuse_dev_do_read), and the next read says ENODEV.
 */
const AGAIN: ReadonlySet<number> = new Set([
  Errno.ENOENT,
  Errno.ECONNABORTED,
  Errno.EINTR,
  Errno.EAGAIN,
])

/** Answers requests until the directory is unmounted. */
export function serve(options: SessionOptions): void {
  const { device, server, request, reply, mailbox, beside } = options
  const poller = new Poller(device, mailbox.readFd, ...(beside ? [beside.readFd] : []))
  const patience = new Patience(poller, systemClock)
  let waitMs: number | undefined
  for (;;) {
    patience.wait(waitMs)
    if (poller.isReady(1)) mailbox.take()
    if (poller.isReady(2)) beside?.take()
    if (!poller.isReady(0)) {
      waitMs = options.idle()
      continue
    }
    const length = readDevice(device, request)
    if (length === -Errno.ENODEV) return
    if (AGAIN.has(-length)) continue
    if (length < 0) throw new SysError(-length, "fuse:read", "read a request")
    const replyLength = server.handle(length)
    if (replyLength > 0) sendReply(device, reply.address, replyLength)
    waitMs = options.afterReply()
  }
}

/** ENOENT means that nobody waits for the answer any more: the client was killed, or the mount is gone. */
export function sendReply(device: Fd, address: number, length: number): void {
  const result = writeDevice(device, address, length)
  if (result >= 0 || result === -Errno.ENOENT || result === -Errno.ENODEV) return
  throw new SysError(-result, "fuse:write", "send a reply")
}
