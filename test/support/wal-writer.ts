/** Makes WAL frames as a writer does that knows of as many frames as the test says. */
import {
  decodeWalHeader,
  encodeWalFrame,
  encodeWalHeader,
  WAL_FRAME_HEADER_SIZE,
  WalChecksum,
  type WalHeader,
  walFrameOffset,
  walFrameSize,
} from "../../src/sqlite/wal.ts"
import type { FileWrite } from "./wal-writes.ts"

export interface WalPage {
  readonly pgno: number
  readonly data: Uint8Array
}

export class WalWriter {
  readonly pageSize: number
  /** Frames that the writer knows of: where its next frame goes. */
  frameCount = 0
  #header: WalHeader
  #headerBytes: Uint8Array
  #checksums: [number, number][] = [] // after each frame

  constructor(pageSize: number, salt = 1) {
    this.pageSize = pageSize
    this.#headerBytes = this.#makeHeader(salt)
    this.#header = decodeWalHeader(this.#headerBytes) as WalHeader
  }

  #makeHeader(salt: number): Uint8Array {
    return encodeWalHeader({
      bigEndianChecksum: false,
      pageSize: this.pageSize,
      checkpointSequence: salt,
      salt1: salt,
      salt2: salt * 1000003,
    })
  }

  get header(): FileWrite {
    return { offset: 0, bytes: this.#headerBytes }
  }

  /** Begins the log again with other salts. */
  restart(salt: number): FileWrite {
    this.#headerBytes = this.#makeHeader(salt)
    this.#header = decodeWalHeader(this.#headerBytes) as WalHeader
    this.frameCount = 0
    this.#checksums = []
    return this.header
  }

  /** Frames of these pages; the last one commits, when `commit` is not 0. Each is a write of a header and of a page. */
  frames(pages: readonly WalPage[], commit: number): FileWrite[] {
    const writes: FileWrite[] = []
    for (const [index, { pgno, data }] of pages.entries()) {
      const chain = new WalChecksum().set(...this.#chainAt(this.frameCount))
      const bytes = new Uint8Array(walFrameSize(this.pageSize))
      const isLast = index === pages.length - 1
      encodeWalFrame(bytes, 0, this.#header, chain, { pgno, commit: isLast ? commit : 0 }, data)
      const offset = this.offset(this.frameCount)
      writes.push({ offset, bytes: bytes.slice(0, WAL_FRAME_HEADER_SIZE) })
      writes.push({
        offset: offset + WAL_FRAME_HEADER_SIZE,
        bytes: bytes.slice(WAL_FRAME_HEADER_SIZE),
      })
      this.#checksums[this.frameCount] = [chain.s0, chain.s1]
      this.frameCount += 1
    }
    return writes
  }

  offset(frame: number): number {
    return walFrameOffset(frame, this.pageSize)
  }

  #chainAt(frame: number): [number, number] {
    const { checksum1, checksum2 } = this.#header
    return frame === 0 ? [checksum1, checksum2] : (this.#checksums[frame - 1] as [number, number])
  }
}
