import { describe, expect, test } from "bun:test"
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { emptyHistoryState, type HistoryState } from "../../src/capture/history.ts"
import type { LtxHeader } from "../../src/ltx/header.ts"
import type { Application } from "../../src/peer/applier.ts"
import { ReplicaDatabase } from "../../src/peer/replica-database.ts"
import { DataDir } from "../../src/store/data-dir.ts"
import { readLtxFile } from "../../src/store/ltx-file.ts"
import { FakeTransactionLog, imageChecksum } from "../support/captured-database.ts"
import { FakeClock } from "../support/fake-clock.ts"
import { ltxFile } from "../support/ltx-file.ts"
import { testRandom } from "../support/random.ts"
import { RecordedLog } from "../support/recorded-log.ts"

const PAGE_SIZE = 512
const random = testRandom()

/** A replica's database whose content goes into an image in the place of the mount's file. */
class Fixture implements Disposable {
  readonly dataDir = new DataDir(mkdtempSync(join(tmpdir(), "litefs-replica-")))
  readonly log = new RecordedLog()
  readonly events: string[] = []
  readonly database: ReplicaDatabase
  image: Uint8Array = new Uint8Array(0)
  published: HistoryState | undefined

  constructor() {
    mkdirSync(this.dataDir.ltxDir("app.db"), { recursive: true })
    this.database = new ReplicaDatabase(
      "app.db",
      {
        dataDir: this.dataDir,
        clock: new FakeClock(),
        transactions: new FakeTransactionLog(),
        log: this.log.logger,
        makeApplier: () => ({
          apply: async (application) => this.#apply(application),
          frames: { entries: () => [] },
          writtenTxid: (current) => current,
          detach: () => {},
          settle: () => {},
          dropped: () => this.events.push("detach"),
        }),
        publish: (_, state) => {
          this.published = state
          this.events.push(`publish ${state.pos.txid}`)
        },
        dropped: () => this.events.push("dropped"),
      },
      emptyHistoryState(),
    )
  }

  #apply({ path, header, pgnos, isNew, publish }: Application): void {
    const next = new Uint8Array(header.commit * header.pageSize)
    if (header.pageSize === PAGE_SIZE) next.set(this.image.subarray(0, next.length))
    const found: number[] = []
    readLtxFile(path, {
      page: (pgno, data) => {
        found.push(pgno)
        next.set(data, (pgno - 1) * header.pageSize)
      },
    })
    expect(found).toEqual([...pgnos])
    this.image = next
    writeFileSync(this.dataDir.path("app.db", "database"), next)
    this.events.push(isNew ? "new" : "apply")
    publish()
  }

  /** The LTX file that makes `image` of what there is. */
  fileTo(image: Uint8Array, given: Partial<LtxHeader> = {}): Uint8Array {
    const { txid, checksum } = this.database.pos
    const minTxid = given.minTxid ?? txid + 1n
    const isWhole = minTxid === 1n
    const pages = []
    for (let pgno = 1; pgno <= image.length / PAGE_SIZE; pgno++) {
      const data = image.subarray((pgno - 1) * PAGE_SIZE, pgno * PAGE_SIZE)
      const old = this.image.subarray((pgno - 1) * PAGE_SIZE, pgno * PAGE_SIZE)
      if (isWhole || Buffer.compare(data, old) !== 0) pages.push({ pgno, data })
    }
    const header = {
      pageSize: PAGE_SIZE,
      minTxid,
      maxTxid: minTxid,
      commit: image.length / PAGE_SIZE,
      preApplyChecksum: isWhole ? 0n : checksum,
      ...given,
    }
    return ltxFile({ header, pages, postApplyChecksum: imageChecksum(image, PAGE_SIZE) })
  }

  async accept(bytes: Uint8Array): Promise<void> {
    const file = this.database.receive()
    for (const part of random.split(bytes)) file.push(part.slice())
    file.finish()
    await this.database.accept(file)
  }

  get ltxNames(): string[] {
    return readdirSync(this.dataDir.ltxDir("app.db")).sort()
  }

  [Symbol.dispose](): void {
    rmSync(this.dataDir.root, { recursive: true })
  }
}

function imageOf(count: number): Uint8Array {
  return random.bytes(count * PAGE_SIZE)
}

