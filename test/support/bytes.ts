/** Small things that tests of codecs share. */

export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex")
}

/** Bytes from hexadecimal digits; spaces are for the reader. */
export function unhex(text: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Buffer.from(text.replaceAll(/\s/g, ""), "hex"))
}

export function concat(...pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Buffer.concat(pieces))
}

/** A sink that copies what it is given, as it must, and the bytes so far. */
export class Collected {
  readonly chunks: Uint8Array[] = []
  readonly sink = (bytes: Uint8Array): void => void this.chunks.push(bytes.slice())

  get bytes(): Uint8Array<ArrayBuffer> {
    return concat(...this.chunks)
  }
}

/** Every way to cut the bytes in two, and all of them cut into single bytes. */
export function* everySplit(bytes: Uint8Array): Generator<Uint8Array[]> {
  for (let at = 0; at <= bytes.length; at++) yield [bytes.subarray(0, at), bytes.subarray(at)]
  yield Array.from(bytes, (_, i) => bytes.subarray(i, i + 1))
}

/** A copy with the byte at `offset` replaced. */
export function withByte(
  bytes: Uint8Array,
  offset: number,
  value: number,
): Uint8Array<ArrayBuffer> {
  const copy = new Uint8Array(bytes)
  copy[offset] = value
  return copy
}

/** A copy that starts at another address, to get past the aligned paths of checksums. */
export function atAddress(offset: number, bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const copy = new Uint8Array(offset + bytes.length).subarray(offset)
  copy.set(bytes)
  return copy
}
