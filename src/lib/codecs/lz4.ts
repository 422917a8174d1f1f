/**
 * The LZ4 frame format, streaming both ways, around the block functions of `lz4-block.ts`.
 *
 *     magic 04 22 4d 18
 *     FLG   bits 7–6: version 01, 5: independent blocks, 4: block checksums, 3: content size,
 *           2: content checksum, 0: dictionary
 *     BD    bits 6–4: largest block, 4: 64 KiB … 7: 4 MiB
 *     [u64 content size] [u32 dictionary ID]
 *     HC    second byte of xxh32 of the above, magic excluded
 *     blocks: u32 size (bit 31: stored, not compressed), data, [u32 xxh32 of data]
 *     u32 0
 *     [u32 xxh32 of the content]
 *
 * All little endian. We write what LiteFS writes: independent blocks of 64 KiB and a content checksum. We read every
 * frame except those that need a dictionary or earlier blocks, which LiteFS never makes.
 */

import { assert, unreachable } from "../assert.ts"
import { readU32LE, writeU32LE } from "../bytes.ts"
import { Gather } from "../gather.ts"
import { compressLz4Block, decompressLz4Block, maxLz4BlockSize } from "./lz4-block.ts"
import { Xxh32 } from "./xxh32.ts"

/** Takes bytes. They are borrowed: valid until the call returns. */
export type ByteSink = (bytes: Uint8Array) => void

const MAGIC_SIZE = 4
const HEADER = Uint8Array.of(0x04, 0x22, 0x4d, 0x18, 0x64, 0x40, 0xa7)
const BLOCK_SIZE = 64 * 1024
const STORED = 0x80000000
const FLG_INDEPENDENT = 0x20
const FLG_BLOCK_CHECKSUM = 0x10
const FLG_CONTENT_SIZE = 0x08
const FLG_CONTENT_CHECKSUM = 0x04
const FLG_DICTIONARY = 0x01

/** Compresses a stream. One frame goes from the first `write` to `end`; then the next one begins. */
export class Lz4FrameEncoder {
  readonly #sink: ByteSink
  readonly #content = new Uint8Array(BLOCK_SIZE)
  #contentSize = 0
  /** Room for the frame header and a block size, then the block: one chunk for the sink. */
  readonly #output = new Uint8Array(HEADER.length + 4 + maxLz4BlockSize(BLOCK_SIZE))
  readonly #block = this.#output.subarray(HEADER.length + 4)
  readonly #hash = new Xxh32()
  #headerWritten = false

  constructor(sink: ByteSink) {
    this.#sink = sink
    this.#output.set(HEADER)
  }

