/**
 * A snapshot on its way to a replica. It outlives the connection for a while: the replica names it when it comes back,
 * and gets the rest.
 *
 *   sending ── the connection breaks ──▶ parked ── take() ──▶ sending ── … ──▶ sent
 *                                          └── 30 s, or others came ──▶ gone
 *
 * The replica may be back before this side has heard that the connection is broken, or while the last part is still
 * being read. Only that replica knows the token: the old connection is then broken here, and its end waited for.
 *
 * While it is parked its database stays frozen and nothing of it is read. Memory holds what was sent and may not have
 * arrived: the buffers of both sides, of their kernels and of the path between hold at most TAIL_SIZE_MAX. All snapshots
 * together keep TAILS_SIZE_MAX, less of each when they are many. A replica that lacks more starts over.
 */
import type { Clock } from "../../lib/clock.ts"
import type { Pos } from "../../ltx/pos.ts"
import type { ResumePoint } from "../../wire/frame.ts"

const TAIL_SIZE_MAX = 16 * 1024 * 1024
const TAILS_SIZE_MAX = 8 * TAIL_SIZE_MAX
const PARKED_MS_MAX = 30_000
const PARKED_COUNT_MAX = 4

export interface SnapshotParts {
  readonly pos: Pos
  readonly parts: AsyncIterable<Uint8Array>
}

/** The snapshots that keep the last of what they have read. */
export class Tails {
  readonly #snapshots = new Set<ResumableSnapshot>()

  add(snapshot: ResumableSnapshot): void {
    this.#snapshots.add(snapshot)
    for (const each of this.#snapshots) each.shorten()
  }

  delete(snapshot: ResumableSnapshot): void {
    this.#snapshots.delete(snapshot)
  }

  /** Of each, bytes. */
  get sizeMax(): number {
    return Math.min(TAIL_SIZE_MAX, Math.floor(TAILS_SIZE_MAX / Math.max(1, this.#snapshots.size)))
  }
}

export class ResumableSnapshot {
  readonly database: string
  readonly token: bigint
  readonly pos: Pos
  readonly #parts: AsyncIterator<Uint8Array>
  readonly #tails: Tails | undefined
  readonly #tail: Uint8Array[] = [] // the last parts that were read
  #tailSize = 0
  #size = 0 // of everything that was read
  #again: Uint8Array[] = [] // to send before more is read

  /** Without tails nothing is kept: it cannot be resumed. */
  constructor(database: string, token: bigint, { pos, parts }: SnapshotParts, tails?: Tails) {
    this.database = database
    this.token = token
    this.pos = pos
    this.#parts = parts[Symbol.asyncIterator]()
    this.#tails = tails
    tails?.add(this)
  }

  /** Continues where the replica is. False when that is too far back, or ahead. */
  rewind(offset: number): boolean {
    let skip = offset - (this.#size - this.#tailSize)
    if (skip < 0 || offset > this.#size) return false
    this.#again = []
    for (const part of this.#tail) {
      if (skip < part.length) this.#again.push(part.subarray(skip))
      skip = Math.max(0, skip - part.length)
    }
    return true
  }

  /** Undefined after the last part. */
  async next(): Promise<Uint8Array | undefined> {
    const again = this.#again.shift()
    if (again !== undefined) return again
    const { value, done } = await this.#parts.next()
    if (done === true) return undefined
    this.#size += value.length
    this.#tail.push(value)
    this.#tailSize += value.length
    this.shorten()
    return value
  }

  /** Its database is no longer kept frozen. */
  async end(): Promise<void> {
    this.#forget()
    // A generator that was never started has nothing to clean up, in its own view.
    if (this.#size === 0) await this.#parts.next().catch(() => {})
    await this.#parts.return?.()
  }

  /** Keeps no more than it may now. */
  shorten(): void {
    const sizeMax = this.#tails?.sizeMax ?? 0
    while (this.#tailSize > sizeMax) {
      this.#tailSize -= (this.#tail.shift() as Uint8Array).length
    }
  }

  #forget(): void {
    this.#tails?.delete(this)
    this.#tail.length = 0
    this.#tailSize = 0
  }
}

/** A snapshot that is on its way over a connection. */
interface Sending {
  readonly database: string
  readonly breakOff: () => void
  readonly left: PromiseWithResolvers<void>
}

export class ParkedSnapshots {
  readonly tails = new Tails()
  readonly #sending = new Map<bigint, Sending>()
  readonly #clock: Clock
  readonly #parked = new Map<bigint, { snapshot: ResumableSnapshot; cancel: () => void }>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  makeToken(): bigint {
    const half = () => BigInt(Math.floor(this.#clock.random() * 2 ** 32))
    return (half() << 32n) | half()
  }

  park(snapshot: ResumableSnapshot): void {
    const { token } = snapshot
    const cancel = this.#clock.after(PARKED_MS_MAX, () => this.#drop(token))
    this.#parked.set(token, { snapshot, cancel })
    const [oldest] = this.#parked.keys()
    if (this.#parked.size > PARKED_COUNT_MAX && oldest !== undefined) this.#drop(oldest)
  }

  /** It is being sent until left(). `breakOff` ends its connection. */
  sending({ database, token }: ResumableSnapshot, breakOff: () => void): void {
    this.#sending.set(token, { database, breakOff, left: Promise.withResolvers() })
  }

  /** Nothing more of it is sent there. If it is not whole, it is parked by now. */
  left({ token }: ResumableSnapshot): void {
    this.#sending.get(token)?.left.resolve()
    this.#sending.delete(token)
  }

  /** The snapshot, ready to continue there; undefined when it has to start over. */
  async take({ token, offset, database }: ResumePoint): Promise<ResumableSnapshot | undefined> {
    const sending = this.#sending.get(token)
    if (sending?.database === database) {
      sending.breakOff()
      await sending.left.promise
    }
    const parked = this.#parked.get(token)
    if (parked?.snapshot.database !== database) return undefined
    if (!parked.snapshot.rewind(offset)) {
      this.#drop(token)
      return undefined
    }
    parked.cancel()
    this.#parked.delete(token)
    return parked.snapshot
  }

  close(): void {
    for (const token of [...this.#parked.keys()]) this.#drop(token)
  }

  #drop(token: bigint): void {
    const parked = this.#parked.get(token)
    parked?.cancel()
    this.#parked.delete(token)
    parked?.snapshot.end().catch(() => {}) // it was about to be forgotten
  }
}
