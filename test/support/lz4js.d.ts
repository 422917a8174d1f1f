/** The one function of lz4js that tests compare with. */
declare module "lz4js" {
  /** Decompresses `source[start, start + size)` into `target` from `targetStart` on. Returns the end of it. */
  export function decompressBlock(
    source: Uint8Array,
    target: Uint8Array,
    start: number,
    size: number,
    targetStart: number,
  ): number
}
