import { describe, expect, test } from "bun:test"
import { ChecksumAccumulator, EMPTY_CHECKSUM } from "../../src/ltx/checksum.ts"
import { compactLtxFiles } from "../../src/ltx/compactor.ts"
import { LtxEncoder } from "../../src/ltx/encoder.ts"
import { formatLtxFileName, parseLtxFileName } from "../../src/ltx/file-name.ts"
import { isCompressed } from "../../src/ltx/header.ts"
import { formatChecksum, formatPos, formatTxid } from "../../src/ltx/pos.ts"
import { Collected, everySplit } from "../support/bytes.ts"
import {
  goldenScenarios,
  hasGolden,
  listGolden,
  readGolden,
  readGoldenText,
} from "../support/golden.ts"
import { type DecodedLtxFile, decodeLtxFile } from "../support/ltx-file.ts"
import { testRandom } from "../support/random.ts"

const random = testRandom()

interface Manifest {
  readonly final: { readonly pos: string }
  readonly steps: readonly { readonly pos: string; readonly new_ltx: readonly string[] }[]
}

function ltxNames(scenario: string): string[] {
  return listGolden(scenario, "ltx")
}

/** What the original's `ltx list` prints of a file, but for the time. */
function listLine({ header: h, pages, trailer }: DecodedLtxFile): string {
  const salts = [h.walSalt1, h.walSalt2].map((salt) => salt.toString(16).padStart(8, "0"))
  return [
    formatTxid(h.minTxid),
    formatTxid(h.maxTxid),
    h.commit,
    pages.length,
    formatChecksum(h.preApplyChecksum),
    formatChecksum(trailer.postApplyChecksum),
    `${new Date(h.timestampMs).toISOString().slice(0, 19)}Z`,
    h.walOffset,
    h.walSize,
    ...salts,
  ].join(" ")
}

/** The page numbers of each file that the original's `ltx dump` prints. */
function dumpedPgnos(scenario: string): Map<string, number[]> {
  const sections = readGoldenText(scenario, "ltx-dump.txt").split(/^### /m).slice(1)
  return new Map(
    sections.map((section) => [
      section.slice(0, section.indexOf("\n")).trim(),
      Array.from(section.matchAll(/^Frame #\d+: pgno=(\d+)$/gm), ([, pgno]) => Number(pgno)),
    ]),
  )
}

function encodeAgain({ header, pages, trailer }: DecodedLtxFile): Uint8Array {
  const file = new Collected()
  const encoder = new LtxEncoder(file.sink)
  encoder.header(header)
  for (const { pgno, data } of pages) encoder.page(pgno, data)
  expect(encoder.close(trailer.postApplyChecksum)).toEqual(trailer)
  return file.bytes
}

/** A database to which LTX files are applied, with its checksum rolling along. */
class Replayed {
  pages = new Map<number, Uint8Array>()
  readonly sum = new ChecksumAccumulator()

  apply({ header, pages }: DecodedLtxFile): void {
    for (const { pgno, data } of pages) {
      this.#takeOut(pgno)
      this.pages.set(pgno, data)
      this.sum.togglePage(pgno, data)
    }
    for (const pgno of [...this.pages.keys()]) if (pgno > header.commit) this.#takeOut(pgno)
  }

  get bytes(): Uint8Array {
    const sorted = [...this.pages].sort(([a], [b]) => a - b)
    return Buffer.concat(sorted.map(([, data]) => data))
  }

  #takeOut(pgno: number): void {
    const old = this.pages.get(pgno)
    if (old === undefined) return
    this.sum.togglePage(pgno, old)
    this.pages.delete(pgno)
  }
}

describe.skipIf(!hasGolden)("golden LTX files", () => {
  describe.each(goldenScenarios())("%s", (scenario) => {
    test("LtxDecoder reads what the original lists and dumps", () => {
      const lines = readGoldenText(scenario, "ltx-list.txt").trim().split("\n").slice(1)
      const pgnos = dumpedPgnos(scenario)
      const files = ltxNames(scenario)
      expect(files.length).toBe(lines.length)
      for (const [i, name] of files.entries()) {
        const decoded = decodeLtxFile(readGolden(scenario, "ltx", name))
        expect(listLine(decoded)).toBe((lines[i] ?? "").replaceAll(/ +/g, " "))
        expect(decoded.pages.map(({ pgno }) => pgno)).toEqual(pgnos.get(name) ?? [])
        expect(parseLtxFileName(name)).toEqual({
          minTxid: decoded.header.minTxid,
          maxTxid: decoded.header.maxTxid,
        })
        expect(formatLtxFileName(decoded.header.minTxid, decoded.header.maxTxid)).toBe(name)
      }
    })

    test("LtxEncoder makes files of the same content, and the same bytes without compression", () => {
      for (const name of ltxNames(scenario)) {
        const bytes = readGolden(scenario, "ltx", name)
        const decoded = decodeLtxFile(bytes)
        const again = encodeAgain(decoded)
        expect(decodeLtxFile(again)).toEqual(decoded)
        if (!isCompressed(decoded.header)) expect(Buffer.compare(again, bytes)).toBe(0)
      }
    })

    test("LtxDecoder reads files split anywhere", () => {
      for (const name of ltxNames(scenario)) {
        const bytes = readGolden(scenario, "ltx", name)
        const decoded = decodeLtxFile(bytes)
        expect(decodeLtxFile(random.split(bytes))).toEqual(decoded)
        if (bytes.length > 250) continue
        for (const pieces of everySplit(bytes)) expect(decodeLtxFile(pieces)).toEqual(decoded)
      }
    })

    test("files applied in order give each checksum, and in the end the database", () => {
      const manifest: Manifest = JSON.parse(readGoldenText(scenario, "manifest.json"))
      const database = new Replayed()
      let [txid, checksum] = [0n, 0n]
      for (const name of ltxNames(scenario)) {
        const file = decodeLtxFile(readGolden(scenario, "ltx", name))
        expect(file.header.minTxid).toBe(txid + 1n)
        expect(file.header.preApplyChecksum).toBe(checksum)
        database.apply(file)
        txid = file.header.maxTxid
        checksum = file.trailer.postApplyChecksum
        expect(formatChecksum(database.sum.checksum)).toBe(formatChecksum(checksum))
        if (file.header.commit === 0) expect(checksum).toBe(EMPTY_CHECKSUM)
        const step = manifest.steps.find(({ new_ltx }) => new_ltx.at(-1) === name)
        if (step !== undefined) expect(formatPos({ txid, checksum })).toBe(step.pos)
      }
      expect(formatPos({ txid, checksum })).toBe(manifest.final.pos)
      expect(Buffer.compare(database.bytes, readGolden(scenario, "database"))).toBe(0)
    })

    test("files compacted into one give the database", () => {
      const output = new Collected()
      const names = ltxNames(scenario)
      const files = names.map((name) => [readGolden(scenario, "ltx", name)])
      compactLtxFiles(files, new LtxEncoder(output.sink))
      const { header, pages, trailer } = decodeLtxFile(output.bytes)
      const last = decodeLtxFile(readGolden(scenario, "ltx", names.at(-1) ?? ""))
      expect(header).toMatchObject({ minTxid: 1n, maxTxid: last.header.maxTxid })
      expect(trailer.postApplyChecksum).toBe(last.trailer.postApplyChecksum)
      const database = Buffer.concat(pages.map(({ data }) => data))
      expect(Buffer.compare(database, readGolden(scenario, "database"))).toBe(0)
    })
  })
})
