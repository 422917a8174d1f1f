/** Blocks of the LZ4 format, as small as LZ4 makes them, by Debian's `lz4`. */
import { readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { run } from "./command.ts"
import { needProgram } from "./debian.ts"

/** Of each block when it is decompressed; the last one may be shorter. */
export const BLOCK_SIZE = 1 << 20

const MAGIC = 0x184d2204
const IS_UNCOMPRESSED = 0x8000_0000

/**
 * Compresses bytes as blocks that do not need each other.
 *
 * `lz4` writes a frame: magic, flags, block descriptor, header sum (7 bytes), then each block after its size (u32), where
 * the highest bit says that it is not compressed, then a size of 0.
 */
export async function compressBlocks(bytes: Uint8Array, directory: string): Promise<Uint8Array[]> {
  await needProgram("lz4", "lz4")
  const [plain, packed] = [join(directory, "plain"), join(directory, "plain.lz4")]
  writeFileSync(plain, bytes)
  await run(["lz4", "-q", "-f", "-12", "-B6", "-BI", "--no-frame-crc", plain, packed])
  const frame = readFileSync(packed)
  for (const path of [plain, packed]) rmSync(path)

  if (frame.readUInt32LE(0) !== MAGIC) throw new Error("Cannot read what lz4 has written: no frame")
  const blocks: Uint8Array[] = []
  let offset = 7
  for (let size = frame.readUInt32LE(offset); size !== 0; size = frame.readUInt32LE(offset)) {
    const raw = bytes.subarray(blocks.length * BLOCK_SIZE, (blocks.length + 1) * BLOCK_SIZE)
    const isCompressed = size < IS_UNCOMPRESSED
    const stored = size & ~IS_UNCOMPRESSED
    const block = frame.subarray(offset + 4, offset + 4 + stored)
    blocks.push(isCompressed ? block : literalBlock(raw))
    offset += 4 + stored
  }
  if (blocks.length !== Math.ceil(bytes.length / BLOCK_SIZE)) {
    throw new Error(`Cannot read what lz4 has written: ${blocks.length} blocks`)
  }
  return blocks
}

/** A block of nothing but literals: one token, their number, they themselves. */
export function literalBlock(raw: Uint8Array): Uint8Array {
  const rest = raw.length - 15
  if (rest < 0) return Buffer.concat([Uint8Array.of(raw.length << 4), raw])
  const count = Buffer.alloc(Math.floor(rest / 255) + 1, 255)
  count[count.length - 1] = rest % 255
  return Buffer.concat([Uint8Array.of(0xf0), count, raw])
}
