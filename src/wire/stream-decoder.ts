/**
 * Reads a replication stream that arrives split anywhere.
 *
 *     frame ──── an ltx frame ───▶ file
 *       ▲ every other │ ▲            │ chunk terminator
 *       └─────────────┘ └────────────┘
 *
 * The file of an ltx frame is passed on as it arrives, unframed and unread. Bytes that are no stream are a RangeError,
 * after which the decoder is unusable.
 */

import { ChunkDecoder } from "./chunk.ts"
import { decodeFrame, type Frame, leastFrameSize, MAX_FRAME_SIZE } from "./frame.ts"

export interface StreamHandler {
  frame(frame: Frame): void
  /** A part of the file that the last ltx frame announced. Borrowed: valid until this returns. */
  ltxData(bytes: Uint8Array): void
  ltxEnd(): void
}

export class StreamDecoder {
  readonly #on: StreamHandler
  readonly #chunks: ChunkDecoder
  readonly #frame = new Uint8Array(MAX_FRAME_SIZE)
  #frameSize = 0
  #state: "frame" | "file" = "frame"

  constructor(on: StreamHandler) {
    this.#on = on
    this.#chunks = new ChunkDecoder((bytes) => on.ltxData(bytes))
  }

  push(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      at += this.#state === "frame" ? this.#pushFrame(bytes, at) : this.#pushFile(bytes, at)
    }
  }

  /** The stream has ended. Throws unless it ended between two frames. */
  end(): void {
    if (this.#state === "file") {
      throw new RangeError("Cannot decode stream: it ends inside an LTX file")
    }
    if (this.#frameSize > 0) throw new RangeError("Cannot decode stream: it ends inside a frame")
  }

  /** Takes bytes from `at` on, no more than certainly belong to the frame. Returns how many. */
  #pushFrame(bytes: Uint8Array, at: number): number {
    const known = leastFrameSize(this.#frame.subarray(0, this.#frameSize))
    const part = bytes.subarray(at, at + known - this.#frameSize)
    this.#frame.set(part, this.#frameSize)
    this.#frameSize += part.length
    const soFar = this.#frame.subarray(0, this.#frameSize)
    if (this.#frameSize === leastFrameSize(soFar)) this.#endFrame(decodeFrame(soFar))
    return part.length
  }

  #endFrame(frame: Frame): void {
    this.#frameSize = 0
    if (frame.type === "ltx") {
      this.#chunks.reset()
      this.#state = "file"
    }
    this.#on.frame(frame)
  }

  #pushFile(bytes: Uint8Array, at: number): number {
    const used = this.#chunks.push(bytes, at)
    if (this.#chunks.finished) {
      this.#state = "frame"
      this.#on.ltxEnd()
    }
    return used
  }
}
