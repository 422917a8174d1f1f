/** LTX files: from other nodes, and from a directory that another program may have written to. */
import { Crc64 } from "../../src/lib/codecs/crc64.ts"
import { Lz4FrameDecoder, Lz4FrameEncoder } from "../../src/lib/codecs/lz4.ts"
import { CHECKSUM_FLAG, ChecksumAccumulator } from "../../src/ltx/checksum.ts"
import { compactLtxFiles } from "../../src/ltx/compactor.ts"
import { LtxDecoder } from "../../src/ltx/decoder.ts"
import { LtxEncoder } from "../../src/ltx/encoder.ts"
import { decodeLtxHeader, encodeLtxHeader, LTX_HEADER_SIZE } from "../../src/ltx/header.ts"
import { Collected, concat } from "../support/bytes.ts"
import { decodeLtxFile, ltxFile, page } from "../support/ltx-file.ts"
import { Random } from "../support/random.ts"
import { goldenSeeds } from "./golden-seeds.ts"
import { refusesAsRange, type Target } from "./target.ts"

function transaction(txid: number, isCompressed: boolean): Uint8Array {
  const noise = new Random(txid)
  const data = noise.compressible(512)
  const minTxid = BigInt(txid)
  return ltxFile({
    header: { flags: isCompressed ? 1 : 0, minTxid, maxTxid: minTxid, commit: 3 },
    pages:
      txid === 1 ? [page(1, 1), page(2, 0), { pgno: 3, data }] : [page(1, txid), { pgno: 3, data }],
  })
}

const FILES = [1, 2, 3].flatMap((txid) => [transaction(txid, true), transaction(txid, false)])

const header: Target = {
  name: "ltx-header",
  seeds: () => FILES.map((file) => file.subarray(0, LTX_HEADER_SIZE)),
  run(input) {
    const again = encodeLtxHeader(decodeLtxHeader(input))
    if (Buffer.compare(again, input) !== 0) throw new Error("it is encoded in another way")
  },
  refuses: refusesAsRange,
}

/** The same however it arrives. */
const file: Target = {
  name: "ltx-file",
  seeds: () => [...FILES, ...goldenSeeds(/\.ltx$/)],
  run(input, random) {
    const whole = outcomeOf([input])
    const pieces = outcomeOf(random.split(input))
    if (whole.text !== pieces.text) throw new Error(`whole ${whole.text}, in pieces ${pieces.text}`)
    if (whole.error !== undefined) throw whole.error
  },
  refuses: refusesAsRange,
  repair: sumUncompressed,
}

function outcomeOf(pieces: readonly Uint8Array[]): { text: string; error?: unknown } {
  const sum = new Crc64()
  const decoder = new LtxDecoder({ page: (_pgno, data) => void sum.update(data) })
  try {
    for (const piece of pieces) decoder.push(piece)
    decoder.end()
    return { text: `ok ${sum.digest()}` }
  } catch (error) {
    return { text: "refused", error }
  }
}

/** The checksum at the end of a file that is not compressed. */
function sumUncompressed(input: Uint8Array): void {
  if (input.length < LTX_HEADER_SIZE + 16) return
  input[7] = 0
  const end = input.length - 8
  const sum = new Crc64().update(input, 0, end).digest()
  new DataView(input.buffer, input.byteOffset).setBigUint64(end, CHECKSUM_FLAG | sum)
}

/** Files with their sizes before them. What comes out is a good file. */
const compactor: Target = {
  name: "ltx-compactor",
  seeds: () => [
    withSizes(...FILES.filter((_, index) => index % 2 === 0)),
    withSizes(...FILES.filter((_, index) => index % 2 === 1)),
    withSizes(...FILES.slice(2, 4)),
    withSizes(...chain()),
  ],
  run(input, random) {
    const files = split(input).map((each) => random.split(each))
    if (files.length === 0) return
    const result = new Collected()
    compactLtxFiles(files, new LtxEncoder(result.sink))
    try {
      decodeLtxFile(result.bytes)
    } catch (error) {
      throw new Error("what it made cannot be read", { cause: error })
    }
  },
  refuses: refusesAsRange,
  repair(input) {
    for (const each of split(input)) if ((each[7] as number) === 0) sumUncompressed(each)
  },
}

/** They follow on each other. */
function chain(): Uint8Array[] {
  const files: Uint8Array[] = []
  let preApplyChecksum = 0n
  for (let txid = 1n; txid <= 3n; txid++) {
    const last = page(2, Number(txid))
    const sum = new ChecksumAccumulator().reset()
    for (const { pgno, data } of [page(1, 1), last]) sum.togglePage(pgno, data)
    const header = { flags: 0, commit: 2, minTxid: txid, maxTxid: txid, preApplyChecksum }
    const pages = txid === 1n ? [page(1, 1), last] : [last]
    files.push(ltxFile({ header, pages, postApplyChecksum: sum.checksum }))
    preApplyChecksum = sum.checksum
  }
  return files
}

function withSizes(...files: readonly Uint8Array[]): Uint8Array {
  return concat(
    ...files.flatMap((each) => {
      const size = new Uint8Array(4)
      new DataView(size.buffer).setUint32(0, each.length)
      return [size, each]
    }),
  )
}

function split(input: Uint8Array): Uint8Array[] {
  const files: Uint8Array[] = []
  const view = new DataView(input.buffer, input.byteOffset, input.length)
  for (let at = 0; at + 4 <= input.length && files.length < 8; ) {
    const size = view.getUint32(at)
    files.push(input.subarray(at + 4, at + 4 + size))
    at += 4 + size
  }
  return files
}

const lz4: Target = {
  name: "lz4",
  seeds: () =>
    [0, 1, 100, 70_000].map((size) => {
      const frame = new Collected()
      const encoder = new Lz4FrameEncoder(frame.sink)
      encoder.write(new Random(size).compressible(size))
      encoder.end()
      return frame.bytes
    }),
  run(input, random) {
    const outcome = (pieces: readonly Uint8Array[]) => {
      let [size, used] = [0, 0]
      const decoder = new Lz4FrameDecoder((bytes) => {
        size += bytes.length
      })
      for (const piece of pieces) {
        for (let at = 0; at < piece.length && !decoder.finished; ) {
          const taken = decoder.push(piece.subarray(at))
          at += taken
          used += taken
        }
      }
      return `${size} of ${used}`
    }
    const whole = outcome([input])
    if (outcome(random.split(input)) !== whole) throw new Error("in pieces it is something else")
  },
  refuses: refusesAsRange,
}

export const LTX_TARGETS: readonly Target[] = [header, file, compactor, lz4]
