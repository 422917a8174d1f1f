/**
 * One stream from the primary. It reads the frames, and hands the files in them on, no faster than they are taken.
 *
 * It ends when the primary ends it, falls silent, or when a file is refused: everything after a refused file would be
 * refused as well.
 */
import type { IncomingMessage } from "node:http"
import { orAborted } from "../../lib/abort.ts"
import { type Clock, sleep } from "../../lib/clock.ts"
import { LitefsError } from "../../lib/errors.ts"
import { Gate } from "../../lib/gate.ts"
import { RateLimit } from "../../lib/rate-limit.ts"
import type { Txid } from "../../ltx/pos.ts"
import type { DatabaseFilter } from "../../wire/database-filter.ts"
import { databaseNameProblem } from "../../wire/database-name.ts"
import type {
  Frame,
  JudgedFrame,
  ListedFrame,
  ResumableFrame,
  ResumingFrame,
} from "../../wire/frame.ts"
import { StreamDecoder } from "../../wire/stream-decoder.ts"
import type { ListedDatabase } from "./catalogue.ts"
import { type CutOffSnapshot, goesOn } from "./cut-off-snapshot.ts"

/** A primary sends a heartbeat every second. After this long without one it counts as gone. */
export const SILENCE_MS_MAX = 5000

/** The peer thread may hold this many bytes before the network has to wait. */
const IN_FLIGHT_SIZE_MAX = 8 * 1024 * 1024

/**
 * Frames per second that bring no transaction. The list of all databases that a node may have takes half a second. A
 * primary that tells and tells would otherwise take the whole thread.
 */
const NEWS_RATE_MAX = 32_768
/** A primary may send frames without pause. After this many, everything else of this thread has its turn. */
const TURN_FRAME_COUNT = 1024
/** Bytes that are decoded at a time: the smallest frame has 4. */
const SLICE_SIZE = 16 * 1024
/** So many frames may wait for what came before them to be applied, before the network has to wait. */
const WAITING_COUNT_MAX = 1024

/** Takes LTX files. Implemented by the peer thread. */
export interface LtxSink {
  /** A part of a file. Calls `taken` when the part is off our hands. */
  write(file: number, database: string, bytes: Uint8Array, isLast: boolean, taken: () => void): void
  /** Call it before the first part. Resolves when the file is applied; rejects when it is refused. */
  applied(file: number): Promise<void>
  abort(file: number): void
  /** Before the first part of a snapshot: the primary's verdict on the position that the snapshot answers. */
  judge?(file: number, database: string, verdict: Verdict): void
}

type Verdict = Pick<JudgedFrame, "pos" | "is">

export interface IncomingStreamOptions {
  readonly clock: Clock
  readonly sink: LtxSink
  /** The primary's clock; `applied` resolves when everything before the heartbeat is applied. */
  onHeartbeat?(timestampMs: number, applied: Promise<unknown>): void
  /** The last transaction of a database at the primary, which is ahead of what follows at once. */
  onHead?(database: string, txid: Txid): void
  /** Files of other databases are dropped: LiteFS before v0.5.7 sends every database, whatever it is asked for. */
  readonly databases?: DatabaseFilter
  /** The primary lacks a database that is here. Told at each connection. */
  onUnknown?(database: string): void
  /** Where the primary is with a database: all databases at the beginning, then news. */
  onListed?(database: string, listed: ListedDatabase): void
  /** The primary sends something for a name that no database can have: it is dropped, and the others go on. */
  onBadName?(database: string, problem: string): void
  /** Whether everything for it is dropped: see refused-databases.ts. */
  isLeftOut?(database: string): boolean
  /** An LTX file of the database is applied, or is refused, which ends the stream. */
  onOutcome?(database: string, error: Error | undefined): void
  /** The primary hands its role over, and everything that it sent before is applied. */
  onHandoff?(text: string): void
}

interface ArrivingFile {
  readonly number: number
  readonly database: string
  readonly applied: Promise<void>
  readonly token: bigint | undefined // for a snapshot that can be resumed
  received: number // bytes, over all connections
  parts: Uint8Array[] // received, but not handed on yet
  size: number // bytes in `parts`
}

export interface IncomingStreamEvents {
  onApplied(): void
  /** The primary had nothing more, and everything that it had is applied. */
  onReady(): void
}

