/**
 * Header blocks of HTTP/2 (HPACK, RFC 7541).
 *
 *     1xxxxxxx                     a field of the tables
 *     01xxxxxx [name] value        a field that becomes the newest of the dynamic table
 *     0000xxxx, 0001xxxx likewise  a field that does not
 *     001xxxxx                     the dynamic table has another size from now on
 *
 * x… is an index, or a size; 0 stands for a name that follows. A text is a length with a bit for Huffman before it, and
 * the text. The first 61 fields are fixed, the dynamic table follows them.
 *
 * What is written here uses no table and no Huffman code: it is read by everybody, and keeps no state.
 */
import { decodeHuffman } from "./huffman.ts"

export type Field = readonly [name: string, value: string]

/** What every side may use unless it was told otherwise; nobody is told here. */
const TABLE_SIZE_MAX = 4096
const FIELD_OVERHEAD = 32

const STATIC: readonly Field[] = [
  [":authority", ""],
  [":method", "GET"],
  [":method", "POST"],
  [":path", "/"],
  [":path", "/index.html"],
  [":scheme", "http"],
  [":scheme", "https"],
  ...["200", "204", "206", "304", "400", "404", "500"].map((code): Field => [":status", code]),
  ["accept-charset", ""],
  ["accept-encoding", "gzip, deflate"],
  ...names("accept-language accept-ranges accept access-control-allow-origin age allow"),
  ...names("authorization cache-control content-disposition content-encoding content-language"),
  ...names("content-length content-location content-range content-type cookie date etag expect"),
  ...names("expires from host if-match if-modified-since if-none-match if-range"),
  ...names("if-unmodified-since last-modified link location max-forwards proxy-authenticate"),
  ...names("proxy-authorization range referer refresh retry-after server set-cookie"),
  ...names("strict-transport-security transfer-encoding user-agent vary via www-authenticate"),
]

function names(text: string): Field[] {
  return text.split(" ").map((name) => [name, ""])
}

export interface DecodedFields {
  readonly fields: readonly Field[]
  /** There were more: the rest was read for its effect on the table only. */
  readonly isTooLarge: boolean
}

/** Reads the blocks of one side of a connection, in their order. */
export class HpackDecoder {
  readonly #listSizeMax: number
  #table: Field[] = [] // the newest first
  #tableSize = 0
  #tableSizeMax = TABLE_SIZE_MAX

  /** `listSizeMax`: bytes of names and values, and 32 more for each field. */
  constructor(listSizeMax: number) {
    this.#listSizeMax = listSizeMax
  }

  /** Throws a RangeError for what cannot be decoded: the connection is then of no use any more. */
  decode(block: Uint8Array): DecodedFields {
    const reader = new Reader(block)
    const fields: Field[] = []
    let size = 0
    let mayResize = true
    while (!reader.isAtEnd) {
      const first = reader.peek()
      if ((first & 0xe0) === 0x20) {
        if (!mayResize) throw malformed("a change of the table's size after a field")
        this.#resize(reader.integer(5))
        continue
      }
      mayResize = false
      const field = this.#readField(reader, first)
      size += sizeOf(field)
      if (size <= this.#listSizeMax) fields.push(field)
    }
    return { fields, isTooLarge: size > this.#listSizeMax }
  }

  #readField(reader: Reader, first: number): Field {
    if (first & 0x80) return this.#fieldAt(reader.integer(7))
    const isKept = (first & 0x40) !== 0
    const index = reader.integer(isKept ? 6 : 4)
    const name = index === 0 ? reader.text() : this.#fieldAt(index)[0]
    const field: Field = [name, reader.text()]
    if (isKept) this.#keep(field)
    return field
  }

  #fieldAt(index: number): Field {
    const field = STATIC[index - 1] ?? this.#table[index - 1 - STATIC.length]
    if (field === undefined) throw malformed(`field ${index}, which there is not`)
    return field
  }

  #keep(field: Field): void {
    this.#table.unshift(field)
    this.#tableSize += sizeOf(field)
    this.#evict()
  }

  #resize(size: number): void {
    if (size > TABLE_SIZE_MAX) throw malformed(`a table of ${size} bytes, over ${TABLE_SIZE_MAX}`)
    this.#tableSizeMax = size
    this.#evict()
  }

  #evict(): void {
    while (this.#tableSize > this.#tableSizeMax) {
      this.#tableSize -= sizeOf(this.#table.pop() as Field)
    }
  }
}

function sizeOf([name, value]: Field): number {
  return name.length + value.length + FIELD_OVERHEAD
}

class Reader {
  readonly #bytes: Uint8Array
  #at = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  get isAtEnd(): boolean {
    return this.#at >= this.#bytes.length
  }

  peek(): number {
    const byte = this.#bytes[this.#at]
    if (byte === undefined) throw malformed("an end within a field")
    return byte
  }

  /** Whose first `bitCount` bits are the last ones of the next byte. */
  integer(bitCount: number): number {
    const mask = (1 << bitCount) - 1
    let value = this.#byte() & mask
    if (value < mask) return value
    for (let shift = 0; ; shift += 7) {
      if (shift > 21) throw malformed("a number over 28 bits")
      const byte = this.#byte()
      value += (byte & 0x7f) * 2 ** shift
      if (byte < 0x80) return value
    }
  }

  text(): string {
    const isHuffman = (this.peek() & 0x80) !== 0
    const size = this.integer(7)
    if (size > this.#bytes.length - this.#at) throw malformed("an end within a text")
    const bytes = this.#bytes.subarray(this.#at, this.#at + size)
    this.#at += size
    return isHuffman ? decodeHuffman(bytes) : Buffer.from(bytes).toString("latin1")
  }

  #byte(): number {
    const byte = this.peek()
    this.#at += 1
    return byte
  }
}

function malformed(what: string): RangeError {
  return new RangeError(`Cannot decode headers: ${what}`)
}

/** Drops the table: who has made it smaller is to hear so, and there is none to lose. */
const NO_TABLE = 0x20

/** Names in lower case. Characters above U+00FF are not for headers. */
export function encodeFields(fields: readonly Field[]): Uint8Array {
  const parts: Uint8Array[] = [Uint8Array.of(NO_TABLE)]
  for (const [name, value] of fields) {
    parts.push(Uint8Array.of(0), encodeText(name), encodeText(value))
  }
  return Buffer.concat(parts)
}

function encodeText(text: string): Uint8Array {
  const bytes = Buffer.from(text, "latin1")
  return Buffer.concat([encodeLength(bytes.length), bytes])
}

function encodeLength(length: number): Uint8Array {
  if (length < 0x7f) return Uint8Array.of(length)
  const bytes = [0x7f]
  let rest = length - 0x7f
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80)
  return Uint8Array.from([...bytes, rest])
}
