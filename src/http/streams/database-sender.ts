/**
 * Brings the databases of one replica to where ours are: by a transaction from memory, an LTX file, several of them
 * merged, or a snapshot, whichever is soonest.
 *
 * What a replica claims to have is only compared, never believed. A TXID ahead of ours, or one of ours with another
 * checksum, is another history, and the answer is a snapshot.
 *
 * It is one file because each of these ways falls back on the next one, with the same account of what was sent.
 */
import type { Clock } from "../../lib/clock.ts"
import { LitefsError, messageOf } from "../../lib/errors.ts"
import { logger } from "../../lib/log.ts"
import { formatPos, type Pos, posEquals, type Txid, ZERO_POS } from "../../ltx/pos.ts"
import type { DataDir } from "../../store/data-dir.ts"
import type { RecentTransactions } from "../../store/ltx/recent-transactions.ts"
import type { Positions, Slot } from "../../store/positions.ts"
import { openToRead } from "../../sys/async-file.ts"
import { SysError } from "../../sys/errno.ts"
import type { ListedState } from "../../wire/frame.ts"
import { type BodyWriter, PATIENCE_MS } from "../server/body-writer.ts"
import { type FollowingFile, following } from "./following-file.ts"
import type { LeftOutDatabases } from "./left-out-databases.ts"
import { type PastTransactions, pastIn } from "./past-transactions.ts"
import type { Wants } from "./replica-wants.ts"
import { type ParkedSnapshots, ResumableSnapshot } from "./resumable-snapshot.ts"
import type { SnapshotPlaces } from "./snapshot-places.ts"
import type { SnapshotSource } from "./snapshot-source.ts"
import type { LtxParts, StreamWriter } from "./stream-writer.ts"

const log = logger("stream")

/** A replica that is behind hears how far at most this often. */
const HEAD_MS = 100

/**
 * A failed call may succeed a moment later, as with EMFILE. A snapshot instead costs the size of the database, and a
 * replica whose position nobody can judge sets its own content aside: the call is therefore repeated for this long.
 */
const AGAIN_MS = 5000

/** How long a list of the directories counts. */
const LISTED_MS = 1000

/** Hears what is sent. */
export interface StreamCounters {
  frame(database: string, type: "ltx" | "ltx:snapshot"): void
  bytes(size: number): void
}

export interface DatabaseSenderContext {
  readonly positions: Positions
  /** Transactions whose LTX files may not exist yet. */
  readonly recent?: RecentTransactions
  readonly dataDir: DataDir
  /** Undefined: what is in the data directory. */
  readonly past?: PastTransactions
  readonly snapshots: SnapshotSource
  readonly clock: Clock
  readonly counters?: StreamCounters
  /** For those to whom snapshots are sent: each takes memory, files, and a look at whatever a client writes. */
  readonly snapshotPlaces?: SnapshotPlaces<BodyWriter>
  /** Snapshots whose replica may come back. */
  readonly parked?: ParkedSnapshots
  /** Databases that cannot be sent to anybody. */
  readonly leftOut?: LeftOutDatabases
}

/** Whether more of a database can be sent now, or only later because it does not exist in a sendable form yet. */
export type Step = "sent" | "nothing" | "later"

export class DatabaseSender {
  readonly #context: DatabaseSenderContext
  readonly #past: PastTransactions
  readonly #writer: StreamWriter
  readonly #wants: Wants
  readonly #sent: Map<string, Pos>
  /** The directories of databases, as of a moment ago: a replica may name thousands that have none. */
  #directories: { readonly names: ReadonlySet<string>; readonly untilMs: number } | undefined
  /** Databases without a slot whose drop the replica has. */
  readonly #dropped = new Set<string>()
  #lastHeadMs = Number.NEGATIVE_INFINITY
  /** The databases that the replica was told of; undefined before. */
  #listed: Map<string, ListedState> | undefined
  /** Looks that have failed, and since when. */
  readonly #failing = new Map<string, number>()

  /** `known` is what the replica has. */
  constructor(
    context: DatabaseSenderContext,
    writer: StreamWriter,
    wants: Wants,
    known: Map<string, Pos>,
  ) {
    this.#context = context
    this.#past = context.past ?? pastIn(context.dataDir)
    this.#writer = writer
    this.#wants = { ...wants }
    this.#sent = known
  }

  /** What the replica has of each database, once it has taken everything sent. */
  get sent(): ReadonlyMap<string, Pos> {
    return this.#sent
  }

