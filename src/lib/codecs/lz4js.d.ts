/** The one function of lz4js that we use: see `lz4-block.ts`. */
declare module "lz4js" {
  /**
   * Compresses `source[start, start + size)` into `target` from 0 on. Returns the compressed size, or 0 if it found no
   * match. `hashTable` has 65536 entries and must be all zero.
   */
  export function compressBlock(
    source: Uint8Array,
    target: Uint8Array,
    start: number,
    size: number,
    hashTable: Uint32Array,
  ): number
}