  write(bytes: Uint8Array): void {
    const room = BLOCK_SIZE - this.#contentSize
    if (bytes.length <= room) {
      this.#content.set(bytes, this.#contentSize)
      this.#contentSize += bytes.length
      return
    }
    for (let done = 0; done < bytes.length; ) {
      if (this.#contentSize === BLOCK_SIZE) this.#writeBlock()
      const part = Math.min(BLOCK_SIZE - this.#contentSize, bytes.length - done)
      this.#content.set(bytes.subarray(done, done + part), this.#contentSize)
      this.#contentSize += part
      done += part
    }
  }

  end(): void {
    if (this.#contentSize > 0) this.#writeBlock()
    const start = this.#startOfChunk()
    writeU32LE(this.#output, HEADER.length, 0)
    writeU32LE(this.#output, HEADER.length + 4, this.#hash.digest())
    this.#sink(this.#output.subarray(start, HEADER.length + 8))
    this.reset()
  }

  /** Discards an unfinished frame. */
  reset(): void {
    this.#contentSize = 0
    this.#headerWritten = false
    this.#hash.reset()
  }

  #writeBlock(): void {
    const size = this.#contentSize
    this.#hash.update(this.#content, 0, size)
    let blockSize = compressLz4Block(this.#content, size, this.#block)
    writeU32LE(this.#output, HEADER.length, blockSize > 0 ? blockSize : size | STORED)
    if (blockSize === 0) {
      this.#block.set(size === BLOCK_SIZE ? this.#content : this.#content.subarray(0, size))
      blockSize = size
    }
    this.#sink(this.#output.subarray(this.#startOfChunk(), HEADER.length + 4 + blockSize))
    this.#contentSize = 0
  }

  /** The first chunk of a frame includes the frame header. */
  #startOfChunk(): number {
    const start = this.#headerWritten ? HEADER.length : 0
    this.#headerWritten = true
    return start
  }
}

type DecoderState = "header" | "headerRest" | "blockSize" | "block" | "contentChecksum" | "finished"

/** Decompresses one frame. A damaged one is a RangeError. */
export class Lz4FrameDecoder {
  readonly #sink: ByteSink
  readonly #gather = new Gather()
  readonly #hash = new Xxh32()
  #state: DecoderState = "header"
  /** Size of the next record. */
  #recordSize = MAGIC_SIZE + 2
  #flags = 0
  #blockStored = false
  #maxBlockSize = 0
  #contentSize = 0
  #declaredContentSize: number | undefined
  /** One block. Grows to the largest block size that a frame has declared. */
  #output = new Uint8Array(0)

  constructor(sink: ByteSink) {
    this.#sink = sink
  }

  get finished(): boolean {
    return this.#state === "finished"
  }

  /** Makes the decoder ready for another frame. */
  reset(): void {
    this.#gather.reset()
    this.#hash.reset()
    this.#contentSize = 0
    this.#declaredContentSize = undefined
    this.#expect("header", MAGIC_SIZE + 2)
  }

  /** Takes input up to the end of the frame. Returns how many bytes it took. */
  push(bytes: Uint8Array): number {
    let at = 0
    while (at < bytes.length && this.#state !== "finished") {
      const record = this.#gather.take(bytes, at, this.#recordSize)
      at += this.#gather.used
      if (record === undefined) break
      this.#record(record)
    }
    return at
  }

  #record(record: Uint8Array): void {
    switch (this.#state) {
      case "header":
        this.#header(record)
        break
      case "headerRest":
        this.#headerRest(record)
        break
      case "blockSize":
        this.#blockSize(readU32LE(record, 0))
        break
      case "block":
        this.#block(record)
        break
      case "contentChecksum":
        if (readU32LE(record, 0) !== this.#hash.digest()) throw damaged("content checksum mismatch")
        this.#expect("finished", 0)
        break
      case "finished":
        assert(false, "An LZ4 frame has no record after its end")
        break
      default:
        unreachable(this.#state)
    }
  }

  #header(header: Uint8Array): void {
    for (let i = 0; i < MAGIC_SIZE; i++) {
      if (header[i] !== HEADER[i]) throw damaged("it does not start with 04224d18")
    }
    this.#flags = header[MAGIC_SIZE] as number
    const sizeCode = ((header[MAGIC_SIZE + 1] as number) >>> 4) & 7
    if (this.#flags >>> 6 !== 1) throw damaged(`its version is ${this.#flags >>> 6}, expected 1`)
    if (this.#has(FLG_DICTIONARY)) throw damaged("it needs a dictionary")
    if (!this.#has(FLG_INDEPENDENT)) throw damaged("its blocks depend on each other")
    if (sizeCode < 4) throw damaged(`its block size is ${sizeCode}, expected 4 to 7`)
    this.#maxBlockSize = BLOCK_SIZE << (2 * (sizeCode - 4))
    this.#hash.update(header, MAGIC_SIZE)
    this.#expect("headerRest", this.#has(FLG_CONTENT_SIZE) ? 9 : 1)
  }

  #headerRest(rest: Uint8Array): void {
    const checksumAt = rest.length - 1
    const checksum = (this.#hash.update(rest, 0, checksumAt).digest() >>> 8) & 0xff
    if (checksum !== rest[checksumAt]) throw damaged("header checksum mismatch")
    this.#hash.reset()
    if (this.#has(FLG_CONTENT_SIZE)) {
      this.#declaredContentSize = readU32LE(rest, 0) + readU32LE(rest, 4) * 2 ** 32
    }
    if (this.#output.length < this.#maxBlockSize) this.#output = new Uint8Array(this.#maxBlockSize)
    this.#expect("blockSize", 4)
  }

  #blockSize(word: number): void {
    if (word === 0) {
      this.#endMark()
      return
    }
    this.#blockStored = word >= STORED
    const size = this.#blockStored ? word - STORED : word
    if (size > this.#maxBlockSize) {
      throw damaged(`a block has ${size} bytes, expected at most ${this.#maxBlockSize}`)
    }
    this.#expect("block", this.#has(FLG_BLOCK_CHECKSUM) ? size + 4 : size)
  }

  #block(record: Uint8Array): void {
    let size = record.length
    if (this.#has(FLG_BLOCK_CHECKSUM)) {
      size -= 4
      const checksum = new Xxh32().update(record, 0, size).digest()
      if (checksum !== readU32LE(record, size)) throw damaged("block checksum mismatch")
    }
    const content = this.#blockStored
      ? record.subarray(0, size)
      : this.#output.subarray(0, decompressLz4Block(record, 0, size, this.#output))
    // Nobody writes one, and a file could have any number of them: it would grow without a page more.
    if (content.length === 0) throw damaged("a block holds nothing")
    if (content.length > this.#maxBlockSize) {
      throw damaged(`a block holds ${content.length} bytes, expected at most ${this.#maxBlockSize}`)
    }
    this.#contentSize += content.length
    if (this.#has(FLG_CONTENT_CHECKSUM)) this.#hash.update(content)
    this.#expect("blockSize", 4)
    this.#sink(content)
  }

  #endMark(): void {
    const declared = this.#declaredContentSize
    if (declared !== undefined && declared !== this.#contentSize) {
      throw damaged(`it holds ${this.#contentSize} bytes, declared are ${declared}`)
    }
    if (this.#has(FLG_CONTENT_CHECKSUM)) this.#expect("contentChecksum", 4)
    else this.#expect("finished", 0)
  }

  #has(flag: number): boolean {
    return (this.#flags & flag) !== 0
  }

  #expect(state: DecoderState, recordSize: number): void {
    this.#state = state
    this.#recordSize = recordSize
  }
}

function damaged(problem: string): RangeError {
  return new RangeError(`Cannot decompress LZ4 frame: ${problem}`)
}
