/**
 * Brings the databases of one replica to where ours are: with a transaction out of memory, an LTX file, several of them
 * made one, or a snapshot, whichever does it soonest.
 *
 * What a replica has is only ever compared, never believed: a TXID that is ahead of ours, or one of ours with
 * another checksum, is another history, and is answered with a snapshot.
 */
import { open } from "node:fs/promises"
import type { Clock } from "../lib/clock.ts"
import { logger } from "../lib/log.ts"
import { formatPos, type Pos, posEquals, type Txid, ZERO_POS } from "../ltx/pos.ts"
import { droppedStateIfWhole } from "../recovery/dropped-database.ts"
import type { DataDir } from "../store/data-dir.ts"
import type { Positions, Slot } from "../store/positions.ts"
import type { RecentTransactions } from "../store/recent-transactions.ts"
import { ancestryOf } from "./ancestry.ts"
import { compactedFile, following, followingFile } from "./following-file.ts"
import type { Wants } from "./replica-wants.ts"
import { type ParkedSnapshots, ResumableSnapshot } from "./resumable-snapshot.ts"
import type { SnapshotSource } from "./snapshot-source.ts"
import type { StreamWriter } from "./stream-writer.ts"

const log = logger("stream")

/** A replica that is behind is told how far at most this often. */
const HEAD_MS = 100

/** Told of what goes out. */
export interface StreamCounters {
  frame(database: string, type: "ltx" | "ltx:snapshot"): void
  bytes(size: number): void
}

export interface DatabaseSenderContext {
  readonly positions: Positions
  /** Transactions whose LTX files may not be there yet. */
  readonly recent?: RecentTransactions
  readonly dataDir: DataDir
  readonly snapshots: SnapshotSource
  readonly clock: Clock
  readonly counters?: StreamCounters
  /** Snapshots whose replica may come back. */
  readonly parked?: ParkedSnapshots
}

export class DatabaseSender {
  readonly #context: DatabaseSenderContext
  readonly #writer: StreamWriter
  readonly #wants: Wants
  readonly #sent: Map<string, Pos>
  /** Databases without a slot whose drop the replica has. */
  readonly #dropped = new Set<string>()
  #lastHeadMs = Number.NEGATIVE_INFINITY

  /** `known` is what the replica has. */
  constructor(
    context: DatabaseSenderContext,
    writer: StreamWriter,
    wants: Wants,
    known: Map<string, Pos>,
  ) {
    this.#context = context
    this.#writer = writer
    this.#wants = { ...wants }
    this.#sent = known
  }

  /** What the replica has of each database, when it has taken all that was sent. */
  get sent(): ReadonlyMap<string, Pos> {
    return this.#sent
  }

  /** The transaction that is sent next; undefined while the replica has nothing of the database. */
  nextTxid(database: string): Txid | undefined {
    const sent = this.#sent.get(database)
    return sent === undefined || sent.txid === 0n ? undefined : sent.txid + 1n
  }

