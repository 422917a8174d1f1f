/**
 * Bodies of requests that are needed whole. Memory keeps small ones, files keep large ones. Both have a limit for all
 * bodies together, and a body ends when its time is over.
 */
import { createReadStream } from "node:fs"
import type { IncomingMessage } from "node:http"
import type { Clock } from "../../lib/clock.ts"
import { LitefsError, messageOf } from "../../lib/errors.ts"
import { logger } from "../../lib/log.ts"
import { AsyncFile, removeFile } from "../../sys/async-file.ts"
import { isNoSpace } from "../../sys/errno.ts"
import type { BodyLimits } from "../server/body.ts"

const log = logger("http")

export interface SpoolLimits {
  /** Bytes of one body in memory, and of all bodies. */
  readonly memorySizeMax: number
  readonly memoryTotalMax: number
  /** Bytes in files, of all bodies. */
  readonly fileTotalMax: number
}

const READ_SIZE = 1024 * 1024

export class Spool {
  readonly #pathOf: (number: number) => string
  readonly #limits: SpoolLimits
  readonly #clock: Clock
  #nextNumber = 1
  #memorySize = 0
  #fileSize = 0

  constructor(pathOf: (number: number) => string, limits: SpoolLimits, clock: Clock) {
    this.#pathOf = pathOf
    this.#limits = limits
    this.#clock = clock
  }

  /** Rejects when the body does not arrive whole. Reads nothing of a body that announces too large a size. */
  async receive(
    request: IncomingMessage,
    { sizeMax, timeMs }: BodyLimits,
    look: BodyLook,
  ): Promise<SpooledBody> {
    const announced = Number(request.headers["content-length"] ?? 0)
    if (announced > sizeMax) throw tooLarge(sizeMax)
    if (this.#fileSize + announced > this.#limits.fileTotalMax) throw tooMany()
    const body = new SpooledBody(look, () => this.#removed(body))
    const cancel = this.#clock.after(timeMs, () => request.destroy(tooSlow(timeMs)))
    try {
      for await (const part of request) {
        if (body.size + part.length > sizeMax) throw tooLarge(sizeMax)
        await this.#add(body, part as Uint8Array)
      }
      await body.finish()
      return body
    } catch (error) {
      await body.remove()
      throw asCondition(error)
    } finally {
      cancel()
    }
  }

  async #add(body: SpooledBody, part: Uint8Array): Promise<void> {
    const { memorySizeMax, memoryTotalMax, fileTotalMax } = this.#limits
    const isSmall = body.size + part.length <= memorySizeMax
    if (body.isInMemory && isSmall && this.#memorySize + part.length <= memoryTotalMax) {
      this.#memorySize += part.length
      return body.keep(part)
    }
    if (body.isInMemory) {
      this.#memorySize -= body.size
      this.#fileSize += body.size
      await body.moveTo(this.#pathOf(this.#nextNumber++))
    }
    if (this.#fileSize + part.length > fileTotalMax) throw tooMany()
    this.#fileSize += part.length
    await body.append(part)
  }

  #removed({ size, isInMemory }: SpooledBody): void {
    if (isInMemory) this.#memorySize -= size
    else this.#fileSize -= size
  }
}

export interface BodyLook {
  /** How many of the first and of the last bytes to keep for a look. */
  readonly startSize: number
  readonly endSize: number
  /** Called with the first bytes, or with all if there are fewer; an error from it ends the body. */
  atStart(start: Uint8Array): void
}

class SpooledBody {
  size = 0 // bytes
  start: Uint8Array = new Uint8Array(0)
  end: Uint8Array = new Uint8Array(0)
  readonly #look: BodyLook
  readonly #onRemoved: () => void
  #hasLooked = false
  #inMemory: Uint8Array[] = [] // parts
  #path: string | undefined
  #file: AsyncFile | undefined
  #isRemoved = false

  constructor(look: BodyLook, onRemoved: () => void) {
    this.#look = look
    this.#onRemoved = onRemoved
  }

  get isInMemory(): boolean {
    return this.#path === undefined
  }

  async *parts(): AsyncGenerator<Uint8Array> {
    if (this.#path === undefined) yield* this.#inMemory
    else yield* createReadStream(this.#path, { highWaterMark: READ_SIZE })
  }

  keep(part: Uint8Array): void {
    this.#take(part)
    this.#inMemory.push(part)
  }

  async append(part: Uint8Array): Promise<void> {
    this.#take(part)
    await this.#file?.append(part)
  }

  async moveTo(path: string): Promise<void> {
    this.#path = path
    this.#file = await AsyncFile.create("spool", path)
    for (const part of this.#inMemory) await this.#file.append(part)
    this.#inMemory = []
  }

  async finish(): Promise<void> {
    if (!this.#hasLooked) this.#look.atStart(this.start)
    await this.#close()
  }

  /** Does not throw. The next start removes what cannot be removed now. */
  async remove(): Promise<void> {
    if (this.#isRemoved) return
    this.#isRemoved = true
    this.#onRemoved()
    this.#inMemory = []
    if (this.#path === undefined) return
    try {
      await this.#close()
      await removeFile("spool:unlink", this.#path)
    } catch (error) {
      log.warn("cannot remove the body of a request", { path: this.#path, error })
    }
  }

  async #close(): Promise<void> {
    const file = this.#file
    this.#file = undefined
    await file?.close()
  }

  #take(part: Uint8Array): void {
    const { startSize, endSize } = this.#look
    this.size += part.length
    this.end = Buffer.concat([this.end, part.subarray(-endSize)]).subarray(-endSize)
    if (this.#hasLooked) return
    this.start = Buffer.concat([this.start, part.subarray(0, startSize)]).subarray(0, startSize)
    if (this.start.length < startSize) return
    this.#hasLooked = true
    this.#look.atStart(this.start)
  }
}

/** A full disk, or a client that has gone, is no defect of ours. */
function asCondition(error: unknown): unknown {
  if (error instanceof LitefsError || error instanceof RangeError) return error
  const isFull = isNoSpace(error)
  if (!isFull && (error as NodeJS.ErrnoException).code !== "ECONNRESET") return error
  const message = `Cannot read request: ${messageOf(error)}`
  return new LitefsError(isFull ? "no-space" : "usage", message, { cause: error })
}

function tooLarge(sizeMax: number): LitefsError {
  return new LitefsError("usage", `Cannot read request: its body is over ${sizeMax} bytes`)
}

function tooSlow(timeMs: number): LitefsError {
  return new LitefsError("usage", `Cannot read request: its body took over ${timeMs} ms`)
}

function tooMany(): LitefsError {
  return new LitefsError("unavailable", "Cannot read request: too much of others is on its way")
}
