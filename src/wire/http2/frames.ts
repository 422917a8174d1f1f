/**
 * The frames of HTTP/2 (RFC 9113, 4.1): u24 size, u8 type, u8 flags, u32 stream, then that many bytes. Big endian.
 */
import { readU32BE, writeU32BE } from "../../lib/bytes.ts"

/** What a client sends first of all. */
export const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1")

export const FrameType = {
  DATA: 0,
  HEADERS: 1,
  PRIORITY: 2,
  RST_STREAM: 3,
  SETTINGS: 4,
  PUSH_PROMISE: 5,
  PING: 6,
  GOAWAY: 7,
  WINDOW_UPDATE: 8,
  CONTINUATION: 9,
} as const

export const Flag = {
  END_STREAM: 0x1,
  ACK: 0x1,
  END_HEADERS: 0x4,
  PADDED: 0x8,
  PRIORITY: 0x20,
} as const

export const ErrorCode = {
  NO_ERROR: 0,
  PROTOCOL_ERROR: 1,
  INTERNAL_ERROR: 2,
  FLOW_CONTROL_ERROR: 3,
  FRAME_SIZE_ERROR: 6,
  REFUSED_STREAM: 7,
  CANCEL: 8,
  COMPRESSION_ERROR: 9,
  ENHANCE_YOUR_CALM: 11,
} as const

export const Setting = {
  ENABLE_PUSH: 2,
  MAX_CONCURRENT_STREAMS: 3,
  INITIAL_WINDOW_SIZE: 4,
  MAX_FRAME_SIZE: 5,
  MAX_HEADER_LIST_SIZE: 6,
} as const

export const FRAME_HEAD_SIZE = 9
/** Of what follows the head. Both sides take so much, and nothing here asks for more. */
export const PAYLOAD_SIZE_MAX = 16_384
export const WINDOW_SIZE = 65_535
export const WINDOW_SIZE_MAX = 2 ** 31 - 1

export interface Http2Frame {
  readonly type: number
  readonly flags: number
  readonly stream: number
  readonly payload: Uint8Array
}

/** A side has broken the protocol, or gone too far. The connection is of no use any more. */
export class Http2Error extends Error {
  readonly code: number

  constructor(code: number, message: string) {
    super(message)
    this.code = code
  }
}

export function encodeHttp2Frame(
  type: number,
  flags: number,
  stream: number,
  payload: Uint8Array = new Uint8Array(0),
): Uint8Array {
  const bytes = new Uint8Array(FRAME_HEAD_SIZE + payload.length)
  bytes[0] = payload.length >>> 16
  bytes[1] = payload.length >>> 8
  bytes[2] = payload.length
  bytes[3] = type
  bytes[4] = flags
  writeU32BE(bytes, 5, stream)
  bytes.set(payload, FRAME_HEAD_SIZE)
  return bytes
}

/** [identifier, value] each. */
export function encodeSettings(settings: readonly (readonly [number, number])[]): Uint8Array {
  const payload = new Uint8Array(settings.length * 6)
  for (const [index, [identifier, value]] of settings.entries()) {
    payload[index * 6 + 1] = identifier
    writeU32BE(payload, index * 6 + 2, value)
  }
  return encodeHttp2Frame(FrameType.SETTINGS, 0, 0, payload)
}

export function u32Of(value: number): Uint8Array {
  const bytes = new Uint8Array(4)
  writeU32BE(bytes, 0, value)
  return bytes
}

/** Finds the frames in bytes that come split anywhere. Holds one frame at most. */
export class FrameReader {
  readonly #held = new Uint8Array(FRAME_HEAD_SIZE + PAYLOAD_SIZE_MAX)
  #heldSize = 0

  /** Hands on each frame that is whole, with bytes of its own. Throws an Http2Error for one that is too large. */
  push(bytes: Uint8Array, handle: (frame: Http2Frame) => void): void {
    for (let at = 0; at < bytes.length; ) {
      const size = this.#take(bytes.subarray(at))
      at += size
      const whole = this.#wholeSize()
      if (whole === undefined || this.#heldSize < whole) continue
      this.#heldSize = 0
      handle({
        type: this.#held[3] as number,
        flags: this.#held[4] as number,
        stream: readU32BE(this.#held, 5) & 0x7fff_ffff,
        payload: this.#held.slice(FRAME_HEAD_SIZE, whole),
      })
    }
  }

  /** Takes up to the end of the head, or of the frame. Returns how much that was. */
  #take(bytes: Uint8Array): number {
    const whole = this.#wholeSize() ?? FRAME_HEAD_SIZE
    const part = bytes.subarray(0, whole - this.#heldSize)
    this.#held.set(part, this.#heldSize)
    this.#heldSize += part.length
    return part.length
  }

  /** Undefined before the head is there. */
  #wholeSize(): number | undefined {
    if (this.#heldSize < FRAME_HEAD_SIZE) return undefined
    const [high = 0, middle = 0, low = 0] = this.#held
    const size = (high << 16) | (middle << 8) | low
    if (size <= PAYLOAD_SIZE_MAX) return FRAME_HEAD_SIZE + size
    const problem = `a frame of ${size} bytes, over ${PAYLOAD_SIZE_MAX}`
    throw new Http2Error(ErrorCode.FRAME_SIZE_ERROR, problem)
  }
}