  /** Databases that either side has and the replica wants. */
  names(): string[] {
    const names = new Set(this.#sent.keys())
    const { positions } = this.#context
    for (const [name] of positions.entries()) names.add(name)
    return [...names].filter((name) => this.#wants.databases.matches(name))
  }

  /** Takes the replica one step further. False when there is none to take, for now. */
  async sendNext(name: string): Promise<boolean> {
    const { positions } = this.#context
    const slot = positions.find(name)
    const known = this.#sent.get(name) ?? ZERO_POS
    if (slot === undefined) return this.#sendDrop(name, known)
    this.#dropped.delete(name)
    const { pos, stored, commit } = positions.read(slot)
    if (posEquals(known, pos)) return false
    if (commit === 0 && known.txid === 0n) return false // there is nothing on either side
    const isBehind = known.txid < pos.txid
    const next = isBehind ? this.#findRecent(slot, known) : undefined
    if (next === undefined && isBehind && known.txid >= stored.txid) return false // its file is being made
    await this.#sendHead(name, known, pos)
    const sent =
      (next !== undefined ? await this.#sendBytes(name, next) : undefined) ??
      (isBehind && known.txid > 0n ? await this.#sendFile(name, known, stored) : undefined) ??
      (await this.#sendSnapshot(name))
    if (sent === undefined) return false
    this.#sent.set(name, sent)
    return true
  }

  /** Of a database that is not here: one that was dropped long ago has its drop still. */
  async #sendDrop(name: string, known: Pos): Promise<boolean> {
    if (this.#dropped.has(name)) return false
    const pos = droppedStateIfWhole(this.#context.dataDir, name)?.pos
    const isBehind = pos !== undefined && known.txid > 0n && known.txid < pos.txid
    const sent = isBehind ? await this.#sendFile(name, known, pos) : undefined
    if (sent !== undefined) this.#sent.set(name, sent)
    else if (pos !== undefined && posEquals(known, pos)) this.#dropped.add(name)
    else {
      this.#sent.delete(name)
      await this.#writer.frame({ type: "dropDb", database: name })
    }
    return sent !== undefined
  }

  async #sendHead(database: string, known: Pos, { txid }: Pos): Promise<void> {
    if (!this.#wants.heads || txid <= known.txid + 1n) return
    const nowMs = this.#context.clock.monotonicMs()
    if (nowMs - this.#lastHeadMs < HEAD_MS) return
    this.#lastHeadMs = nowMs
    await this.#writer.frame({ type: "head", txid, database })
  }

  /** The transaction that follows on `known`, if it is one of the last. */
  #findRecent(slot: Slot, known: Pos): { bytes: Uint8Array; pos: Pos } | undefined {
    const bytes = this.#context.recent?.find(slot, known.txid + 1n)
    return bytes === undefined || known.txid === 0n ? undefined : following(bytes, known)
  }

  async #sendBytes(database: string, file: { bytes: Uint8Array; pos: Pos }): Promise<Pos> {
    this.#context.counters?.frame(database, "ltx")
    await this.#writer.ltxFile(database, file.bytes)
    return file.pos
  }

  /** Sends what follows on `known`: a transaction, or several as one. Undefined when there is no such file. */
  async #sendFile(name: string, known: Pos, target: Pos): Promise<Pos | undefined> {
    const directory = this.#context.dataDir.ltxDir(name)
    const first = followingFile(directory, known)
    if (first === undefined) return undefined
    const several = this.#wants.compacted ? compactedFile(directory, first, target) : undefined
    const file = several ?? first
    if (file.bytes !== undefined) return this.#sendBytes(name, { ...file, bytes: file.bytes })
    this.#context.counters?.frame(name, "ltx")
    const parts = await this.#writer.ltxParts(name)
    const handle = await open(file.path)
    try {
      for await (const part of handle.createReadStream({ autoClose: false })) {
        await parts.write(part as Uint8Array)
      }
    } finally {
      await handle.close()
    }
    await parts.end()
    return file.pos
  }

  async #sendSnapshot(name: string): Promise<Pos | undefined> {
    const snapshot = (await this.#resume(name)) ?? (await this.#startSnapshot(name))
    if (snapshot === undefined) return undefined
    const parts = await this.#writer.ltxParts(name)
    try {
      for (;;) {
        const part = await snapshot.next()
        if (part === undefined) break
        await parts.write(part)
        if (this.#writer.isClosed) return this.#park(snapshot)
      }
    } catch (error) {
      await snapshot.end()
      throw error
    }
    await parts.end()
    return snapshot.pos
  }

  async #startSnapshot(name: string): Promise<ResumableSnapshot | undefined> {
    const { snapshots, parked } = this.#context
    const found = await snapshots.snapshot(name)
    if (found === undefined) return undefined
    this.#context.counters?.frame(name, "ltx:snapshot")
    log.info("sending snapshot", { db: name, pos: formatPos(found.pos) })
    await this.#judge(name, found.pos)
    const token = parked?.makeToken() ?? 0n
    if (this.#wants.canResume) {
      await this.#writer.frame({ type: "resumable", database: name, token })
    }
    return new ResumableSnapshot(name, token, found)
  }

  /** Goes on with a snapshot that a broken connection has cut off, if this is the replica's. */
  async #resume(name: string): Promise<ResumableSnapshot | undefined> {
    const point = this.#wants.resume
    if (point?.database !== name) return undefined
    this.#wants.resume = undefined
    const snapshot = this.#context.parked?.take(point)
    if (snapshot === undefined) return undefined
    log.info("resuming snapshot", { db: name, pos: formatPos(snapshot.pos), offset: point.offset })
    await this.#writer.frame({ type: "resuming", ...point })
    return snapshot
  }

  /** The replica has gone, and may come back. */
  async #park(snapshot: ResumableSnapshot): Promise<undefined> {
    const { parked } = this.#context
    if (this.#wants.canResume && parked !== undefined) parked.park(snapshot)
    else await snapshot.end()
  }

  /** Tells the replica whether something is lost when the snapshot takes the place of what it has. */
  async #judge(name: string, pos: Pos): Promise<void> {
    const known = this.#sent.get(name)
    if (!this.#wants.verdicts || known === undefined || known.txid === 0n) return
    let is: "same" | "other" | undefined
    try {
      is = ancestryOf(this.#context.dataDir, name, known, pos)
    } catch (error) {
      // A file was removed under our hands: then the replica keeps more than it has to.
      log.debug("cannot judge the position of a replica", { db: name, error })
    }
    if (is !== undefined) {
      await this.#writer.frame({ type: "judged", database: name, pos: known, is })
    }
  }
}