  /** The next transaction to send; undefined while the replica has nothing of the database. */
  nextTxid(database: string): Txid | undefined {
    const sent = this.#sent.get(database)
    return sent === undefined || sent.txid === 0n ? undefined : sent.txid + 1n
  }

  /** Databases that either side has and the replica wants. */
  names(): string[] {
    const names = new Set(this.#sent.keys())
    const { positions } = this.#context
    for (const [name] of positions.entries()) names.add(name)
    for (const name of this.#context.leftOut?.names() ?? []) names.add(name)
    return [...names].filter((name) => this.isWanted(name))
  }

  isWanted(database: string): boolean {
    return this.#wants.databases.matches(database) && !this.#wants.leftOut.has(database)
  }

  /** Tells the replica which databases exist: `names` are at first all of them, and then those that may be new. */
  async list(names: Iterable<string>): Promise<void> {
    if (!this.#wants.catalogue) return
    const isFirst = this.#listed === undefined
    const listed = this.#listed ?? new Map<string, ListedState>()
    this.#listed = listed
    const news = [...names].filter((name) => {
      if (!this.isWanted(name)) return false
      const state = this.#stateOf(name)
      return state !== undefined && state !== listed.get(name)
    })
    if (isFirst) await this.#writer.frame({ type: "catalogue", count: news.length })
    for (const name of news) await this.#list(name)
  }

  async #list(database: string): Promise<void> {
    const state = this.#stateOf(database)
    if (state === undefined) return
    const slot = this.#context.positions.find(database)
    const pos = slot === undefined ? ZERO_POS : this.#context.positions.read(slot).pos
    this.#listed?.set(database, state)
    await this.#writer.frame({ type: "listed", database, pos, state })
  }

  /** Undefined when there is no database, or nothing in it. */
  #stateOf(name: string): ListedState | undefined {
    const { positions, leftOut } = this.#context
    const problem = leftOut?.state(name)
    if (problem !== undefined) return problem
    const slot = positions.find(name)
    if (slot === undefined) return undefined
    const { pos, commit } = positions.read(slot)
    if (pos.txid === 0n) return undefined
    return commit === 0 ? "dropped" : "present"
  }

  /** Takes the replica one step further, if there is one to take. */
  async sendNext(name: string): Promise<Step> {
    const { positions, leftOut } = this.#context
    if (!this.isWanted(name) || leftOut?.state(name) !== undefined) return "nothing"
    const slot = positions.find(name)
    const known = this.#sent.get(name) ?? ZERO_POS
    if (slot === undefined) return this.#sendDrop(name, known)
    this.#dropped.delete(name)
    const { pos, stored, commit } = positions.read(slot)
    if (posEquals(known, pos)) return "nothing"
    if (commit === 0 && known.txid === 0n) return "nothing" // both sides have nothing
    const isBehind = known.txid < pos.txid
    const next = isBehind ? this.#findRecent(slot, known, pos) : undefined
    if (next === undefined && isBehind && known.txid >= stored.txid) return "later" // its file is being made
    await this.#sendHead(name, known, pos)
    let sent = next !== undefined ? await this.#sendBytes(name, next) : undefined
    if (sent === undefined && isBehind && known.txid > 0n) {
      const file = await this.#sendFile(name, known, stored)
      if (file === "later") return "later"
      sent = file
    }
    if (sent === undefined) {
      const snapshot = await this.#sendSnapshot(name)
      if (snapshot === "no room") return "later"
      sent = snapshot
    }
    if (sent === undefined) return this.#stateOf(name) === "present" ? "later" : "nothing"
    this.#sent.set(name, sent)
    return "sent"
  }

  /** For a database that is not here: one that was dropped long ago still has its drop. */
  async #sendDrop(name: string, known: Pos): Promise<Step> {
    if (this.#dropped.has(name)) return "nothing"
    const pos = this.#hasDirectory(name) ? this.#past.dropped(name) : undefined
    const isBehind = pos !== undefined && known.txid > 0n && known.txid < pos.txid
    const sent = isBehind ? await this.#sendFile(name, known, pos) : undefined
    if (sent === "later") return "later"
    if (sent !== undefined) this.#sent.set(name, sent)
    else if (pos !== undefined && posEquals(known, pos)) this.#dropped.add(name)
    else {
      this.#sent.delete(name)
      await this.#writer.frame({ type: "dropDb", database: name })
    }
    return sent === undefined ? "nothing" : "sent"
  }

  #hasDirectory(name: string): boolean {
    const { clock } = this.#context
    const nowMs = clock.monotonicMs()
    if (this.#directories === undefined || nowMs >= this.#directories.untilMs) {
      const names = new Set(this.#past.names())
      this.#directories = { names, untilMs: nowMs + LISTED_MS }
    }
    return this.#directories.names.has(name)
  }

  async #sendHead(database: string, known: Pos, { txid }: Pos): Promise<void> {
    if (!this.#wants.heads || txid <= known.txid + 1n) return
    const nowMs = this.#context.clock.monotonicMs()
    if (nowMs - this.#lastHeadMs < HEAD_MS) return
    this.#lastHeadMs = nowMs
    await this.#writer.frame({ type: "head", txid, database })
  }

  /** The transaction that follows on `known` and leads to `target`, if it is a recent one. */
  #findRecent(slot: Slot, known: Pos, target: Pos): { bytes: Uint8Array; pos: Pos } | undefined {
    const bytes = this.#context.recent?.find(slot, known.txid + 1n)
    if (bytes === undefined || known.txid === 0n) return undefined
    const file = following(bytes, known)
    const isElsewhere = file?.pos.txid === target.txid && !posEquals(file.pos, target)
    return isElsewhere ? undefined : file
  }

  async #sendBytes(database: string, file: { bytes: Uint8Array; pos: Pos }): Promise<Pos> {
    this.#context.counters?.frame(database, "ltx")
    await this.#writer.ltxFile(database, file.bytes)
    return file.pos
  }

