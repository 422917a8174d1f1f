/** What a power cut at any moment leaves of a takeover: see test/support/power-cut.ts. */
import { expect, test } from "bun:test"
import { spawnSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { writeKeptDatabase } from "../../src/diverged/kept-database.ts"
import { type KeptHistory, listKept } from "../../src/diverged/kept-history.ts"
import { recoverDatabases } from "../../src/recovery/recover.ts"
import { DataDir } from "../../src/store/data-dir.ts"
import { Positions } from "../../src/store/positions.ts"
import { asDatabase, IMAGE_PAGE_SIZE, imageFile } from "../support/image-file.ts"
import { FATES, readTrace, TracedDirectory } from "../support/power-cut.ts"
import { testRandom } from "../support/random.ts"
import { RecordedLog } from "../support/recorded-log.ts"

const PROGRAM = join(import.meta.dir, "../support/takeover-program.ts")
const random = testRandom()

test("a power cut at any moment of a takeover leaves the old state or the new, and then the old one kept", () => {
  const directory = mkdtempSync(join(tmpdir(), "litefs-cut-"))
  try {
    const [old, next] = [
      asDatabase(random.bytes(4 * IMAGE_PAGE_SIZE)),
      asDatabase(random.bytes(5 * IMAGE_PAGE_SIZE)),
    ]
    const files = [
      { image: old, maxTxid: 9n },
      { image: next, maxTxid: 6n },
    ].map(({ image, maxTxid }) => {
      const path = join(directory, `${maxTxid}.ltx`)
      writeFileSync(path, imageFile(image, { minTxid: 1n, maxTxid }))
      return path
    })
    const [root, tracePath] = [join(directory, "data"), join(directory, "trace")]
    const { status, stdout, stderr } = spawnSync(process.execPath, [PROGRAM, root, ...files], {
      env: { ...process.env, LITEFS_TRACE: tracePath },
      encoding: "utf8",
    })
    if (status !== 0) throw new Error(stderr)
    const [oldAt = 0, nextAt = 0] = stdout.trim().split("\n").map(Number)
    const events = readTrace(tracePath)
    const traced = new TracedDirectory(root, events)
    const seen = new Set<bigint>()
    for (const { end } of events.filter(({ end }) => end >= oldAt)) {
      traced.advance(end)
      for (const inOrder of [true, false]) {
        const target = join(directory, "cut")
        traced.cut(target, { random, data: random.pick(FATES), names: random.pick(FATES), inOrder })
        const dataDir = new DataDir(target)
        const log = new RecordedLog().logger
        const state = recoverDatabases(dataDir, Positions.create(), log).get("app.db")
        const file = new Uint8Array(readFileSync(dataDir.path("app.db", "database")))
        const { histories, otherNames } = listKept(dataDir)
        expect(otherNames).toEqual([])
        const txid = state?.pos.txid ?? 0n
        seen.add(txid)
        if (end < nextAt && txid === 9n) {
          expect(file).toEqual(old)
          expect(histories).toEqual([])
        } else {
          expect(txid).toBe(6n)
          expect(file).toEqual(next)
          expect(histories.length).toBe(1)
          const path = join(directory, "kept")
          writeKeptDatabase(histories[0] as KeptHistory, path)
          expect(new Uint8Array(readFileSync(path))).toEqual(old)
          rmSync(path)
        }
        rmSync(target, { recursive: true })
      }
    }
    expect(seen).toEqual(new Set([6n, 9n]))
  } finally {
    rmSync(directory, { recursive: true })
  }
}, 60_000)
