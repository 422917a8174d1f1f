import { describe, expect, test } from "bun:test"
import {
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
import { emptyHistoryState, type HistoryState } from "../../src/capture/history.ts"
import { writeKeptDatabase } from "../../src/diverged/kept-database.ts"
import { type KeptHistory, listKept } from "../../src/diverged/kept-history.ts"
import type { LtxHeader } from "../../src/ltx/header.ts"
import type { ReceivedTransaction } from "../../src/peer/receive/applier.ts"
import type { HistoryVerdict } from "../../src/peer/receive/history-verdict.ts"
import { type ClientView, ReplicaDatabase } from "../../src/peer/receive/replica-database.ts"
import { DataDir } from "../../src/store/data-dir.ts"
import { FakeTransactionLog, imageChecksum } from "../support/captured-database.ts"
import { FakeClock } from "../support/fake-clock.ts"
import { idleApplier } from "../support/idle-applier.ts"
import { ltxFile, pageOf } from "../support/ltx-file.ts"
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
  /** When what has come is shown, and when it is durable. */
  readonly order: string[] = []
  readonly transactions = new FakeTransactionLog()
  acknowledges = false
  /** Whether pages go to the database file, and not to a WAL. */
  isWritten = false
  image: Uint8Array = new Uint8Array(0)
  shown: HistoryState | undefined
  problem: Error | undefined // why clients cannot be locked out
  applyProblem: Error | undefined

  constructor(view?: ClientView) {
    mkdirSync(this.dataDir.ltxDir("app.db"), { recursive: true })
    this.database = new ReplicaDatabase(
      "app.db",
      {
        dataDir: this.dataDir,
        clock: new FakeClock(),
        transactions: this.transactions,
        acknowledges: () => this.acknowledges,
        log: this.log.logger,
        makeApplier: () => ({
          ...idleApplier,
          apply: async (transaction) => this.#apply(transaction),
          close: () => this.events.push("close"),
          dropped: () => this.events.push("forget"),
        }),
        switchFiles: async ({ name: _, ...files }) => {
          files.yield()
          if (this.problem !== undefined) throw this.problem
          files.decide()
          files.change()
          this.image = files.commit === 0 ? new Uint8Array(0) : this.file
          this.events.push("switch")
          files.switched()
        },
        primaryName: () => "primary",
        stored: () => this.order.push("durable"),
        completed: () => this.order.push("completed"),
        setPosition: (_, state) => {
          this.shown = state
          this.events.push(`position ${state.pos.txid}`)
          this.order.push("shown")
        },
        dropped: () => this.events.push("dropped"),
      },
      emptyHistoryState(),
      view,
    )
  }

  #apply({ readPages, header, pgnos, isNew, overwriting, applied }: ReceivedTransaction): void {
    if (this.applyProblem !== undefined) throw this.applyProblem
    const next = new Uint8Array(header.commit * header.pageSize)
    if (header.pageSize === PAGE_SIZE) next.set(this.image.subarray(0, next.length))
    const found: number[] = []
    readPages((pgno, data) => {
      found.push(pgno)
      if (this.isWritten) overwriting((pgno - 1) * header.pageSize, header.pageSize)
      next.set(data, (pgno - 1) * header.pageSize)
    })
    expect(found).toEqual([...pgnos])
    this.image = next
    writeFileSync(this.dataDir.path("app.db", "database"), next)
    this.events.push(isNew ? "new" : "apply")
    applied()
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

  async accept(bytes: Uint8Array, verdict?: HistoryVerdict): Promise<void> {
    const file = this.database.receive()
    file.verdict = verdict
    for (const part of random.split(bytes)) file.push(part.slice())
    file.finish()
    try {
      await this.database.accept(file)
    } catch (error) {
      file.discard()
      throw error
    }
  }

  get file(): Uint8Array<ArrayBuffer> {
    return new Uint8Array(readFileSync(this.dataDir.path("app.db", "database")))
  }

  get names(): string[] {
    return readdirSync(this.dataDir.databaseDir("app.db")).sort()
  }

  get ltxNames(): string[] {
    return readdirSync(this.dataDir.ltxDir("app.db")).sort()
  }

  [Symbol.dispose](): void {
    rmSync(this.dataDir.root, { recursive: true })
  }
}

function imageOf(count: number): Uint8Array {
  const image = random.bytes(count * PAGE_SIZE)
  if (count > 0) pageOf(1, image.subarray(0, PAGE_SIZE))
  return image
}