  /** Sends what follows on `known`: a transaction, or several as one. Undefined when there is no such file. */
  async #sendFile(name: string, known: Pos, target: Pos): Promise<Pos | "later" | undefined> {
    const { turns } = this.#writer
    const first = await this.#followingFile(name, known)
    if (first === undefined || first === "later") return first
    const several = this.#wants.compacted
      ? await this.#past.compacted(name, first, target, turns)
      : undefined
    const file = several ?? first
    if (file.bytes !== undefined) return this.#sendBytes(name, { ...file, bytes: file.bytes })
    this.#context.counters?.frame(name, "ltx")
    const parts = await this.#writer.ltxParts(name)
    const handle = await openToRead("stream:open", file.path)
    try {
      for await (const part of handle.createReadStream({ autoClose: false })) {
        await parts.write(part as Uint8Array)
        if (this.#writer.isClosed) return undefined // nobody reads the rest
      }
    } finally {
      await handle.close()
    }
    await parts.end()
    return file.pos
  }

  /** An unreadable file is as useless as a missing one: a snapshot is sent then. */
  async #followingFile(database: string, known: Pos): Promise<FollowingFile | "later" | undefined> {
    const file = `${database} ${known.txid}`
    try {
      const found = await this.#past.following(database, known, this.#writer.turns)
      this.#failing.delete(file)
      return found
    } catch (error) {
      const isFirst = !this.#failing.has(file)
      const mayPass = this.#mayPass(file, error)
      const what = mayPass ? "it is tried again" : "a snapshot is sent instead"
      const problem = messageOf(error)
      if (isFirst || !mayPass)
        log.warn(`cannot read an LTX file, ${what}`, { db: database, problem })
      return mayPass ? "later" : undefined
    }
  }

  /** Whether a failed call may succeed when it is repeated. */
  #mayPass(what: string, error: unknown): boolean {
    const nowMs = this.#context.clock.monotonicMs()
    const sinceMs = this.#failing.get(what) ?? nowMs
    const isOfFile = error instanceof LitefsError && error.code === "damaged" // what has its name is no file
    const mayPass = (error instanceof SysError || isOfFile) && nowMs - sinceMs < AGAIN_MS
    if (mayPass) this.#failing.set(what, sinceMs)
    else this.#failing.delete(what)
    return mayPass
  }

  /** "no room": others are being sent theirs, and take them. */
  async #sendSnapshot(name: string): Promise<Pos | "no room" | undefined> {
    const { snapshotPlaces } = this.#context
    const { body } = this.#writer
    if (this.#writer.isClosed) return undefined
    if (snapshotPlaces?.enter(body, PATIENCE_MS) === false) return "no room"
    try {
      return await this.#sendWhole(name)
    } finally {
      snapshotPlaces?.leave(body)
    }
  }

  async #sendWhole(name: string): Promise<Pos | undefined> {
    const { parked } = this.#context
    const snapshot = (await this.#resume(name)) ?? (await this.#startSnapshot(name))
    if (snapshot === undefined) return undefined
    parked?.sending(snapshot, () => this.#writer.body.breakOff())
    try {
      return await this.#sendParts(name, snapshot)
    } finally {
      parked?.left(snapshot)
    }
  }

  async #sendParts(name: string, snapshot: ResumableSnapshot): Promise<Pos | undefined> {
    const parts = await this.#writer.ltxParts(name)
    for (;;) {
      let part: Uint8Array | undefined
      try {
        part = await snapshot.next()
      } catch (error) {
        await snapshot.end()
        return this.#giveUp(name, parts, error)
      }
      if (part === undefined) break
      await parts.write(part)
      if (this.#writer.isClosed) return this.#park(snapshot)
    }
    await snapshot.end()
    await parts.end()
    if (this.#isSealed) await this.#list(name)
    return snapshot.pos
  }

  /** Whether the replica waits for a listed frame before it takes a snapshot for whole. */
  get #isSealed(): boolean {
    return this.#wants.catalogue && this.#wants.canResume
  }

  /** Half of the file is sent. A replica that understands so hears that it is void; others begin anew. */
  async #giveUp(name: string, parts: LtxParts, error: unknown): Promise<undefined> {
    this.#context.leftOut?.add(name, error)
    if (this.#context.leftOut === undefined || !this.#isSealed) throw error
    await parts.end()
    await this.#list(name)
  }

  async #startSnapshot(name: string): Promise<ResumableSnapshot | undefined> {
    const { snapshots, parked } = this.#context
    const found = await snapshots.snapshot(name).catch((error) => {
      if (this.#context.leftOut === undefined) throw error
      this.#context.leftOut.add(name, error)
    })
    if (found === undefined) return undefined
    const token = parked?.makeToken() ?? 0n
    const tails = this.#wants.canResume ? parked?.tails : undefined
    const snapshot = new ResumableSnapshot(name, token, found, tails)
    try {
      if ((await this.#judge(name, found.pos)) === "later") {
        await snapshot.end()
        return undefined
      }
      if (this.#wants.canResume) {
        await this.#writer.frame({ type: "resumable", database: name, token })
      }
    } catch (error) {
      await snapshot.end() // otherwise its database would stay frozen
      throw error
    }
    this.#context.counters?.frame(name, "ltx:snapshot")
    log.info("sending snapshot", { db: name, pos: formatPos(found.pos) })
    return snapshot
  }

  /** Continues a snapshot that a broken connection has cut off, if it is this replica's. */
  async #resume(name: string): Promise<ResumableSnapshot | undefined> {
    const point = this.#wants.resume
    if (point?.database !== name) return undefined
    this.#wants.resume = undefined
    const snapshot = await this.#context.parked?.take(point)
    if (snapshot === undefined) return undefined
    const { pos } = snapshot
    let goesOn = false
    try {
      if (!this.#isOurs(name, pos)) return undefined
      await this.#writer.frame({ type: "resuming", ...point })
      goesOn = true
    } finally {
      if (!goesOn) await snapshot.end() // otherwise its database would stay frozen
    }
    log.info("resuming snapshot", { db: name, pos: formatPos(pos), offset: point.offset })
    return snapshot
  }

  /** Whether our history has been there: the position may be from an earlier term of this node. */
  #isOurs(name: string, pos: Pos): boolean {
    const { positions } = this.#context
    const slot = positions.find(name)
    if (slot === undefined) return false
    return this.#past.ancestry(name, pos, positions.read(slot).pos) === "same"
  }

  /** The replica has gone, and may come back. */
  async #park(snapshot: ResumableSnapshot): Promise<undefined> {
    const { parked } = this.#context
    if (this.#wants.canResume && parked !== undefined) parked.park(snapshot)
    else await snapshot.end()
  }

  /** Tells the replica whether it loses something when the snapshot replaces what it has. */
  async #judge(name: string, pos: Pos): Promise<"later" | undefined> {
    const known = this.#sent.get(name)
    if (!this.#wants.verdicts || known === undefined || known.txid === 0n) return undefined
    let is: "same" | "other" | undefined
    const look = `verdict on ${name}`
    try {
      is = this.#past.ancestry(name, known, pos)
      this.#failing.delete(look)
    } catch (error) {
      if (this.#mayPass(look, error)) return "later"
      // A file was removed under our hands: the replica then keeps more than necessary.
      log.debug("cannot judge the position of a replica", { db: name, error })
    }
    if (is !== undefined) {
      await this.#writer.frame({ type: "judged", database: name, pos: known, is })
    }
    return undefined
  }
}
