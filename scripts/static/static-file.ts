/**
 * Puts the loader, musl's libc and an executable together to one static file; `src/loader/loader.c` has its layout.
 *
 * The executable is what Bun makes for musl. It needs libstdc++, and would look for it under that name; it gets the name
 * of the file itself, which is as long.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Loader } from "./loader.ts"
import { BLOCK_SIZE, compressBlocks } from "./lz4.ts"

export type Form = "plain" | "small"

/** The largest page of the systems we run on; what is mapped begins at a multiple of it. */
const ALIGNMENT = 65536
const LIBRARY = "libstdc++.so.6\0"
const OWN_FILE = "/proc/self/exe\0"
const PAYLOAD_MAGIC = Buffer.from("litefs\0\x01", "latin1")
const PAYLOAD_SIZE = 48
const BLOCK_ENTRY_SIZE = 32

const ELF_HEADER_SIZE = 64
const PROGRAM_HEADER_SIZE = 56
const SEGMENT_LOAD = 1

export async function writeStaticFile(
  path: string,
  form: Form,
  loader: Loader,
  executable: string,
): Promise<void> {
  const file = new GrowingFile(readFileSync(loader.path))
  const libcOffset = file.append(readFileSync(loader.libcPath), ALIGNMENT)
  const runtime = withOwnLibrary(readFileSync(executable))
  let payload: Payload
  if (form === "plain") {
    const runtimeOffset = file.append(runtime, ALIGNMENT)
    payload = { libcOffset, runtimeOffset, blockCount: 0, blocksOffset: 0 }
  } else {
    const runtimeOffset = file.append(headersOf(runtime), ALIGNMENT)
    payload = { libcOffset, runtimeOffset, ...(await appendBlocks(file, runtime)) }
  }
  const bytes = file.bytes()
  fillIn(bytes, payload)
  writeFileSync(path, bytes, { mode: 0o755 })
}

interface Payload {
  readonly libcOffset: number
  readonly runtimeOffset: number
  readonly blockCount: number
  readonly blocksOffset: number
}

class GrowingFile {
  readonly #parts: Uint8Array[]
  #size: number

  constructor(start: Uint8Array) {
    this.#parts = [start]
    this.#size = start.length
  }

  /** Returns the offset, a multiple of `alignment`. */
  append(bytes: Uint8Array, alignment: number): number {
    const offset = Math.ceil(this.#size / alignment) * alignment
    this.#parts.push(new Uint8Array(offset - this.#size), bytes)
    this.#size = offset + bytes.length
    return offset
  }

  bytes(): Buffer {
    return Buffer.concat(this.#parts)
  }
}

function withOwnLibrary(runtime: Buffer): Buffer {
  const at = runtime.indexOf(LIBRARY)
  if (at < 0 || runtime.indexOf(LIBRARY, at + 1) >= 0) {
    throw new Error("Cannot make a static file: the runtime does not name libstdc++ exactly once")
  }
  runtime.write(OWN_FILE, at, "latin1")
  return runtime
}

interface Segment {
  readonly offset: number
  readonly address: number
  readonly size: number
}

/** What is loaded of an ELF file of 64 bits. */
function segmentsOf(elf: Buffer): Segment[] {
  const table = Number(elf.readBigUInt64LE(32))
  const count = elf.readUInt16LE(56)
  const headers = Array.from({ length: count }, (_, index) => table + index * PROGRAM_HEADER_SIZE)
  return headers
    .filter((at) => elf.readUInt32LE(at) === SEGMENT_LOAD)
    .map((at) => ({
      offset: Number(elf.readBigUInt64LE(at + 8)),
      address: Number(elf.readBigUInt64LE(at + 16)),
      size: Number(elf.readBigUInt64LE(at + 32)),
    }))
}

function headersOf(elf: Buffer): Buffer {
  const [table, count] = [Number(elf.readBigUInt64LE(32)), elf.readUInt16LE(56)]
  if (table !== ELF_HEADER_SIZE) {
    throw new Error("Cannot make a static file: the program headers do not follow the ELF header")
  }
  return elf.subarray(0, table + count * PROGRAM_HEADER_SIZE)
}

async function appendBlocks(file: GrowingFile, runtime: Buffer) {
  const directory = mkdtempSync(join(tmpdir(), "litefs-lz4-"))
  try {
    const blocks: { bytes: Uint8Array; address: number; rawSize: number }[] = []
    for (const { offset, address, size } of segmentsOf(runtime)) {
      const raw = runtime.subarray(offset, offset + size)
      for (const [index, bytes] of (await compressBlocks(raw, directory)).entries()) {
        const from = index * BLOCK_SIZE
        blocks.push({ bytes, address: address + from, rawSize: Math.min(BLOCK_SIZE, size - from) })
      }
    }
    const table = Buffer.alloc(blocks.length * BLOCK_ENTRY_SIZE)
    const blocksOffset = file.append(table, 16)
    for (const [index, { bytes, address, rawSize }] of blocks.entries()) {
      const at = index * BLOCK_ENTRY_SIZE
      table.writeBigUInt64LE(BigInt(file.append(bytes, 1)), at)
      table.writeBigUInt64LE(BigInt(bytes.length), at + 8)
      table.writeBigUInt64LE(BigInt(address), at + 16)
      table.writeBigUInt64LE(BigInt(rawSize), at + 24)
    }
    return { blockCount: blocks.length, blocksOffset }
  } finally {
    rmSync(directory, { recursive: true })
  }
}

function fillIn(file: Buffer, payload: Payload): void {
  const at = file.indexOf(PAYLOAD_MAGIC)
  if (at < 0 || file.subarray(at + 8, at + PAYLOAD_SIZE).some((byte) => byte !== 0)) {
    throw new Error("Cannot make a static file: the loader has no empty payload")
  }
  const { libcOffset, runtimeOffset, blockCount, blocksOffset } = payload
  for (const [index, value] of [
    file.length,
    libcOffset,
    runtimeOffset,
    blockCount,
    blocksOffset,
  ].entries()) {
    file.writeBigUInt64LE(BigInt(value), at + 8 * (index + 1))
  }
}
