/** Bytes that can be read at any offset: of a file. */
export interface ByteSource {
  readonly size: number
  /** Fills `target` from `offset` on. Returns how many bytes it got, fewer only at the end. */
  readAt(offset: number, target: Uint8Array): number
}