describe("ReplicaDatabase", () => {
  test("ReplicaDatabase takes what follows on, and its sums are those of the pages", async () => {
    using fixture = new Fixture()
    for (let txid = 1; txid <= 25; txid++) {
      const image = imageOf(random.between(1, 8))
      if (random.below(2) === 0) {
        image.set(fixture.image.subarray(0, Math.min(image.length, fixture.image.length)))
        image[0] = txid
      }
      await fixture.accept(fixture.fileTo(image))
      expect(Buffer.compare(fixture.image, image)).toBe(0)
      expect(fixture.database.pos.txid).toBe(BigInt(txid))
      expect(fixture.published?.sums.total).toBe(imageChecksum(image, PAGE_SIZE))
    }
    expect(fixture.ltxNames.length).toBe(25)
    expect(fixture.events.slice(0, 4)).toEqual(["new", "publish 1", "apply", "publish 2"])
  })

  test.each<[string, Partial<LtxHeader>]>([
    ["leaves a gap", { minTxid: 4n, maxTxid: 4n }],
    ["is there already", { minTxid: 2n, maxTxid: 2n }],
    ["follows on another content", { preApplyChecksum: (1n << 63n) | 5n }],
  ])("ReplicaDatabase refuses a file that %s, and changes nothing", async (_, given) => {
    using fixture = new Fixture()
    for (let i = 0; i < 2; i++) await fixture.accept(fixture.fileTo(imageOf(2)))
    const before = { ...fixture.database.pos }
    const bytes = fixture.fileTo(imageOf(2), given)
    await expect(fixture.accept(bytes)).rejects.toThrow(/it follows on .*, the database is at/)
    expect(fixture.database.pos).toEqual(before)
    expect(fixture.ltxNames.length).toBe(2)
    await fixture.accept(fixture.fileTo(imageOf(3)))
    expect(fixture.database.pos.txid).toBe(3n)
  })

  test("ReplicaDatabase refuses a file whose pages do not sum to what it says", async () => {
    using fixture = new Fixture()
    await fixture.accept(fixture.fileTo(imageOf(2)))
    const wrong = imageOf(2)
    const bytes = fixture.fileTo(wrong)
    fixture.image.set(wrong.subarray(0, PAGE_SIZE)) // so that the file lacks page 1
    await expect(fixture.accept(fixture.fileTo(wrong))).rejects.toThrow(/the database would sum to/)
    expect(fixture.ltxNames.length).toBe(1)
    await fixture.accept(bytes)
  })

  test("ReplicaDatabase refuses a damaged file, whatever byte it is", async () => {
    using fixture = new Fixture()
    const bytes = fixture.fileTo(imageOf(1))
    for (let at = 0; at < bytes.length; at += 3) {
      const damaged = bytes.slice()
      damaged[at] = (damaged[at] as number) ^ 1
      await expect(fixture.accept(damaged)).rejects.toThrow(/Cannot receive LTX file/)
    }
    for (let size = 0; size < bytes.length; size += 7) {
      await expect(fixture.accept(bytes.subarray(0, size))).rejects.toThrow(/Cannot receive/)
    }
    expect(fixture.ltxNames).toEqual([])
    expect(fixture.events).toEqual([])
  })

  test("ReplicaDatabase spools a large file beside its place, and leaves nothing of one that is given up", async () => {
    using fixture = new Fixture()
    const image = imageOf(10_000)
    const bytes = fixture.fileTo(image)
    const cut = fixture.database.receive()
    for (let at = 0; at < 4_600_000; at += 200_000) cut.push(bytes.slice(at, at + 200_000))
    expect(fixture.ltxNames).toEqual(["0000000000000001-0000000000000001.ltx.receiving"])
    cut.discard()
    expect(fixture.ltxNames).toEqual([])
    const whole = fixture.database.receive()
    for (let at = 0; at < bytes.length; at += 200_000) whole.push(bytes.slice(at, at + 200_000))
    whole.finish()
    await fixture.database.accept(whole)
    expect(fixture.ltxNames).toEqual(["0000000000000001-0000000000000001.ltx"])
    expect(fixture.database.pos.checksum).toBe(imageChecksum(image, PAGE_SIZE))
  })

  test("ReplicaDatabase keeps its history when a snapshot replaces it", async () => {
    using fixture = new Fixture()
    for (let i = 0; i < 3; i++) await fixture.accept(fixture.fileTo(imageOf(2)))
    const old = fixture.image
    const image = imageOf(4)
    await fixture.accept(fixture.fileTo(image, { minTxid: 1n, maxTxid: 2n }))
    expect(fixture.database.pos).toEqual({ txid: 2n, checksum: imageChecksum(image, PAGE_SIZE) })
    expect(fixture.ltxNames).toEqual(["0000000000000001-0000000000000002.ltx"])
    const [label = ""] = readdirSync(join(fixture.dataDir.root, "diverged"))
    expect(label).toContain("-app.db-0000000000000003-")
    const kept = fixture.dataDir.divergedDir(label)
    expect(readdirSync(join(kept, "ltx")).length).toBe(3)
    expect(Bun.file(join(kept, "database")).size).toBe(old.length)
    expect(fixture.log.lines[0]).toContain("replaced by a snapshot of the primary")
  })

  test("ReplicaDatabase drops the database, and takes it up again", async () => {
    using fixture = new Fixture()
    await fixture.accept(fixture.fileTo(imageOf(2)))
    await fixture.accept(fixture.fileTo(new Uint8Array(0)))
    expect(fixture.events.slice(2)).toEqual(["publish 2", "detach", "dropped"])
    expect(existsSync(fixture.dataDir.path("app.db", "database"))).toBe(false)
    fixture.image = new Uint8Array(0)
    await fixture.accept(fixture.fileTo(imageOf(3)))
    expect(fixture.events.slice(-2)).toEqual(["new", "publish 3"])
  })
})
