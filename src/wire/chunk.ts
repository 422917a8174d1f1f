/**
 * Chunk framing: a body of unknown size inside a stream that continues after it.
 *
 *     u16 size (1…65535), big endian, then as many bytes; repeated
 *     u16 0
 *
 * The boundaries of chunks mean nothing.
 */

import { writeU16BE } from "../lib/bytes.ts"
import type { ByteSink } from "../lib/codecs/lz4.ts"
import { Gather } from "../lib/gather.ts"

const MAX_CHUNK_SIZE = 0xffff

const SIZE_SIZE = 2

/** Frames a body that is written in pieces. The sink borrows its bytes. */
export class ChunkEncoder {
  readonly #sink: ByteSink
  readonly #size = new Uint8Array(SIZE_SIZE)

  constructor(sink: ByteSink) {
    this.#sink = sink
  }

  write(bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length; done += MAX_CHUNK_SIZE) {
      const chunk = done === 0 && bytes.length <= MAX_CHUNK_SIZE ? bytes : part(bytes, done)
      this.#writeSize(chunk.length)
      this.#sink(chunk)
    }
  }

  end(): void {
    this.#writeSize(0)
  }

  #writeSize(size: number): void {
    writeU16BE(this.#size, 0, size)
    this.#sink(this.#size)
  }
}

/** A whole body, framed and terminated. */
export function encodeChunks(body: Uint8Array): Uint8Array {
  const chunkCount = Math.ceil(body.length / MAX_CHUNK_SIZE)
  const framed = new Uint8Array(body.length + (chunkCount + 1) * SIZE_SIZE)
  let at = 0
  for (let done = 0; done < body.length; done += MAX_CHUNK_SIZE) {
    const chunk = part(body, done)
    writeU16BE(framed, at, chunk.length)
    framed.set(chunk, at + SIZE_SIZE)
    at += SIZE_SIZE + chunk.length
  }
  return framed
}

function part(bytes: Uint8Array, start: number): Uint8Array {
  return bytes.subarray(start, start + MAX_CHUNK_SIZE)
}

/** Unframes one body that arrives split anywhere. */
export class ChunkDecoder {
  readonly #sink: ByteSink
  readonly #gather = new Gather()
  /** How much of the current chunk is still to come. */
  #chunkRest = 0
  #finished = false

  /** `sink` gets views of the pushed bytes. */
  constructor(sink: ByteSink) {
    this.#sink = sink
  }

  /** Whether the terminator has been read. */
  get finished(): boolean {
    return this.#finished
  }

  /** Makes the decoder ready for another body. */
  reset(): void {
    this.#gather.reset()
    this.#chunkRest = 0
    this.#finished = false
  }

  /** Takes input from `start` up to the end of the body. Returns how many bytes it took. */
  push(bytes: Uint8Array, start = 0): number {
    let at = start
    while (at < bytes.length && !this.#finished) {
      if (this.#chunkRest === 0) {
        const size = this.#gather.takeU16BE(bytes, at)
        at += this.#gather.used
        if (size === undefined) break
        this.#chunkRest = size
        this.#finished = size === 0
      } else {
        const data = bytes.subarray(at, at + this.#chunkRest)
        at += data.length
        this.#chunkRest -= data.length
        this.#sink(data)
      }
    }
    return at - start
  }
}
