/**
 * The peer thread of a simulated node: it applies what comes from the primary, or from who has borrowed a database, and
 * reads snapshots. The product decides what follows on what (follows-on.ts), and what is kept when a snapshot replaces
 * it (history-verdict.ts). Here is what stands for incoming-file.ts, replica-database.ts and replica-databases.ts: a
 * file is decoded, checked, made durable, and applied, one after the other for each database.
 */
import { type DatabaseHandover, historyState, sharedState } from "../../src/capture/handover.ts"
import { emptyHistoryState, type HistoryState } from "../../src/capture/history.ts"
import { Ownership } from "../../src/capture/ownership.ts"
import { LitefsError, messageOf } from "../../src/lib/errors.ts"
import { Later, type Offers, Port } from "../../src/lib/port.ts"
import { writePageChecksum } from "../../src/ltx/checksum.ts"
import { LtxDecoder } from "../../src/ltx/decoder.ts"
import { LtxEncoder } from "../../src/ltx/encoder.ts"
import { isSnapshot, LTX_FLAG_COMPRESSED, type LtxHeader, NO_WAL } from "../../src/ltx/header.ts"
import { type Pos, ZERO_POS } from "../../src/ltx/pos.ts"
import { posBefore } from "../../src/ltx/span.ts"
import type { LtxTrailer } from "../../src/ltx/trailer.ts"
import type { PeerHost, PeerThread } from "../../src/peer/contract.ts"
import { checkFollowsOn } from "../../src/peer/receive/follows-on.ts"
import { divergence, type HistoryVerdict } from "../../src/peer/receive/history-verdict.ts"
import { PageSums } from "../../src/peer/receive/page-sums.ts"
import { SysError } from "../../src/sys/errno.ts"
import type { Pages, StoredState } from "./disk.ts"
import type { SimulatedFsThread } from "./fs-thread.ts"
import { historyStateOf, type SharedByThreads } from "./shared.ts"
import { SimulatedThread, SimulatedWorker } from "./thread.ts"

/** From when a transaction is durable until readers let it be applied. */
const APPLY_MS_MAX = 5

const sum = new Uint32Array(2)

interface Incoming {
  readonly database: string
  readonly parts: Uint8Array[]
  verdict: HistoryVerdict | undefined
}

interface Whole {
  readonly header: LtxHeader
  readonly trailer: LtxTrailer
  readonly sums: PageSums
  readonly pages: Map<number, Uint8Array>
  readonly bytes: Uint8Array
  readonly verdict: HistoryVerdict | undefined
}

interface Database {
  state: HistoryState
  pages: Pages
  work: Promise<void>
}

export class SimulatedPeerThread {
  readonly worker: SimulatedWorker
  readonly #shared: SharedByThreads
  readonly #fs: SimulatedFsThread
  readonly #port: Port<PeerThread, PeerHost>
  readonly #incoming = new Map<number, Incoming>()
  /** The databases that this thread has. */
  readonly #databases = new Map<string, Database>()
  readonly #ownership = new Ownership(false)
  #isPrimary = false