/** One stream from the primary. */
export class IncomingStream {
  readonly #options: IncomingStreamOptions
  readonly #on: IncomingStreamEvents
  readonly #decoder: StreamDecoder
  readonly #taken = new Gate()
  #response: IncomingMessage | undefined
  #failure: Error | undefined
  #inFlight = 0
  #frameCount = 0 // of this turn
  readonly #news: RateLimit
  #newsCount = 0 // of this turn
  #waitingCount = 0 // frames that wait for what came before them
  #file: ArrivingFile | undefined
  #cutOff: CutOffSnapshot | undefined // until it continues, or cannot
  #resumable: ResumableFrame | ResumingFrame | undefined // for the snapshot that comes next
  #verdict: JudgedFrame | undefined // on the database whose snapshot comes next
  readonly #refused = new Set<string>() // databases
  /** After each snapshot the primary says whether it is whole. */
  #saysWhetherWhole = false
  /** The file has come completely, and the primary has not yet said whether it is whole. */
  #isHeld = false
  readonly #applying = new Set<Promise<void>>() // of files that came completely
  #hasEnded = false

  constructor(
    options: IncomingStreamOptions,
    cutOff: CutOffSnapshot | undefined,
    on: IncomingStreamEvents,
  ) {
    this.#options = options
    this.#cutOff = cutOff
    this.#on = on
    this.#news = new RateLimit(options.clock, NEWS_RATE_MAX)
    this.#decoder = new StreamDecoder({
      frame: (frame) => this.#handleFrame(frame),
      ltxData: (bytes) => this.#handleData(bytes),
      ltxEnd: () => this.#endFile(),
    })
  }

  /**
   * Reads until the stream ends. Failures elsewhere destroy the response, which ends the loop. A race against a promise
   * that lives as long as the connection would keep every part that won it.
   */
  async read(response: IncomingMessage): Promise<void> {
    const { clock } = this.#options
    this.#response = response
    const watch = () => clock.after(SILENCE_MS_MAX, () => this.#fail(silence()))
    let stopWatch = watch()
    try {
      for await (const part of response) {
        stopWatch()
        if (this.#failure !== undefined) break
        const bytes = part as Uint8Array
        for (let at = 0; at < bytes.length; at += SLICE_SIZE) {
          this.#decoder.push(bytes.subarray(at, at + SLICE_SIZE))
          if (this.#hasEnded) return
          while (this.#isBehind && this.#failure === undefined) await this.#taken.wait()
          if (this.#frameCount >= TURN_FRAME_COUNT) {
            this.#frameCount = 0
            await sleep(clock, 0)
            await this.#news.take(this.#newsCount)
            this.#newsCount = 0
          }
          if (this.#failure !== undefined) break
        }
        stopWatch = watch()
      }
    } catch (error) {
      throw this.#failure ?? error
    } finally {
      stopWatch()
    }
    if (this.#failure !== undefined) throw this.#failure
    this.#decoder.end()
  }

  get #isBehind(): boolean {
    return this.#inFlight > IN_FLIGHT_SIZE_MAX || this.#waitingCount > WAITING_COUNT_MAX
  }

  #fail(error: Error): void {
    this.#failure ??= error
    this.#response?.destroy(error)
    this.#taken.open()
  }

  /**
   * An unfinished file is given up, except for a snapshot whose rest the next connection may bring: that is returned.
   */
  close(): CutOffSnapshot | undefined {
    const file = this.#file
    if (file === undefined) return this.#cutOff
    if (file.token === undefined || this.#refused.size > 0 || this.#cutOff !== undefined) {
      this.#file = undefined
      this.#options.sink.abort(file.number)
      return this.#cutOff
    }
    if (file.size > 0) this.#sendParts(false)
    this.#file = undefined
    const { number, database, token, received, applied } = file
    return { file: number, database, token, offset: received, applied }
  }

  /** Resolves when every completely received file is applied or refused, or when nobody cares any more. */
  async settled(signal: AbortSignal): Promise<void> {
    await orAborted(Promise.allSettled([...this.#applying]), signal).catch(() => {})
  }

  #handleFrame(frame: Frame): void {
    this.#frameCount += 1
    if (frame.type !== "ltx") this.#newsCount += 1
    if (this.#isHeld) this.#release(frame)
    switch (frame.type) {
      case "ltx":
        return this.#startFile(frame.database)
      case "ready":
        this.#allApplied().then(this.#on.onReady, () => {})
        return
      case "end":
        this.#hasEnded = true
        return
      case "dropDb":
        if (!this.#isName(frame.database) || !this.#isWanted(frame.database)) return
        this.#options.onUnknown?.(frame.database)
        return
      case "judged":
        this.#verdict = frame
        return
      case "resumable":
      case "resuming":
        this.#resumable = frame
        return
      case "heartbeat": {
        if (this.#failure !== undefined) return
        return this.#options.onHeartbeat?.(frame.timestampMs, this.#allApplied())
      }
      case "head":
        if (!this.#isName(frame.database)) return
        return this.#options.onHead?.(frame.database, frame.txid)
      case "handoff":
        this.#allApplied().then(
          () => this.#options.onHandoff?.(frame.leaseId),
          () => {},
        )
        return
      case "catalogue":
        this.#saysWhetherWhole = true
        return
      case "listed":
        if (!this.#isName(frame.database) || !this.#isWanted(frame.database)) return
        return this.#options.onListed?.(frame.database, { pos: frame.pos, state: frame.state })
      case "hwm":
      case "acknowledged":
        return
    }
  }

  /** Resolves when everything that came before is applied. */
  #allApplied(): Promise<unknown> {
    const all = Promise.all([...this.#applying])
    this.#waitingCount += 1
    const done = () => {
      this.#waitingCount -= 1
      this.#taken.open()
    }
    all.then(done, done)
    return all
  }

  /** One bad name at the primary must not keep the other databases away. */
  #isName(database: string): boolean {
    const problem = databaseNameProblem(database)
    if (problem !== undefined) this.#options.onBadName?.(database, problem)
    return problem === undefined
  }

  #isWanted(database: string): boolean {
    return this.#options.databases?.matches(database) !== false
  }

  #isTaken(database: string): boolean {
    return this.#isWanted(database) && this.#options.isLeftOut?.(database) !== true
  }

  #endFile(): void {
    if (this.#file?.token === undefined || !this.#saysWhetherWhole) return this.#sendParts(true)
    this.#isHeld = true
  }

  /** The primary has said whether the snapshot is whole. */
  #release(frame: Frame): void {
    this.#isHeld = false
    const file = this.#file
    if (file === undefined) return
    if (frame.type !== "listed" || frame.database !== file.database) {
      throw new RangeError(`Cannot follow: a ${frame.type} frame is not what follows a snapshot`)
    }
    if (!isBroken(frame)) return this.#sendParts(true)
    this.#file = undefined
    this.#options.sink.abort(file.number)
  }

  #startFile(database: string): void {
    const [resumable, verdict] = [this.#resumable, this.#verdict]
    this.#resumable = undefined
    this.#verdict = undefined
    if (!this.#isName(database) || !this.#isTaken(database)) return
    if (this.#resumeFile(database, resumable)) return
    const number = nextFile++
    const applied = this.#options.sink.applied(number)
    const token = resumable?.database === database ? resumable.token : undefined
    this.#file = { number, database, applied, token, received: 0, parts: [], size: 0 }
    this.#watch(database, applied)
    if (verdict?.database !== database) return
    this.#options.sink.judge?.(number, database, { pos: verdict.pos, is: verdict.is })
  }

  #watch(database: string, applied: Promise<void>): void {
    const { onOutcome } = this.#options
    const done = () => {
      onOutcome?.(database, undefined)
      this.#on.onApplied()
    }
    applied.then(done, (error) => {
      // What follows on a refused file does not fit, whatever it is.
      if (!this.#refused.has(database)) onOutcome?.(database, error)
      this.#refused.add(database)
      this.#fail(error)
    })
  }

  /** Whether the file that begins is the rest of the cut-off one. If not, the cut-off one is given up. */
  #resumeFile(database: string, frame: ResumableFrame | ResumingFrame | undefined): boolean {
    const cutOff = this.#cutOff
    if (cutOff?.database !== database) return false
    this.#cutOff = undefined
    if (!goesOn(cutOff, database, frame)) {
      this.#options.sink.abort(cutOff.file)
      return false
    }
    const { file: number, token, offset: received, applied } = cutOff
    this.#file = { number, database, applied, token, received, parts: [], size: 0 }
    this.#watch(database, applied)
    return true
  }

  #handleData(bytes: Uint8Array): void {
    const file = this.#file
    if (file === undefined) return
    file.received += bytes.length
    file.parts.push(bytes.slice()) // the decoder owns the bytes
    file.size += bytes.length
    if (file.size >= PART_SIZE) this.#sendParts(false)
  }

  #sendParts(isLast: boolean): void {
    const file = this.#file
    if (file === undefined) return
    const bytes =
      file.parts.length === 1 ? (file.parts[0] as Uint8Array) : Buffer.concat(file.parts)
    file.parts = []
    file.size = 0
    this.#inFlight += bytes.length
    const { sink } = this.#options
    if (isLast) {
      this.#file = undefined
      const { applied } = file
      this.#applying.add(applied)
      const done = () => this.#applying.delete(applied)
      applied.then(done, done)
    }
    sink.write(file.number, file.database, bytes, isLast, () => {
      this.#inFlight -= bytes.length
      this.#taken.open()
    })
  }
}

function isBroken({ state }: ListedFrame): boolean {
  return state === "refused" || state === "unreadable"
}

function silence(): LitefsError {
  return new LitefsError("unavailable", `no sign of life for ${SILENCE_MS_MAX / 1000} s`)
}

const PART_SIZE = 256 * 1024

let nextFile = 1
