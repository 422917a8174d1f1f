/** The fs thread as the main thread sees it. */
import type { MessagePort } from "node:worker_threads"
import { LitefsError } from "../lib/errors.ts"
import { listen, type Offers, Port, portsOf } from "../lib/port.ts"
import { closeFile, type Fd } from "../sys/file.ts"
import type { Mount } from "../sys/mount.ts"
import type { FsHost, FsThread, FsThreadOptions } from "./contract.ts"
import { type FrozenDatabase, freezeDatabase } from "./frozen-database.ts"
import { type FsMailbox, newFsMailbox } from "./fs-mailbox.ts"

/** The thread takes these with its event loop, which it has before it serves. */
const EARLY: ReadonlySet<string> = new Set<keyof FsThread>(["start", "serve"])

export type FsListener = Omit<Offers<FsHost>, "unmounted" | "stopped" | "failed">

export class FsWorker extends Port<FsHost, FsThread> {
  /** The write end of the thread's mailbox, for the peer thread. */
  readonly mailboxFd: Fd
  readonly #readFd: Fd
  readonly #beside: MessagePort
  readonly #unmounted: PromiseWithResolvers<void>
  readonly #stopped: PromiseWithResolvers<boolean>

  constructor(
    worker: Worker,
    on: FsListener,
    failed: (error: Error) => void,
    mailbox: FsMailbox = newFsMailbox(),
  ) {
    const unmounted = Promise.withResolvers<void>()
    const stopped = Promise.withResolvers<boolean>()
    let hasEnded = false
    const end = (problem: string) => {
      if (hasEnded) return // also when its work was done before
      hasEnded = true
      const isWhole = problem.startsWith("Cannot ") // it says by itself what cannot be done
      const text = isWhole ? problem : `Cannot go on without the mount: ${problem}`
      const error = new LitefsError("io", text)
      this.close(error)
      unmounted.resolve()
      stopped.resolve(false)
      failed(error)
    }
    super({
      send(message) {
        const [name] = message
        if (!EARLY.has(name)) return mailbox.send(message)
        worker.postMessage(message, portsOf(message))
      },
      offers: {
        ...on,
        unmounted: unmounted.resolve,
        stopped: (isSettled) => {
          hasEnded = true
          stopped.resolve(isSettled)
        },
        failed: end,
      },
    })
    this.mailboxFd = mailbox.writeFd
    this.#readFd = mailbox.readFd
    this.#beside = mailbox.beside
    this.#unmounted = unmounted
    this.#stopped = stopped
    listen(worker, this, "the fs thread", end)
  }

  /**
   * Recovers the databases, on a primary. Resolves with those whose saved checksums were believed. `toPeer` leads to
   * the peer thread.
   */
  start(
    options: Omit<FsThreadOptions, "mailboxFd">,
    toPeer: MessagePort,
  ): Promise<readonly string[]> {
    return this.call("start", { ...options, mailboxFd: this.#readFd }, this.#beside, toPeer)
  }

  /**
   * Answers the mount from now on, until it is taken away. Resolves with the kernel's id of the thread when it has
   * descriptors of its own, and the mount's are closed here; otherwise with 0.
   */
  async serve({ device, directory }: Mount, mountedOn: string, mayPass: boolean): Promise<number> {
    const thread = await this.call("serve", device, directory, mountedOn, mayPass).catch(() => 0)
    if (thread === 0) return 0
    closeFile(device)
    closeFile(directory)
    return thread
  }

  /** Resolves when the mount is gone: no client has a file of it open. */
  get unmounted(): Promise<void> {
    return this.#unmounted.promise
  }

  /**
   * Resolves after `unmounted`, with whether the databases are ready for a quick start, and all that clients have
   * committed is captured.
   */
  get stopped(): Promise<boolean> {
    return this.#stopped.promise
  }

  /** The database as it is now, kept until thaw(). */
  freeze(database: string): Promise<FrozenDatabase | undefined> {
    return freezeDatabase(
      (snapshot) => this.call("freeze", snapshot, database),
      (snapshot) => this.tell("thaw", snapshot),
    )
  }
}
