/** Single words that threads share: who the peer thread is, and whether a change was announced. */
const PEER_THREAD_ID = 0
const CHANGED = 1

export class SharedFlags {
  readonly memory: SharedArrayBuffer
  readonly #words: Int32Array

  static create(): SharedFlags {
    return new SharedFlags(new SharedArrayBuffer(64))
  }

  constructor(memory: SharedArrayBuffer) {
    this.memory = memory
    this.#words = new Int32Array(memory)
  }

  /** The kernel's id of the peer thread, which opens files of our own mount; 0 when there is none. */
  get peerThreadId(): number {
    return Atomics.load(this.#words, PEER_THREAD_ID)
  }

  set peerThreadId(id: number) {
    Atomics.store(this.#words, PEER_THREAD_ID, id)
  }

  /** True for the first call since the main thread looked: only then a message is worth its cost. */
  raiseChanged(): boolean {
    return Atomics.exchange(this.#words, CHANGED, 1) === 0
  }

  /** To be called before looking at what changed. */
  lowerChanged(): void {
    Atomics.store(this.#words, CHANGED, 0)
  }
}
