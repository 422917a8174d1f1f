/**
 * Names in requests: bytes up to a NUL, which ought to be UTF-8.
 *
 * SQLite asks for the same few names again and again ("app.db-journal", "app.db-wal"). A small table by hash keeps
 * ASCII names, and finds them without making a string.
 */
export class NameDecoder {
  /** The name found by the last `decode`; undefined when its bytes are not UTF-8. */
  name: string | undefined

  readonly #bytes: Uint8Array
  readonly #recent: (string | undefined)[] = new Array(RECENT_COUNT).fill(undefined)

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  /**
   * Decodes the name at `start`. Returns the offset after its NUL. Returns 0 when there is none before `end`, and for
   * what no entry can be called: nothing, ".", "..", anything with a "/".
   */
  decode(start: number, end: number): number {
    const bytes = this.#bytes
    let hash = 0
    let seen = 0 // all bits of all bytes: the top one is set if any byte is not ASCII
    let at = start
    for (; at < end; at++) {
      const byte = bytes[at] as number
      if (byte === 0) break
      if (byte === SLASH) return 0
      hash = (Math.imul(hash, 31) + byte) | 0
      seen |= byte
    }
    if (at === end || at === start || isDots(bytes, start, at)) return 0
    const isAscii = seen < 0x80
    this.name = isAscii ? this.#ascii(start, at, hash) : decodeUtf8(bytes, start, at)
    return at + 1
  }

  #ascii(start: number, end: number, hash: number): string | undefined {
    const slot = hash & (RECENT_COUNT - 1)
    const recent = this.#recent[slot]
    if (recent !== undefined && equals(recent, this.#bytes, start, end)) return recent
    const name = decodeUtf8(this.#bytes, start, end)
    this.#recent[slot] = name
    return name
  }
}

const RECENT_COUNT = 256 // a power of 2
const SLASH = 0x2f
const DOT = 0x2e

function isDots(bytes: Uint8Array, start: number, end: number): boolean {
  if (end - start > 2 || bytes[start] !== DOT) return false
  return end - start === 1 || bytes[start + 1] === DOT
}

function equals(name: string, bytes: Uint8Array, start: number, end: number): boolean {
  if (name.length !== end - start) return false
  for (let index = 0; index < name.length; index++) {
    if (name.charCodeAt(index) !== bytes[start + index]) return false
  }
  return true
}

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

function decodeUtf8(bytes: Uint8Array, start: number, end: number): string | undefined {
  try {
    return decoder.decode(bytes.subarray(start, end))
  } catch {
    return undefined
  }
}
