/** Which threads are clients of one database, by the kernel's ids of them: those of processes that have it open. */
import { openPaths, processOfThread } from "../../sys/process/process.ts"

export class Clients {
  readonly #names: readonly string[]
  /** Threads that are known to be clients'. */
  readonly #known = new Set<number>()

  constructor(database: string) {
    // Also of a file that was removed while it is open.
    this.#names = [`/${database}`, `/${database} (deleted)`]
  }

  /** Whether a thread takes part in SQLite's locking of the database. What cannot be found out counts as yes. */
  has(thread: number): boolean {
    return thread === 0 || this.#isOpenIn(thread) !== false
  }

  /** The same for certain: its process can be seen, and is not in a PID namespace beside this one. */
  areSeenToHave(thread: number): boolean {
    return thread !== 0 && this.#isOpenIn(thread) === true
  }

  /** Undefined when it cannot be found out. */
  #isOpenIn(thread: number): boolean | undefined {
    if (this.#known.has(thread)) return true
    const process = processOfThread(thread)
    const paths = process === undefined ? undefined : openPaths(process)
    if (paths === undefined) return undefined
    // In another mount namespace a path may lead from the file itself: "/".
    const isOpen = (path: string) => path === "/" || this.#names.some((name) => path.endsWith(name))
    if (!paths.some(isOpen)) return false
    this.#known.add(thread)
    return true
  }

  /** One of those who had it open has it no more. */
  gone(): void {
    this.#known.clear()
  }

  /**
   * Whether a thread may end the transaction whose pages another one has written last. A program whose system calls are
   * spread over its threads, as Go's are, ends its transactions in any of them. The writer may be gone, its thread or all
   * of it: then any client may.
   */
  mayEnd(thread: number, writer: number): boolean {
    const owner = processOfThread(writer)
    return owner === undefined ? this.has(thread) : processOfThread(thread) === owner
  }
}
