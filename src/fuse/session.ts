/**
 * One mount's conversation with the kernel, on a thread of its own.
 *
 *   serving ── the mount is gone: read(2) says ENODEV ──▶ ended
 *
 * The thread sleeps in poll(2) on the device and on the mailbox, so it never runs an event loop: other threads
 * reach it through the mailbox only. Messages are taken before requests: what another thread said before it
 * let a client see something is known when that client asks.
 */

import { Poller, readDevice, writeDevice } from "../sys/device.ts"
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
   * What can wait until the client has its answer. When it returns a number, it is called again after so many
   * milliseconds, even if there is no request until then.
   */
  afterReply(): number | undefined
  /** A descriptor that becomes readable when there are messages, and who takes them. */
  readonly mailbox: { readonly readFd: Fd; take(): void }
}

/** Answers requests until the directory is unmounted. */
export function serve(options: SessionOptions): void {
  const { device, server, request, reply, mailbox } = options
  const poller = new Poller(device, mailbox.readFd)
  let waitMs: number | undefined
  for (;;) {
    poller.wait(waitMs)
    if (poller.isReady(1)) mailbox.take()
    if (!poller.isReady(0)) {
      waitMs = options.afterReply()
      continue
    }
    const length = readDevice(device, request)
    if (length === -Errno.ENODEV) return
    // ENOENT: the request was interrupted before it was read. The others are to be tried again.
    if (length === -Errno.ENOENT || length === -Errno.EINTR || length === -Errno.EAGAIN) continue
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
