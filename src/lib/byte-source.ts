/** Bytes that can be read at any offset: a file, or an array in a test. */
export interface ByteSource {
  readonly size: number
  /** Fills `target` from `offset` on. Returns how many bytes it got, fewer only at the end. */
  readAt(offset: number, target: Uint8Array): number
}

export function bytesSource(bytes: Uint8Array): ByteSource {
  return {
    size: bytes.length,
    readAt(offset, target) {
      const part = bytes.subarray(offset, offset + target.length)
      target.set(part)
      return part.length
    },
  }
}
