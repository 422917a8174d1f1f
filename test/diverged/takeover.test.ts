import { describe, expect, test } from "bun:test"
import { spawnSync } from "node:child_process"
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { writeKeptDatabase } from "../../src/diverged/kept-database.ts"
import { type KeptHistory, listKept } from "../../src/diverged/kept-history.ts"
import { beginTakeover, finishTakeover } from "../../src/diverged/takeover.ts"
import { droppedState } from "../../src/recovery/dropped-database.ts"
import { recoverDatabases } from "../../src/recovery/recover.ts"
import { DataDir } from "../../src/store/data-dir.ts"
import { LtxDirectory } from "../../src/store/ltx/ltx-directory.ts"
import { Positions } from "../../src/store/positions.ts"
import { imageChecksum } from "../support/captured-database.ts"
import { asDatabase, IMAGE_PAGE_SIZE, imageFile } from "../support/image-file.ts"
import { testRandom } from "../support/random.ts"
import { RecordedLog } from "../support/recorded-log.ts"

const PAGE_SIZE = IMAGE_PAGE_SIZE
const PROGRAM = join(import.meta.dir, "../support/takeover-program.ts")
const random = testRandom()

/** A data directory with a database of four transactions, of which the file has two. */
class Fixture implements Disposable {
  readonly directory = mkdtempSync(join(tmpdir(), "litefs-takeover-"))
  readonly root = join(this.directory, "data")
  readonly dataDir = new DataDir(this.root)
  image: Uint8Array = new Uint8Array(0)
  txid = 0n

  constructor() {
    this.dataDir.create()
    this.dataDir.createDatabase("app.db")
    for (let count = 1; count <= 4; count++) {
      this.append(asDatabase(random.bytes(count * PAGE_SIZE)))
      if (count === 2) writeFileSync(this.dataDir.path("app.db", "database"), this.image)
      if (count === 2) writeFileSync(this.dataDir.syncedPath("app.db"), "0000000000000002\n")
    }
  }

  append(image: Uint8Array): void {
    const checksum = this.txid === 0n ? 0n : imageChecksum(this.image, PAGE_SIZE)
    this.txid += 1n
    const header = { minTxid: this.txid, maxTxid: this.txid, preApplyChecksum: checksum }
    const path = new LtxDirectory(this.dataDir.ltxDir("app.db")).filePath(this.txid, this.txid)
    writeFileSync(path, imageFile(image, header))
    this.image = image
  }

  copy(name: string): DataDir {
    const to = join(this.directory, name)
    cpSync(this.root, to, { recursive: true })
    return new DataDir(to)
  }

  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true })
  }
}

function recovered(dataDir: DataDir) {
  const states = recoverDatabases(dataDir, Positions.create(), new RecordedLog().logger)
  return states.has("app.db") ? states.get("app.db") : droppedState(dataDir, "app.db")
}

function allNames(dataDir: DataDir): string {
  const names = readdirSync(dataDir.root, { recursive: true }) as string[]
  return names.filter((name) => !/^(side|lock)/.test(name)).join("\n")
}

describe("takeover", () => {
  test.each(["kill", "EIO"])(
    "a takeover that ends with %s at any system call leaves the old state or the new, whole, and nothing lies about",
    (action) => {
      using fixture = new Fixture()
      const image = asDatabase(random.bytes(5 * PAGE_SIZE))
      const snapshot = join(fixture.directory, "snapshot.ltx")
      writeFileSync(snapshot, imageFile(image, { minTxid: 1n, maxTxid: 3n }))
      const seen = new Set<bigint>()
      for (const place of random.places(Number.POSITIVE_INFINITY, 4)) {
        const count = place + 1
        const dataDir = fixture.copy(`data-${count}`)
        const { status, signal, stderr } = spawnSync(
          process.execPath,
          [PROGRAM, dataDir.root, snapshot],
          { env: { ...process.env, LITEFS_FAULTS: `*#${count}=${action}` }, encoding: "utf8" },
        )
        if (action === "kill" && signal === null && status !== 0) throw new Error(stderr)
        const state = recovered(dataDir)
        const file = new Uint8Array(readFileSync(dataDir.path("app.db", "database")))
        const { histories, otherNames } = listKept(dataDir)
        expect(otherNames).toEqual([])
        expect(allNames(dataDir)).not.toMatch(/next-|takeover|receiving|\.part/)
        if (state?.pos.txid === 4n) {
          expect(file).toEqual(new Uint8Array(fixture.image))
          expect(histories).toEqual([])
        } else {
          expect(state?.pos.txid).toBe(3n)
          expect(file).toEqual(image)
          expect(histories.length).toBe(1)
          const path = join(fixture.directory, `kept-${count}`)
          writeKeptDatabase(histories[0] as KeptHistory, path)
          expect(new Uint8Array(readFileSync(path))).toEqual(new Uint8Array(fixture.image))
        }
        seen.add(state?.pos.txid ?? 0n)
        rmSync(dataDir.root, { recursive: true })
        if (signal === null && status === 0 && state?.pos.txid === 3n) break
      }
      expect(seen).toEqual(new Set([3n, 4n]))
    },
    300_000,
  )

  test("finishTakeover() ends one that was decided, however often it is cut short", () => {
    using fixture = new Fixture()
    const image = asDatabase(random.bytes(2 * PAGE_SIZE))
    const { dataDir } = fixture
    writeFileSync(
      dataDir.nextPath("app.db", 7, "ltx"),
      imageFile(image, { minTxid: 1n, maxTxid: 9n }),
    )
    writeFileSync(dataDir.nextPath("app.db", 7, "database"), image)
    writeFileSync(dataDir.nextPath("app.db", 8, "database"), "another, which was not decided on")
    writeFileSync(dataDir.path("app.db", "wal"), "of the old state")
    mkdirSync(`${dataDir.divergedDir("forgotten.part")}/ltx`, { recursive: true })
    const takeover = { number: 7, minTxid: 1n, maxTxid: 9n, commit: 2, kept: undefined }
    beginTakeover(dataDir, "app.db", takeover)
    expect(recovered(dataDir)?.pos).toEqual({ txid: 9n, checksum: imageChecksum(image, PAGE_SIZE) })
    expect(new Uint8Array(readFileSync(dataDir.path("app.db", "database")))).toEqual(image)
    expect(allNames(dataDir)).not.toMatch(/next-|takeover|wal|forgotten/)
    expect(finishTakeover(dataDir, "app.db")).toBe(false)
  })

  test("a takeover by a snapshot without a database removes the file", () => {
    using fixture = new Fixture()
    const { dataDir } = fixture
    const path = dataDir.nextPath("app.db", 1, "ltx")
    writeFileSync(path, imageFile(new Uint8Array(0), { minTxid: 1n, maxTxid: 5n }))
    writeFileSync(dataDir.nextPath("app.db", 1, "database"), "")
    const takeover = { number: 1, minTxid: 1n, maxTxid: 5n, commit: 0, kept: undefined }
    beginTakeover(dataDir, "app.db", takeover)
    expect(recovered(dataDir)?.pos.txid).toBe(5n)
    expect(existsSync(dataDir.path("app.db", "database"))).toBe(false)
  })

  test("a record that says nothing makes the database unavailable, and nothing is touched", () => {
    using fixture = new Fixture()
    const { dataDir } = fixture
    writeFileSync(dataDir.takeoverPath("app.db"), "{}\n")
    const before = allNames(dataDir)
    expect(recovered(dataDir)).toBeUndefined()
    expect(allNames(dataDir)).toBe(before)
  })
})
