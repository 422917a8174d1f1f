/**
 * Words that threads share: the peer thread's id, whether a change was announced, the commit log and spare files, which
 * thread can open no more files, whether the disk is full, what concerns acknowledgements, and until when this node may
 * commit as the primary.
 */
import { SPARE_FILE_WORDS } from "./spare-files.ts"

const PEER_THREAD_ID = 0
const CHANGED = 1
const FULL_SEGMENTS = 2 // one word each
const SPARE_FILES = 4
const SHORT = 8 // one word for each thread
const FULL_COUNT = 11
const ROOM_COUNT = 12
const SYNC_GENERATION = 13
const ACKNOWLEDGES = 14
const COMMIT_UNTIL = 8 // of words of 64 bits: the last
const SIZE = (COMMIT_UNTIL + 1) * 8

/** Threads that open files. */
const THREADS = { fs: 0, peer: 1, main: 2 } as const

export class SharedFlags {
  readonly memory: SharedArrayBuffer
  readonly #words: Int32Array
  readonly #times: Float64Array // nobody sees an aligned double half written

  static create(): SharedFlags {
    const flags = new SharedFlags(new SharedArrayBuffer(SIZE))
    flags.commitUntilMs = Number.POSITIVE_INFINITY
    return flags
  }

  constructor(memory: SharedArrayBuffer) {
    this.memory = memory
    this.#words = new Int32Array(memory)
    this.#times = new Float64Array(memory)
  }

  /** The time of sys/process/boot-clock.ts from which on a primary commits nothing; infinite without a lease that ends. */
  get commitUntilMs(): number {
    return this.#times[COMMIT_UNTIL] as number
  }

  set commitUntilMs(ms: number) {
    this.#times[COMMIT_UNTIL] = ms
  }

  /** The kernel's id of the peer thread, which opens files of our own mount; 0 when there is none. */
  get peerThreadId(): number {
    return Atomics.load(this.#words, PEER_THREAD_ID)
  }

  set peerThreadId(id: number) {
    Atomics.store(this.#words, PEER_THREAD_ID, id)
  }

  /** True for the first call since the main thread looked: only then is a message worth its cost. */
  raiseChanged(): boolean {
    return Atomics.exchange(this.#words, CHANGED, 1) === 0
  }

  /** Whether a segment of the commit log may be overwritten. */
  isSegmentFree(segment: number): boolean {
    return Atomics.load(this.#words, FULL_SEGMENTS + segment) === 0
  }

  setSegmentFree(segment: number, isFree: boolean): void {
    Atomics.store(this.#words, FULL_SEGMENTS + segment, isFree ? 0 : 1)
  }

  /** Whether a thread can open no more files. */
  get isShort(): boolean {
    return Object.values(THREADS).some((thread) => Atomics.load(this.#words, SHORT + thread) !== 0)
  }

  setShort(thread: keyof typeof THREADS, isShort: boolean): void {
    Atomics.store(this.#words, SHORT + THREADS[thread], isShort ? 1 : 0)
  }

  /** How many calls have failed because the disk was full. */
  get fullCount(): number {
    return Atomics.load(this.#words, FULL_COUNT)
  }

  noteFull(): void {
    Atomics.add(this.#words, FULL_COUNT, 1)
  }

  /** How many transactions were stored; each takes room. */
  get roomCount(): number {
    return Atomics.load(this.#words, ROOM_COUNT)
  }

  noteRoom(): void {
    Atomics.add(this.#words, ROOM_COUNT, 1)
  }

  /** On a primary: changes when replicas that have acknowledged transactions may be gone. */
  get syncGeneration(): number {
    return Atomics.load(this.#words, SYNC_GENERATION)
  }

  nextSyncGeneration(): void {
    Atomics.add(this.#words, SYNC_GENERATION, 1)
  }

  /** On a replica: the primary wants to hear at once what is durable here. */
  get acknowledges(): boolean {
    return Atomics.load(this.#words, ACKNOWLEDGES) !== 0
  }

  set acknowledges(isWanted: boolean) {
    Atomics.store(this.#words, ACKNOWLEDGES, isWanted ? 1 : 0)
  }

  get spareFiles(): Int32Array {
    return this.#words.subarray(SPARE_FILES, SPARE_FILES + SPARE_FILE_WORDS)
  }

  /** Call it before looking at what changed. */
  lowerChanged(): void {
    Atomics.store(this.#words, CHANGED, 0)
  }
}