  constructor(shared: SharedByThreads, fs: SimulatedFsThread) {
    const thread = new SimulatedThread(shared.process)
    this.#shared = shared
    this.#fs = fs
    this.worker = new SimulatedWorker(thread, (message) => this.#port.receive(message))
    this.#port = new Port<PeerThread, PeerHost>({
      send: (message) => this.worker.answer(message),
      offers: this.#offers,
    })
  }

  /** The start finds what is on the disk, durable or not. */
  #recover(): void {
    for (const name of this.#shared.disk.names) {
      const stored = this.#shared.disk.state(name)
      this.#put(name, historyStateOf(stored), stored.pages)
      this.#setPosition(name, stored.pos)
    }
  }

  #put(name: string, state: HistoryState, pages: Pages): void {
    this.#databases.set(name, { state, pages, work: Promise.resolve() })
  }

  #setPosition(name: string, stored: Pos | undefined): void {
    const { positions, flags } = this.#shared.databases
    const { state } = this.#find(name)
    positions.write(positions.add(name), state, stored)
    if (flags.raiseChanged()) this.#port.tell("changed")
  }

  #find(name: string): Database {
    const known = this.#databases.get(name)
    if (known !== undefined) return known
    if (!this.#ownership.has(name)) {
      throw new LitefsError("unavailable", "clients of this node write to it")
    }
    this.#put(name, emptyHistoryState(), new Map())
    return this.#databases.get(name) as Database
  }

  #receive(
    file: number,
    name: string,
    bytes: Uint8Array,
    isLast: boolean,
  ): Later<void> | undefined {
    try {
      const database = this.#find(name)
      const incoming = this.#begin(file, name)
      incoming.parts.push(bytes)
      if (!isLast) return undefined
      this.#incoming.delete(file)
      const whole = decode(incoming)
      return new Later((taken) => {
        database.work = database.work.then(async () => {
          await this.#accept(name, database, whole).then(
            () => this.#port.tell("applied", file),
            (error) => this.#refuse(file, error),
          )
          taken()
        })
      })
    } catch (error) {
      this.#incoming.delete(file)
      this.#refuse(file, error)
      return undefined
    }
  }

  #begin(file: number, database: string): Incoming {
    const known = this.#incoming.get(file)
    if (known !== undefined) return known
    const incoming = { database, parts: [], verdict: undefined }
    this.#incoming.set(file, incoming)
    return incoming
  }

  #refuse(file: number, error: unknown): void {
    const code =
      error instanceof LitefsError ? error.code : error instanceof SysError ? "no-space" : "invalid"
    this.#port.tell("refusedFile", file, code, messageOf(error))
  }

  async #accept(name: string, database: Database, whole: Whole): Promise<void> {
    const { process, disk, account } = this.#shared
    const { header, trailer, sums, bytes } = whole
    const { state } = database
    checkFollowsOn(name, state, whole)
    const isWhole = isSnapshot(header)
    const pos = { txid: header.maxTxid, checksum: trailer.postApplyChecksum }
    const pages = isWhole ? whole.pages : new Map([...database.pages, ...whole.pages])
    const { pageSize, commit, timestampMs, minTxid } = header
    const after: StoredState = { pos, pageSize, commit, timestampMs, pages }
    const before = isWhole ? ZERO_POS : posBefore(header)
    const transaction = { minTxid, before, after, bytes, isWhole }
    const syncMs = disk.nextSyncMs()
    // Readers need not wait for the disk, unless somebody waits for it (peer/receive/replica-database.ts).
    const isLater = !isWhole && !this.#shared.databases.flags.acknowledges
    disk.checkRoom()
    if (this.#shared.canary === "early-acknowledgement") this.#stored(name, pos)
    const durableAtMs = process.scheduler.nowMs + syncMs
    // A snapshot takes the place of all at once, when it is durable.
    const step = { database: name, after: pos, pages, isNew: this.#isPrimary }
    if (!isWhole) disk.append(name, { ...transaction, durableAtMs })
    if (!isWhole && this.#isPrimary) account.made({ ...step, before })
    if (!isLater) await process.waits(syncMs)
    if (isWhole) {
      const reason = divergence(state.pos, pos, whole.verdict, false)
      if (reason !== undefined) disk.keep({ database: name, pos: state.pos, reason })
      disk.append(name, { ...transaction, durableAtMs })
    }
    if (!isLater) this.#stored(name, pos)
    await process.waits(process.clock.random() * APPLY_MS_MAX)
    if (isWhole) state.sums.clear()
    state.sums.resize(commit)
    sums.each((pgno, hi, lo) => state.sums.set(pgno, hi, lo))
    database.state = { pos, pageSize, commit, timestampMs, sums: state.sums }
    database.pages = pages
    account.reached(process.name, {
      ...step,
      before: isWhole && pos.txid > 1n ? undefined : before,
    })
    this.#setPosition(name, isLater ? undefined : pos)
    if (!isLater) return
    await process.waits(durableAtMs - process.scheduler.nowMs)
    const { positions } = this.#shared.databases
    positions.markStored(positions.add(name))
    this.#stored(name, pos)
  }

  #stored(name: string, pos: Pos): void {
    if (this.#shared.databases.flags.acknowledges) this.#port.tell("stored", name, pos)
  }

  #give(name: string): DatabaseHandover {
    const { state } = this.#find(name)
    const nothing = { wal: undefined, isWalOpen: false, disguise: 0, isUndone: false }
    return { name, state: sharedState(state), ...nothing }
  }

  async #giveOne(name: string): Promise<DatabaseHandover> {
    await this.#databases.get(name)?.work
    if (this.#shared.databases.positions.find(name) === undefined) {
      throw new LitefsError("not-found", `database not found: "${name}"`)
    }
    const handover = this.#give(name)
    this.#databases.delete(name)
    return handover
  }

  #take({ name, state }: DatabaseHandover): void {
    if (state === undefined) return
    this.#put(name, historyState(state), this.#shared.disk.state(name).pages)
  }

  #send(snapshot: number): void {
    const state = this.#shared.frozen.get(snapshot)
    if (state === undefined) throw new LitefsError("unavailable", "the snapshot is gone")
    const { pos, pageSize, commit, timestampMs, pages } = state
    encoded = []
    encoder.reset()
    encoder.header({
      ...{ flags: LTX_FLAG_COMPRESSED, pageSize, commit, timestampMs, ...NO_WAL },
      ...{ minTxid: 1n, maxTxid: pos.txid, preApplyChecksum: 0n, nodeId: this.#shared.nodeId() },
    })
    for (let pgno = 1; pgno <= commit; pgno++) encoder.page(pgno, pages.get(pgno) as Uint8Array)
    encoder.close(pos.checksum)
    this.#port.tell("snapshotPart", snapshot, Buffer.concat(encoded))
  }

  get #offers(): Offers<PeerThread> {
    const nothing = () => {}
    const { locks } = this.#shared
    return {
      start: ({ isPrimary }) => {
        this.#isPrimary = isPrimary
        if (isPrimary) return []
        this.#ownership.inherit()
        this.#recover()
        return []
      },
      recover: () => ({ kind: "refused", problem: "", mayPass: false }),
      mounted: () => true,
      primary: nothing,
      judge: (file, database, verdict) => {
        this.#begin(file, database).verdict = verdict
      },
      ltx: (...part) => this.#receive(...part),
      abort: (file) => void this.#incoming.delete(file),
      freeze: (snapshot, database) => {
        const known = this.#databases.get(database)
        if (known === undefined || known.state.commit === 0) return undefined
        const { state, pages } = known
        this.#shared.frozen.set(snapshot, { ...state, pages })
        return { ...state, pages, sums: undefined } as never
      },
      thaw: (snapshot) => void this.#shared.frozen.delete(snapshot),
      snapshot: (snapshot) => this.#send(snapshot),
      snapshotCredit: nothing,
      cancelSnapshot: nothing,
      lockWrites: (databases, limitMs) => locks.lock(databases, limitMs),
      checkWrites: nothing,
      unlockWrites: (lock) => locks.unlock(lock),
      handOver: async () => {
        this.#incoming.clear()
        await Promise.all([...this.#databases.values()].map(({ work }) => work))
        const handovers = [...this.#databases.keys()].map((name) => this.#give(name))
        this.#ownership.handOver()
        this.#isPrimary = true
        return handovers
      },
      inherit: (handovers) => {
        this.#isPrimary = false
        this.#ownership.inherit()
        this.#databases.clear()
        for (const handover of handovers) this.#take(handover)
        locks.unlockAll()
      },
      unpassed: nothing,
      lend: async (database) => {
        const handover = await this.#giveOne(database)
        this.#ownership.lend(database)
        return handover
      },
      giveBack: async (database) => {
        const handover = await this.#giveOne(database)
        this.#ownership.giveBack(database)
        return handover
      },
      borrow: (handover) => {
        this.#ownership.borrow(handover.name)
        this.#take(handover)
      },
      takeBack: (handover) => {
        this.#ownership.takeBack(handover.name)
        this.#take(handover)
      },
      letGo: nothing,
      letGoAll: () => this.#databases.clear(),
      makeDatabase: (database) => this.#fs.make(database),
      import: () => undefined,
      vanished: nothing,
      writeRefused: nothing,
      maintain: () => 0,
      retire: nothing,
      releaseSegment: nothing,
      makeSpares: nothing,
      measure: nothing,
      detach: nothing,
      settle: nothing,
    }
  }
}

// Both have large buffers, and are used by one thread at a time.
let encoded: Uint8Array[] = []
const encoder = new LtxEncoder((bytes) => encoded.push(bytes.slice()))
let decoded: Partial<Pick<Whole, "header" | "trailer">> & Pick<Whole, "sums" | "pages"> = nothing()
const decoder = new LtxDecoder({
  header: (header) => {
    decoded = { ...decoded, header }
  },
  page: (pgno, data) => {
    decoded.pages.set(pgno, data.slice())
    writePageChecksum(sum, pgno, data)
    decoded.sums.add(pgno, sum[0] as number, sum[1] as number)
  },
  trailer: (trailer) => {
    decoded = { ...decoded, trailer }
  },
})

function nothing() {
  return { sums: new PageSums(), pages: new Map<number, Uint8Array>() }
}

/** Throws when it is no LTX file. */
function decode({ parts, verdict }: Incoming): Whole {
  const bytes = Buffer.concat(parts)
  decoded = nothing()
  decoder.reset()
  decoder.push(bytes)
  decoder.end()
  const { header, trailer, sums, pages } = decoded
  if (header === undefined || trailer === undefined) throw new RangeError("it is not whole")
  return { header, trailer, sums, pages, bytes, verdict }
}
