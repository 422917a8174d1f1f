/**
 * Where the body of a message ends. Its bytes are inspected and passed on unchanged, except for trailers; a malformed
 * body throws before anything behind it is passed on.
 *
 * Chunked:
 *
 *     *( 1*13HEXDIG [ ";" extension ] CRLF  data CRLF )
 *     1*13"0" [ ";" extension ] CRLF  *( trailer field CRLF )  CRLF
 *
 * A server may take a trailer for a header field (RFC 9110, 6.5.1): its sender could then speak for the proxy, or for
 * somebody else. Only trailers that describe the body are therefore passed on.
 */
import {
  BadMessage,
  type RequestHead,
  type ResponseHead,
  tokensOf,
  valuesOf,
} from "./message-head.ts"

export interface Body {
  readonly isWhole: boolean
  /** Inspects bytes from `start`, and returns where those of the body end. */
  take(bytes: Uint8Array, start: number): number
  /** What to pass on of the bytes that the last take() has taken, which must all be given. */
  passed(bytes: Uint8Array): Uint8Array
}

/** Throws when the head is ambiguous. */
export function bodyOfRequest({ fields, isHttp10 }: RequestHead): Body {
  const encodings = valuesOf(fields, "transfer-encoding")
  const size = contentLength(valuesOf(fields, "content-length"))
  if (encodings.length === 0) return size === undefined ? EMPTY : new SizedBody(size)
  if (size !== undefined) {
    throw new BadMessage(400, "there are both Content-Length and Transfer-Encoding")
  }
  if (isHttp10) throw new BadMessage(400, "Transfer-Encoding is not for HTTP/1.0")
  if (encodings.length > 1) throw new BadMessage(400, "there is more than one Transfer-Encoding")
  if (encodings[0]?.toLowerCase() === "chunked") return new ChunkedBody()
  throw new BadMessage(501, "the only Transfer-Encoding understood here is chunked")
}

/** `method` is that of the request. */
export function bodyOfResponse(head: ResponseHead, method: string): Body {
  const { status, fields, isHttp10 } = head
  if (method === "HEAD" || status < 200 || status === 204 || status === 304) return EMPTY
  const encodings = tokensOf(fields, "transfer-encoding")
  const size = contentLength(valuesOf(fields, "content-length"))
  if (encodings.length === 0) return size === undefined ? new ClosingBody() : new SizedBody(size)
  if (size === undefined && !isHttp10 && encodings.length === 1 && encodings[0] === "chunked") {
    return new ChunkedBody()
  }
  throw new BadMessage(502, "where the response ends is not clear")
}

function contentLength(values: readonly string[]): number | undefined {
  const [value] = values
  if (value === undefined) return undefined
  if (values.length > 1) throw new BadMessage(400, "there is more than one Content-Length")
  if (!/^\d{1,16}$/.test(value) || !Number.isSafeInteger(Number(value))) {
    throw new BadMessage(400, "the Content-Length is malformed")
  }
  return Number(value)
}

const EMPTY: Body = { isWhole: true, take: (_, start) => start, passed: (bytes) => bytes }

class SizedBody implements Body {
  #rest: number

  constructor(size: number) {
    this.#rest = size
  }

  get isWhole(): boolean {
    return this.#rest === 0
  }

  take(bytes: Uint8Array, start: number): number {
    const count = Math.min(this.#rest, bytes.length - start)
    this.#rest -= count
    return start + count
  }

  passed(bytes: Uint8Array): Uint8Array {
    return bytes
  }
}

/** A body that ends with the connection. */
export class ClosingBody implements Body {
  readonly isWhole = false

  take(bytes: Uint8Array): number {
    return bytes.length
  }

  passed(bytes: Uint8Array): Uint8Array {
    return bytes
  }
}

/** What comes next. */
type Expected =
  | "size"
  | "extension"
  | "size LF"
  | "data"
  | "data CR"
  | "data LF"
  | "trailer"
  | "trailer name"
  | "trailer value"
  | "trailer LF"
  | "last LF"
  | "nothing"

const CR = 0x0d
const LF = 0x0a
const SIZE_DIGITS_MAX = 13
const EXTENSION_SIZE_MAX = 512
const TRAILER_SIZE_MAX = 16 * 1024

/** Fields that say how to read a message cannot come after it. */
const NOT_IN_TRAILERS = new Set(["content-length", "transfer-encoding", "host", "connection", "te"])

const PASSED_TRAILERS = new Set([
  "content-digest",
  "content-md5",
  "digest",
  "etag",
  "expires",
  "grpc-message",
  "grpc-status",
  "grpc-status-details-bin",
  "repr-digest",
  "server-timing",
])

const CHECKSUM_TRAILER = /^x-(?:[a-z]+-)?checksum-[a-z0-9]+$/

export class ChunkedBody implements Body {
  #expected: Expected = "size"
  #digits = 0
  #size = 0
  #extensionSize = 0
  #trailerSize = 0
  #name = ""
  #line = ""
  #isInTrailers = false
  #trailers = "" // the trailers to pass on
  #literalSize = 0 // size of the last bytes before the trailers

