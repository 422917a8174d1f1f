import { describe, expect, test } from "bun:test"
import { rmSync, writeFileSync } from "node:fs"
import { ancestryOf } from "../../src/http/streams/ancestry.ts"
import type { Pos } from "../../src/ltx/pos.ts"
import { appendPastPositions } from "../../src/store/past-positions.ts"
import { LogDirectory } from "../support/log-directory.ts"
import { ltxFile, page } from "../support/ltx-file.ts"

function pos(txid: number, checksum = txid): Pos {
  return { txid: BigInt(txid), checksum: (1n << 63n) | BigInt(checksum) }
}

/** A primary at TXID 9 that has the LTX files of 5 to 9, and remembers 2 and 3. */
function primary() {
  const directory = new LogDirectory("app.db")
  const { dataDir } = directory
  for (let txid = 5; txid <= 9; txid++) {
    const header = {
      minTxid: BigInt(txid),
      maxTxid: BigInt(txid),
      preApplyChecksum: pos(txid - 1).checksum,
    }
    const file = { header, pages: [page(1, txid)], postApplyChecksum: pos(txid).checksum }
    writeFileSync(directory.ltxPath("app.db", txid), ltxFile(file))
  }
  appendPastPositions(dataDir.pastPath("app.db"), [pos(2), pos(3)])
  return {
    directory,
    judge: (known: Pos) => ancestryOf(dataDir, "app.db", known, pos(9)),
    [Symbol.dispose]: () => directory[Symbol.dispose](),
  }
}

describe("ancestryOf()", () => {
  test.each<[string, Pos, "same" | "other" | undefined]>([
    ["the newest position", pos(9), "same"],
    ["another of the newest TXID", pos(9, 1), "other"],
    ["a position ahead", pos(10), "other"],
    ["the end of an LTX file", pos(6), "same"],
    ["another checksum at the end of one", pos(6, 1), "other"],
    ["the start of the first LTX file", pos(4), "same"],
    ["another checksum at its start", pos(4, 1), "other"],
    ["a position that is remembered", pos(3), "same"],
    ["another checksum of one that is", pos(2, 1), "other"],
    ["a position of which nothing is known", pos(1), undefined],
  ])("ancestryOf() knows %s", (_, known, expected) => {
    using node = primary()
    expect(node.judge(known)).toBe(expected)
  })

  test("ancestryOf() goes by the file before when there is no other", () => {
    using node = primary()
    for (const txid of [7, 9]) rmSync(node.directory.ltxPath("app.db", txid))
    expect(node.judge(pos(6))).toBe("same")
    expect(node.judge(pos(7))).toBe("same") // by where 8 begins
  })
})
