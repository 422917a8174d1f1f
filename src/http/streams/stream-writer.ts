/**
 * What a stream writes to its replica: frames, and LTX files whole or in parts.
 *
 * Every call resolves when the replica has taken enough of the earlier data: nothing piles up here. A replica that
 * takes everything gives others their turn every few milliseconds: streams, requests, heartbeats.
 *
 * Writes to a closed connection go nowhere.
 */
import type { Clock } from "../../lib/clock.ts"
import { Turns } from "../../lib/turns.ts"
import { ChunkEncoder, encodeChunks } from "../../wire/chunk.ts"
import { encodeFrame, type Frame } from "../../wire/frame.ts"
import type { BodyWriter } from "../server/body-writer.ts"

export class StreamWriter {
  readonly body: BodyWriter
  readonly turns: Turns
  readonly #onWrite: (size: number) => void

  constructor(body: BodyWriter, clock: Clock, onWrite: (size: number) => void) {
    this.body = body
    this.turns = new Turns(clock)
    this.#onWrite = onWrite
  }

  get isClosed(): boolean {
    return this.body.isClosed
  }

  async frame(frame: Frame): Promise<void> {
    await this.#write(encodeFrame(frame))
  }

  async ltxFile(database: string, bytes: Uint8Array): Promise<void> {
    await this.#write(Buffer.concat([encodeLtxFrame(database), encodeChunks(bytes)]))
  }

  /** Begins an LTX file that comes in parts. */
  async ltxParts(database: string): Promise<LtxParts> {
    await this.#write(encodeLtxFrame(database))
    return new LtxParts((bytes) => this.#write(bytes))
  }

  end(): void {
    this.body.end()
  }

  async #write(bytes: Uint8Array): Promise<void> {
    if (this.isClosed) return
    this.#onWrite(bytes.length)
    await this.body.write(bytes)
    if (this.turns.isOver) await this.turns.next()
  }
}

/** An LTX file in chunk framing. Each part is sent before the next is requested. */
export class LtxParts {
  readonly #send: (bytes: Uint8Array) => Promise<void>
  readonly #encoder: ChunkEncoder
  #framed: Uint8Array[] = []

  constructor(send: (bytes: Uint8Array) => Promise<void>) {
    this.#send = send
    this.#encoder = new ChunkEncoder((bytes) => this.#framed.push(bytes.slice()))
  }

  async write(part: Uint8Array): Promise<void> {
    this.#encoder.write(part)
    await this.#flush()
  }

  async end(): Promise<void> {
    this.#encoder.end()
    await this.#flush()
  }

  async #flush(): Promise<void> {
    const bytes = Buffer.concat(this.#framed)
    this.#framed = []
    await this.#send(bytes)
  }
}

function encodeLtxFrame(database: string): Uint8Array {
  return encodeFrame({ type: "ltx", size: 0n, database })
}