  get isWhole(): boolean {
    return this.#expected === "nothing"
  }

  take(bytes: Uint8Array, start: number): number {
    let at = start
    let isLiteral = !this.#isInTrailers
    if (!isLiteral) this.#literalSize = 0
    while (at < bytes.length && this.#expected !== "nothing") {
      if (this.#expected === "data") {
        const count = Math.min(this.#size, bytes.length - at)
        this.#size -= count
        at += count
        if (this.#size === 0) this.#expected = "data CR"
        continue
      }
      this.#expected = this.#next(bytes[at] as number)
      at += 1
      if (!isLiteral || !this.#isInTrailers) continue
      isLiteral = false
      this.#literalSize = at - start
    }
    if (isLiteral) this.#literalSize = at - start
    return at
  }

  passed(bytes: Uint8Array): Uint8Array {
    const literal = bytes.subarray(0, this.#literalSize)
    if (!this.isWhole) return literal
    return Buffer.concat([literal, Buffer.from(`${this.#trailers}\r\n`, "latin1")])
  }

  #next(byte: number): Expected {
    switch (this.#expected) {
      case "size":
        return this.#sizeByte(byte)
      case "extension":
        if (byte === CR) return "size LF"
        this.#extensionSize += 1
        return must(this.#extensionSize <= EXTENSION_SIZE_MAX && isText(byte), "extension")
      case "size LF":
        must(byte === LF, "size LF")
        this.#digits = 0
        this.#extensionSize = 0
        this.#isInTrailers = this.#size === 0
        return this.#size === 0 ? "trailer" : "data"
      case "data CR":
        must(byte === CR, "data CR")
        return "data LF"
      case "data LF":
        must(byte === LF, "data LF")
        return "size"
      default:
        return this.#trailerByte(byte)
    }
  }

  #sizeByte(byte: number): Expected {
    const digit = hexValue(byte)
    if (digit >= 0) {
      this.#size = (this.#digits === 0 ? 0 : this.#size) * 16 + digit
      this.#digits += 1
      return must(this.#digits <= SIZE_DIGITS_MAX, "size")
    }
    must(this.#digits > 0, "size")
    if (byte === CR) return "size LF"
    return must(byte === 0x3b /* ; */, "extension")
  }

  #trailerByte(byte: number): Expected {
    this.#trailerSize += 1
    must(this.#trailerSize <= TRAILER_SIZE_MAX, "trailer")
    this.#line += String.fromCharCode(byte)
    switch (this.#expected) {
      case "trailer":
        if (byte === CR) return "last LF"
        this.#name = ""
        this.#line = String.fromCharCode(byte)
        return this.#trailerNameByte(byte)
      case "trailer name":
        if (byte !== 0x3a /* : */) return this.#trailerNameByte(byte)
        must(!NOT_IN_TRAILERS.has(this.#name.toLowerCase()), "trailer")
        return "trailer value"
      case "trailer value":
        return byte === CR ? "trailer LF" : must(isText(byte), "trailer value")
      case "trailer LF":
        if (isPassed(this.#name.toLowerCase())) this.#trailers += this.#line
        return must(byte === LF, "trailer")
      default:
        return must(byte === LF, "nothing")
    }
  }

  #trailerNameByte(byte: number): Expected {
    const character = String.fromCharCode(byte)
    this.#name += character
    return must(/[!#$%&'*+\-.^_`|~0-9A-Za-z]/.test(character), "trailer name")
  }
}

function isPassed(name: string): boolean {
  return PASSED_TRAILERS.has(name) || CHECKSUM_TRAILER.test(name)
}

function must(condition: boolean, next: Expected): Expected {
  if (!condition) throw new BadMessage(400, "a chunk of the body is malformed")
  return next
}

function isText(byte: number): boolean {
  return (byte >= 0x20 && byte !== 0x7f) || byte === 0x09
}

function hexValue(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30
  const lower = byte | 0x20
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1
}
