/**
 * Threads, which the bundler does not find by itself (scripts/build.ts): each is an entry of the program. A path is
 * relative to this file, which lies beside the first entry. In the executable they are one file, from which the same
 * path leads to the thread.
 */
export function newWorker(path: string): Worker {
  return new Worker(new URL(path, import.meta.url).href)
}

/** The two threads of every node. They load while the main thread does, and then wait for orders. */
export class NodeWorkers {
  readonly peer: Worker
  readonly fs: Worker
  /** Why one of them cannot go on, while nobody else hears of it. */
  problem: string | undefined

  constructor() {
    this.peer = this.#start("peer")
    this.fs = this.#start("fs")
  }

  #start(name: "peer" | "fs"): Worker {
    const worker = newWorker(name === "peer" ? "./peer/thread.ts" : "./mount/thread.ts")
    worker.addEventListener("error", ({ message }) => {
      this.problem ??= `the ${name} thread does not start, ${message}`
    })
    worker.addEventListener("close", () => {
      this.problem ??= `the ${name} thread has ended`
    })
    return worker
  }
}