describe("ReplicaDatabase", () => {
  test("ReplicaDatabase takes what follows on, and its sums are those of the pages", async () => {
    using fixture = new Fixture()
    for (let txid = 1; txid <= 25; txid++) {
      const image = imageOf(random.between(1, 8))
      if (random.below(2) === 0) {
        image.set(fixture.image.subarray(0, Math.min(image.length, fixture.image.length)))
        image[PAGE_SIZE - 1] = txid
      }
      await fixture.accept(fixture.fileTo(image))
      expect(Buffer.compare(fixture.image, image)).toBe(0)
      expect(fixture.database.pos.txid).toBe(BigInt(txid))
      expect(fixture.shown?.sums.total).toBe(imageChecksum(image, PAGE_SIZE))
    }
    expect(fixture.ltxNames.length).toBe(25)
    expect(fixture.events.filter((event) => event !== "close").slice(0, 4)).toEqual([
      "switch",
      "position 1",
      "apply",
      "position 2",
    ])
  })

  test.each([
    ["after it is shown", false, ["shown", "completed", "durable"]],
    ["before, where somebody waits for that", true, ["durable", "shown", "completed"]],
  ])("ReplicaDatabase makes a transaction durable %s", async (_, acknowledges, order) => {
    using fixture = new Fixture()
    await fixture.accept(fixture.fileTo(imageOf(2)))
    fixture.order.length = 0
    fixture.acknowledges = acknowledges
    await fixture.accept(fixture.fileTo(imageOf(2)))
    expect(fixture.order).toEqual(order)
    expect(fixture.transactions.later).toBe(acknowledges ? 0 : 1)
  })

  test("ReplicaDatabase makes what nobody can be shown before durable at once", async () => {
    using fixture = new Fixture()
    await fixture.accept(fixture.fileTo(imageOf(2)))
    await fixture.accept(fixture.fileTo(new Uint8Array(0))) // a drop
    await fixture.accept(fixture.fileTo(imageOf(2)))
    expect(fixture.transactions.later).toBe(0)
  })

  test("ReplicaDatabase makes a transaction durable before the database file has anything of it", async () => {
    using fixture = new Fixture()
    await fixture.accept(fixture.fileTo(imageOf(2)))
    fixture.transactions.onSync = () => fixture.order.push("sync")
    fixture.order.length = 0
    fixture.isWritten = true
    await fixture.accept(fixture.fileTo(imageOf(2)))
    expect([...new Set(fixture.order)].slice(0, 2)).toEqual(["sync", "shown"])
    const file = fixture.file
    fixture.transactions.onSync = () => {
      throw new Error("the disk does not sync")
    }
    await expect(fixture.accept(fixture.fileTo(imageOf(2)))).rejects.toThrow("does not sync")
    expect(fixture.file).toEqual(file)
    expect(() => fixture.database.handOver()).toThrow()
  })

  test("ReplicaDatabase is handed over when what could not be applied has been, from the log", async () => {
    using fixture = new Fixture()
    await fixture.accept(fixture.fileTo(imageOf(2)))
    const image = imageOf(3)
    const bytes = fixture.fileTo(image)
    fixture.applyProblem = new Error("the disk is broken")
    await expect(fixture.accept(bytes)).rejects.toThrow("the disk is broken")
    await expect(fixture.database.applyRest()).rejects.toThrow("the disk is broken")
    expect(() => fixture.database.handOver()).toThrow("its last transaction could not be applied")
    fixture.applyProblem = undefined
    await fixture.database.applyRest()
    expect(fixture.database.handOver().state?.pos.txid).toBe(2n)
    expect(Buffer.compare(fixture.image, image)).toBe(0)
    await fixture.database.applyRest() // there is none any more
    expect(fixture.shown?.pos.txid).toBe(2n)
  })

  test("ReplicaDatabase ends what could not be applied before it takes another transaction", async () => {
    using fixture = new Fixture()
    await fixture.accept(fixture.fileTo(imageOf(2)))
    const [half, other] = [imageOf(2), imageOf(2)]
    const [halfFile, otherFile] = [half, other].map((image) => fixture.fileTo(image))
    fixture.applyProblem = new Error("the disk is broken")
    await expect(fixture.accept(halfFile as Uint8Array)).rejects.toThrow("the disk is broken")
    await expect(fixture.accept(otherFile as Uint8Array)).rejects.toThrow("the disk is broken")
    fixture.applyProblem = undefined
    await expect(fixture.accept(otherFile as Uint8Array)).rejects.toThrow(/it follows on/)
    expect(fixture.database.pos).toEqual({ txid: 2n, checksum: imageChecksum(half, PAGE_SIZE) })
    expect(Buffer.compare(fixture.image, half)).toBe(0)
  })

  test("ReplicaDatabase ends what could not be applied when it comes again", async () => {
    using fixture = new Fixture()
    await fixture.accept(fixture.fileTo(imageOf(2)))
    const image = imageOf(2)
    const bytes = fixture.fileTo(image)
    fixture.applyProblem = new Error("the disk is broken")
    await expect(fixture.accept(bytes)).rejects.toThrow("the disk is broken")
    fixture.applyProblem = undefined
    await fixture.accept(bytes)
    expect(fixture.database.pos.checksum).toBe(imageChecksum(image, PAGE_SIZE))
  })

  test("ReplicaDatabase hands over what is added to the counters that clients see, also what it was handed", () => {
    using fixture = new Fixture({ isWalOpen: true, disguise: 7 })
    expect(fixture.database.handOver().disguise).toBe(7)
  })

  test("ReplicaDatabase lets clients in when others know the position", async () => {
    using fixture = new Fixture()
    await fixture.accept(fixture.fileTo(imageOf(2)))
    expect(fixture.events).toEqual(["switch", "position 1", "close"])
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

  test.each<[what: string, offset: number, bytes: number[], problem: RegExp]>([
    ["without SQLite's magic", 0, [0x58], /not that of a SQLite database/],
    ["of another page size", 16, [0x10, 0], /of a database with pages of 4096 bytes, its own have/],
    ["that SQLite would not open", 21, [65], /not that of a SQLite database/],
    ["of zeros", 0, Array(100).fill(0), /not that of a SQLite database/],
  ])(
    "ReplicaDatabase refuses a transaction with a page 1 %s",
    async (_, offset, bytes, problem) => {
      using fixture = new Fixture()
      const good = imageOf(2)
      await fixture.accept(fixture.fileTo(good))
      const bad = good.slice()
      bad.set(bytes, offset)
      await expect(fixture.accept(fixture.fileTo(bad))).rejects.toThrow(problem)
      expect(fixture.database.pos.txid).toBe(1n)
      expect(fixture.ltxNames).toHaveLength(1)
      expect(Buffer.compare(fixture.image, good)).toBe(0)
      await fixture.accept(fixture.fileTo(new Uint8Array(0))) // a drop has no page 1
      fixture.image = new Uint8Array(0)
      await expect(fixture.accept(fixture.fileTo(bad))).rejects.toThrow(problem)
      await fixture.accept(fixture.fileTo(good))
    },
  )

  test("ReplicaDatabase refuses a damaged file, whatever byte it is", async () => {
    using fixture = new Fixture()
    const bytes = fixture.fileTo(imageOf(1))
    for (let at = 0; at < bytes.length; at += 3) {
      const damaged = bytes.slice()
      damaged[at] = (damaged[at] as number) ^ 1
      await expect(fixture.accept(damaged)).rejects.toThrow(/Cannot receive a transaction of/)
    }
    for (let size = 0; size < bytes.length; size += 7) {
      await expect(fixture.accept(bytes.subarray(0, size))).rejects.toThrow(/Cannot receive/)
    }
    expect(fixture.ltxNames).toEqual([])
    expect(fixture.events).toEqual([])
  })

  test("ReplicaDatabase spools a large file beside its place, and leaves nothing of one that is given up", async () => {
    using fixture = new Fixture()
    await fixture.accept(fixture.fileTo(imageOf(1)))
    const image = imageOf(10_000)
    const bytes = fixture.fileTo(image)
    const cut = fixture.database.receive()
    for (let at = 0; at < 4_600_000; at += 200_000) cut.push(bytes.slice(at, at + 200_000))
    expect(fixture.ltxNames.length).toBe(2)
    expect(fixture.ltxNames[1]).toMatch(/^0{15}2-0{15}2\.ltx\.receiving-\d+$/)
    cut.discard()
    expect(fixture.ltxNames.length).toBe(1)
    const whole = fixture.database.receive()
    for (let at = 0; at < bytes.length; at += 200_000) whole.push(bytes.slice(at, at + 200_000))
    whole.finish()
    await fixture.database.accept(whole)
    expect(fixture.ltxNames[1]).toBe("0000000000000002-0000000000000002.ltx")
    expect(fixture.database.pos.checksum).toBe(imageChecksum(image, PAGE_SIZE))
  })

  test("ReplicaDatabase makes the database of a snapshot beside its own, and leaves nothing of one that is given up", async () => {
    using fixture = new Fixture()
    for (let i = 0; i < 2; i++) await fixture.accept(fixture.fileTo(imageOf(2)))
    const [before, names] = [fixture.file, fixture.names]
    const image = imageOf(3)
    const bytes = fixture.fileTo(image, { minTxid: 1n, maxTxid: 9n })
    const cut = fixture.database.receive()
    cut.push(bytes.slice(0, bytes.length - 1))
    expect(fixture.names.filter((name) => name.startsWith("next-")).length).toBe(1)
    cut.discard()
    expect(fixture.names).toEqual(names)
    expect(fixture.file).toEqual(before)
    await fixture.accept(bytes)
    expect(fixture.names).toEqual(names)
    expect(Buffer.compare(fixture.file, image)).toBe(0)
  })

  test.each<[string, number, HistoryVerdict["is"] | undefined, RegExp]>([
    ["is ahead", 2, undefined, /it is ahead of the primary/],
    ["is at the TXID with another checksum", 3, undefined, /another transaction with this TXID/],
    ["is behind on another history", 4, "other", /it is behind the primary, on another history/],
    ["is behind, and the primary cannot tell", 4, undefined, /no longer knows/],
  ])("ReplicaDatabase keeps a history that %s, whole", async (_, maxTxid, is, reason) => {
    using fixture = new Fixture()
    for (let i = 0; i < 3; i++) await fixture.accept(fixture.fileTo(imageOf(2)))
    const { pos } = fixture.database
    const old = fixture.file
    const image = imageOf(4)
    const header = { minTxid: 1n, maxTxid: BigInt(maxTxid) }
    await fixture.accept(fixture.fileTo(image, header), is && { pos, is })
    const now = { txid: BigInt(maxTxid), checksum: imageChecksum(image, PAGE_SIZE) }
    expect(fixture.database.pos).toEqual(now)
    expect(Buffer.compare(fixture.file, image)).toBe(0)
    expect(fixture.ltxNames).toEqual([`0000000000000001-000000000000000${maxTxid}.ltx`])
    const [kept, ...others] = listKept(fixture.dataDir).histories
    expect(others).toEqual([])
    expect(kept?.facts).toMatchObject({ database: "app.db", pos, primary: { pos: now } })
    expect(kept?.facts.reason).toMatch(reason)
    expect(readdirSync(join(kept?.directory ?? "", "ltx")).length).toBe(3)
    const path = join(fixture.dataDir.root, "exported")
    writeKeptDatabase(kept as KeptHistory, path)
    expect(new Uint8Array(readFileSync(path))).toEqual(old)
    expect(fixture.log.lines.at(-1)).toMatch(/has diverged from the primary's/)
    await fixture.accept(fixture.fileTo(imageOf(4)))
    expect(fixture.database.pos.txid).toBe(now.txid + 1n)
  })

  test.each<[string, boolean]>([
    ["was behind on the primary's history", true],
    ["is the one it gets", false],
  ])("ReplicaDatabase keeps nothing of a state that %s", async (_, isBehind) => {
    using fixture = new Fixture()
    for (let i = 0; i < 3; i++) await fixture.accept(fixture.fileTo(imageOf(2)))
    const { pos } = fixture.database
    const image: Uint8Array = isBehind ? imageOf(4) : fixture.file
    const header = { minTxid: 1n, maxTxid: isBehind ? 9n : 3n }
    await fixture.accept(fixture.fileTo(image, header), isBehind ? { pos, is: "same" } : undefined)
    expect(Buffer.compare(fixture.file, image)).toBe(0)
    expect(fixture.ltxNames.length).toBe(1)
    expect(listKept(fixture.dataDir)).toEqual({ histories: [], otherNames: [] })
  })

  test("ReplicaDatabase goes on as before when clients cannot be locked out, and keeps nothing", async () => {
    using fixture = new Fixture()
    for (let i = 0; i < 3; i++) await fixture.accept(fixture.fileTo(imageOf(2)))
    const [before, names, file] = [fixture.database.pos, fixture.names, fixture.file]
    const snapshot = fixture.fileTo(imageOf(4), { minTxid: 1n, maxTxid: 2n })
    fixture.problem = new Error("they hold on")
    await expect(fixture.accept(snapshot)).rejects.toThrow(/they hold on/)
    expect(fixture.database.pos).toEqual(before)
    expect(fixture.names).toEqual(names)
    expect(fixture.file).toEqual(file)
    expect(listKept(fixture.dataDir)).toEqual({ histories: [], otherNames: [] })
    fixture.problem = undefined
    await fixture.accept(fixture.fileTo(imageOf(4)))
    await fixture.accept(snapshot)
    expect(fixture.database.pos.txid).toBe(2n)
  })

  test("ReplicaDatabase drops the database, and takes it up again", async () => {
    using fixture = new Fixture()
    await fixture.accept(fixture.fileTo(imageOf(2)))
    await fixture.accept(fixture.fileTo(new Uint8Array(0)))
    expect(fixture.events.slice(1)).toEqual([
      "position 1",
      "close",
      "position 2",
      "forget",
      "close",
      "dropped",
    ])
    expect(existsSync(fixture.dataDir.path("app.db", "database"))).toBe(false)
    fixture.image = new Uint8Array(0)
    await fixture.accept(fixture.fileTo(imageOf(3)))
    expect(fixture.events.slice(-2)).toEqual(["new", "position 3"])
  })
})
