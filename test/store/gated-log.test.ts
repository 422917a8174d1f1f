import { expect, test } from "bun:test"
import { readdirSync } from "node:fs"
import { readCommitLog } from "../../src/recovery/log/commit-log-recovery.ts"
import { GatedLog } from "../../src/store/log/gated-log.ts"
import { LogDirectory, transaction } from "../support/log-directory.ts"

/** One that may commit so many more times that anybody looks. */
function leased(directory: LogDirectory, looks: number) {
  const state = { looks }
  const mayCommit = () => state.looks-- > 0
  const gate = new GatedLog(mayCommit)
  gate.open(directory.open({ mayCommit }))
  return { gate, state }
}

function begin(directory: LogDirectory, gate: GatedLog, bytes = transaction(1)) {
  const writer = gate.begin("app.db", 1n, directory.ltxPath("app.db", 1))
  writer.append(bytes)
  return writer
}

test("GatedLog takes a transaction while the lease lives", () => {
  using directory = new LogDirectory("app.db")
  const { gate } = leased(directory, 10)
  expect(gate.isOpen).toBe(true)
  begin(directory, gate).commit()
  expect(readCommitLog(directory.root)).toHaveLength(1)
})

test("GatedLog refuses a commit when the lease has run out since the transaction began", () => {
  using directory = new LogDirectory("app.db")
  const { gate } = leased(directory, 0)
  expect(gate.isOpen).toBe(false)
  const writer = begin(directory, gate)
  expect(() => writer.commit()).toThrow(
    'Cannot commit to database "app.db": the lease of this node has run out',
  )
  expect(readCommitLog(directory.root)).toEqual([])
  writer.discard()
})

test("CommitLog takes back what has become durable after the lease, and goes on with the next", () => {
  using directory = new LogDirectory("app.db")
  const { gate, state } = leased(directory, 1) // before it is written, not after
  const writer = begin(directory, gate)
  expect(() => writer.commit()).toThrow("Cannot commit: the lease has run out meanwhile")
  writer.discard()
  expect(readCommitLog(directory.root)).toEqual([])
  state.looks = 10
  begin(directory, gate).commit()
  expect(readCommitLog(directory.root).map(({ txid }) => txid)).toEqual([1n])
})

test("CommitLog does so with one that bypasses the log, too", () => {
  using directory = new LogDirectory("app.db")
  const { gate } = leased(directory, 1)
  const writer = begin(directory, gate, new Uint8Array(2 * 1024 * 1024))
  expect(() => writer.commit()).toThrow("Cannot commit: the lease has run out meanwhile")
  writer.discard()
  expect(readdirSync(directory.dataDir.ltxDir("app.db"))).toEqual([])
})
