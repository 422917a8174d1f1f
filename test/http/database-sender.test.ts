/**
 * A sender against arbitrary histories: a primary commits, loses its role and gets it back with another history, and
 * replicas come that have been anywhere. Whatever is sent follows on what the replica has, and leads to where the
 * primary is, or was in this term.
 */
import { expect, test } from "bun:test"
import { rmSync, writeFileSync } from "node:fs"
import { DatabaseSender } from "../../src/http/streams/database-sender.ts"
import { NO_WANTS } from "../../src/http/streams/replica-wants.ts"
import type { StreamWriter } from "../../src/http/streams/stream-writer.ts"
import { Turns } from "../../src/lib/turns.ts"
import { decodeLtxHeader, isSnapshot, LTX_HEADER_SIZE } from "../../src/ltx/header.ts"
import { type Pos, posEquals, ZERO_POS } from "../../src/ltx/pos.ts"
import { decodeLtxTrailer, LTX_TRAILER_SIZE } from "../../src/ltx/trailer.ts"
import { LtxDirectory } from "../../src/store/ltx/ltx-directory.ts"
import { RecentTransactions } from "../../src/store/ltx/recent-transactions.ts"
import { Positions } from "../../src/store/positions.ts"
import { concat } from "../support/bytes.ts"
import { IdleClock } from "../support/idle-clock.ts"
import { LogDirectory } from "../support/log-directory.ts"
import { ltxFile, page } from "../support/ltx-file.ts"
import { type Random, testRandom } from "../support/random.ts"

const DATABASE = "app.db"
const FLAG = 1n << 63n

/** What a primary has of one database, over its terms. */
class Primary implements Disposable {
  readonly directory = new LogDirectory(DATABASE)
  readonly positions = Positions.create()
  readonly recent = RecentTransactions.create()
  /** Where it has been on the history that it is on, by TXID. */
  readonly history = new Map<bigint, Pos>()
  /** Where it has ever been. */
  readonly everywhere: Pos[] = [ZERO_POS]
  readonly #random: Random
  readonly #slot = this.positions.add(DATABASE)
  #unstored: (() => void) | undefined

  constructor(random: Random) {
    this.#random = random
    this.beginTerm(0n)
  }

