import { describe, expect, test } from "bun:test"
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { Proposal, ProposingLog } from "../../src/capture/proposal.ts"
import { ltxFile, page } from "../support/ltx-file.ts"
import { TemporaryDirectory } from "../support/temporary-directory.ts"

const file = (fill: number, timestampMs = 1) =>
  ltxFile({
    header: { minTxid: 5n, timestampMs },
    pages: [page(1, fill)],
    postApplyChecksum: (1n << 63n) | BigInt(fill),
  })

function append(log: ProposingLog, path: string, bytes: Uint8Array): void {
  const writer = log.begin("a.db", 5n, path)
  writer.append(bytes.subarray(0, 10))
  writer.append(bytes.subarray(10))
  writer.commit()
}

function proposalOf(act: () => void): Proposal {
  try {
    act()
  } catch (error) {
    if (error instanceof Proposal) return error
    throw error
  }
  throw new Error("nothing was proposed")
}

describe("ProposingLog", () => {
  test("proposes a transaction, and makes what was accepted durable when it comes again", () => {
    using directory = new TemporaryDirectory()
    const path = join(directory.path, "5.ltx")
    const log = new ProposingLog()
    const proposal = proposalOf(() => append(log, path, file(7)))
    expect(Buffer.from(proposal.bytes).equals(Buffer.from(file(7)))).toBe(true)
    expect(existsSync(path)).toBe(false)
    log.accept(proposal, () => append(log, path, file(7, 2)))
    expect(readFileSync(path).equals(Buffer.from(file(7)))).toBe(true)
  })

  test("refuses another transaction than the one that was accepted, and leaves no file", () => {
    using directory = new TemporaryDirectory()
    const path = join(directory.path, "5.ltx")
    const log = new ProposingLog()
    const proposal = proposalOf(() => append(log, path, file(7)))
    expect(() => log.accept(proposal, () => append(log, path, file(8)))).toThrow(
      /was changed while/,
    )
    expect(existsSync(path)).toBe(false)
    proposalOf(() => append(log, path, file(7))) // what was accepted is not kept for later
  })

  test("a transaction that turns out to be none needs nobody's word, also when the lock is lost", () => {
    const log = new ProposingLog()
    log.shut()
    log.begin("a.db", 5n, "/nowhere/5.ltx").discard()
    expect(() => append(log, "/nowhere/5.ltx", file(7))).toThrow(/no longer borrowed/)
  })
})
