/** An array of bytes where a file is expected. */
import type { ByteSource } from "../../src/lib/byte-source.ts"

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