  get pos(): Pos {
    return this.positions.read(this.#slot).pos
  }

  commit(): void {
    this.store()
    const before = this.pos
    const pos = this.#next(before.txid + 1n)
    const bytes = this.#file(before, pos)
    // Some are too large to be kept in memory, of some the file is there at once.
    if (this.#random.below(4) > 0) this.recent.add(this.#slot, pos.txid, bytes)
    else writeFileSync(this.#path(pos.txid), bytes)
    this.#goTo(pos)
    this.#unstored = () => {
      writeFileSync(this.#path(pos.txid), bytes)
      this.positions.markStored(this.#slot)
    }
    if (this.#random.below(2) === 0) this.store()
  }

  store(): void {
    this.#unstored?.()
    this.#unstored = undefined
  }

  /** Another history has taken the place of this one behind `txid`, and the node is the primary of it. */
  beginTerm(txid: bigint): void {
    this.store()
    this.recent.clear()
    for (const { path } of this.#ltx.list()) rmSync(path)
    for (const known of [...this.history.keys()]) if (known > txid) this.history.delete(known)
    const pos = this.#next(txid + 1n)
    writeFileSync(this.#ltx.filePath(1n, pos.txid), this.snapshot(pos))
    this.#goTo(pos)
    this.positions.markStored(this.#slot)
  }

  /** Retention. */
  removeOld(): void {
    const files = this.#ltx.list()
    for (const { path } of files.slice(0, this.#random.below(files.length))) rmSync(path)
  }

  snapshot({ txid, checksum }: Pos): Uint8Array {
    const header = { minTxid: 1n, maxTxid: txid, preApplyChecksum: 0n }
    return ltxFile({ header, pages: [page(1, Number(txid))], postApplyChecksum: checksum })
  }

  sender(writer: StreamWriter, known: Pos, compacted: boolean): DatabaseSender {
    const { positions, recent } = this
    const snapshot = async () => {
      const { pos } = this
      const bytes = this.snapshot(pos)
      const parts = (async function* () {
        yield bytes
      })()
      return { pos, size: 512, parts }
    }
    const context = {
      ...{ positions, recent, dataDir: this.directory.dataDir, clock: new IdleClock() },
      snapshots: { snapshot },
    }
    const wants = { ...NO_WANTS, compacted }
    return new DatabaseSender(context, writer, wants, new Map([[DATABASE, known]]))
  }

  #next(txid: bigint): Pos {
    return { txid, checksum: FLAG | this.#random.u64() }
  }

  #file(before: Pos, { txid, checksum }: Pos): Uint8Array {
    const header = { minTxid: txid, maxTxid: txid, preApplyChecksum: before.checksum }
    return ltxFile({ header, pages: [page(1, Number(txid))], postApplyChecksum: checksum })
  }

  #goTo(pos: Pos): void {
    this.history.set(pos.txid, pos)
    this.everywhere.push(pos)
    this.positions.write(this.#slot, { pos, timestampMs: 0, pageSize: 512, commit: 1 }, undefined)
  }

  get #ltx(): LtxDirectory {
    return new LtxDirectory(this.directory.dataDir.ltxDir(DATABASE))
  }

  #path(txid: bigint): string {
    return this.#ltx.filePath(txid, txid)
  }

  [Symbol.dispose](): void {
    this.directory[Symbol.dispose]()
  }
}

/** Takes what it is sent, and complains when it cannot. */
class Receiver {
  pos: Pos
  readonly #primary: Primary

  constructor(primary: Primary, pos: Pos) {
    this.#primary = primary
    this.pos = pos
  }

  get writer(): StreamWriter {
    const parts: Uint8Array[] = []
    const writer: Partial<StreamWriter> = {
      turns: new Turns(new IdleClock()),
      isClosed: false,
      frame: async () => {},
      ltxFile: async (_, bytes) => this.#take(bytes),
      ltxParts: (async () => ({
        write: async (part: Uint8Array) => void parts.push(part),
        end: async () => this.#take(concat(...parts.splice(0))),
      })) as never,
    }
    return writer as StreamWriter
  }

  #take(bytes: Uint8Array): void {
    const header = decodeLtxHeader(bytes.subarray(0, LTX_HEADER_SIZE))
    const trailer = decodeLtxTrailer(bytes.subarray(bytes.length - LTX_TRAILER_SIZE))
    if (!isSnapshot(header)) {
      const before = { txid: header.minTxid - 1n, checksum: header.preApplyChecksum }
      expect(before).toEqual(this.pos)
    }
    this.pos = { txid: header.maxTxid, checksum: trailer.postApplyChecksum }
    expect(this.pos).toEqual(this.#primary.history.get(this.pos.txid) as Pos)
  }
}

test("DatabaseSender looks for none of thousands of databases that a replica names and that are not here", async () => {
  using directory = new LogDirectory(DATABASE)
  const { dataDir } = directory
  let lookCount = 0
  const ltxDir = dataDir.ltxDir.bind(dataDir)
  dataDir.ltxDir = (name) => {
    lookCount += 1
    return ltxDir(name)
  }
  const pos = { txid: 5n, checksum: FLAG | 5n }
  const names = Array.from({ length: 5000 }, (_, index) => `${index}.db`)
  const unknown: string[] = []
  const writer: Partial<StreamWriter> = {
    isClosed: false,
    frame: async (frame) => void (frame.type === "dropDb" && unknown.push(frame.database)),
  }
  const sender = new DatabaseSender(
    {
      ...{ positions: Positions.create(), dataDir, clock: new IdleClock() },
      snapshots: { snapshot: async () => undefined },
    },
    writer as StreamWriter,
    { ...NO_WANTS },
    new Map(names.map((name) => [name, pos])),
  )
  for (const name of sender.names()) expect(await sender.sendNext(name)).toBe("nothing")
  expect(unknown).toEqual(names)
  expect(lookCount).toBe(0)
})

test("DatabaseSender leads every replica along the history that the primary has now, whatever it had before", async () => {
  const random = testRandom()
  for (let run = 0; run < 60; run++) {
    using primary = new Primary(random)
    for (let step = 0; step < 30; step++) {
      const act = random.below(10)
      if (act === 0) primary.beginTerm(BigInt(random.below(Number(primary.pos.txid) + 1)))
      else if (act === 1) primary.removeOld()
      else primary.commit()
      if (random.below(3) > 0) continue
      const known = random.pick([
        ...primary.everywhere,
        { txid: primary.pos.txid, checksum: FLAG | random.u64() },
        { txid: primary.pos.txid + 3n, checksum: FLAG | random.u64() },
      ])
      const receiver = new Receiver(primary, known)
      const sender = primary.sender(receiver.writer, known, random.below(2) === 0)
      for (let sent = 0; ; sent++) {
        expect(sent).toBeLessThan(1000) // a replica at TXID 5 takes some 75 steps, and the primary goes on meanwhile
        if (random.below(4) === 0) primary.commit()
        if ((await sender.sendNext(DATABASE)) === "sent") continue
        primary.store()
        if (!posEquals(receiver.pos, primary.pos)) continue
        break
      }
      expect(sender.sent.get(DATABASE)).toEqual(primary.pos)
    }
  }
})
