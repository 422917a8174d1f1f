/**
 * `POST /stream`: a replica says where its databases are and gets all that follows, for as long as it listens.
 *
 *   catch up: every database, as LTX files or a snapshot ─▶ Ready ─▶ live: whatever changes, and a heartbeat
 *
 * What a replica has is only ever compared, never believed: a TXID that is ahead of ours, or one of ours with
 * another checksum, is another history, and is answered with a snapshot.
 *
 * While a replica catches up that takes all that comes, others are given their turn every few milliseconds: streams,
 * requests, heartbeats.
 *
 * A replica that is slower than we are holds nothing but its connection: the next part is read from the disk when
 * it has taken the last. One that takes nothing for STALL_MS_MAX, because it hangs or is gone without a word, is
 * given up by the kernel, so that LTX files are not kept for it.
 */
import { open } from "node:fs/promises"
import type { IncomingMessage, ServerResponse } from "node:http"
import { type Clock, sleep } from "../lib/clock.ts"
import { LitefsError } from "../lib/errors.ts"
import { Gate } from "../lib/gate.ts"
import { logger } from "../lib/log.ts"
import { formatPos, type Pos, posEquals, type Txid, ZERO_POS } from "../ltx/pos.ts"
import type { DataDir } from "../store/data-dir.ts"
import type { Positions, Slot } from "../store/positions.ts"
import type { RecentTransactions } from "../store/recent-transactions.ts"
import { limitStall } from "../sys/socket.ts"
import { ChunkEncoder, encodeChunks } from "../wire/chunk.ts"
import { validateDatabaseName } from "../wire/database-name.ts"
import { encodeFrame, type Frame } from "../wire/frame.ts"
import { isNodeUrl } from "../wire/node-url.ts"
import { decodePositionMap, MAX_POSITION_MAP_SIZE } from "../wire/position-map.ts"
import {
  ADVERTISE_URL_HEADER,
  CANDIDATE_HEADER,
  PROTOCOL,
  PROTOCOL_HEADER,
  protocolProblem,
} from "../wire/protocol.ts"
import { ancestryOf } from "./ancestry.ts"
import { type BodyLimits, readBody } from "./body.ts"
import { compactedFile, following, followingFile } from "./following-file.ts"
import { NO_WANTS, type Wants, wantsOf } from "./replica-wants.ts"
import { type ParkedSnapshots, ResumableSnapshot } from "./resumable-snapshot.ts"

const log = logger("stream")

const HEARTBEAT_MS = 1000

/** A replica that is behind is told how far at most this often. */
const HEAD_MS = 100

export const STALL_MS_MAX = 30_000

const TURN_MS = 5

const REQUEST_LIMITS: BodyLimits = { sizeMax: MAX_POSITION_MAP_SIZE, timeMs: 10_000 }

export interface SnapshotSource {
  /** The database in one piece, and the position it is at. Undefined when it is gone. */
  snapshot(database: string): Promise<Snapshot | undefined>
}

export interface Snapshot {
  readonly pos: Pos
  readonly size: number // of the database, bytes
  readonly parts: AsyncIterable<Uint8Array>
}

/** Told of what goes out. */
export interface StreamCounters {
  frame(database: string, type: "ltx" | "ltx:snapshot"): void
  bytes(size: number): void
}

/** Who listens to a stream. */
export interface StreamReplica {
  readonly id: string | undefined
  readonly name: string
  readonly connectedMs: number // since 1970
  /** Where other nodes reach it, when it has said so. */
  readonly url?: string | undefined
  /** It may become the primary. */
  readonly isCandidate?: boolean
}

export interface StreamContext {
  readonly positions: Positions
  /** Transactions whose LTX files may not be there yet. */
  readonly recent?: RecentTransactions
  readonly dataDir: DataDir
  readonly snapshots: SnapshotSource
  readonly clock: Clock
  readonly counters?: StreamCounters
  /** How long a replica may take nothing of what is sent. */
  readonly stallMs: number
  /** Snapshots whose replica may come back. */
  readonly parked?: ParkedSnapshots
  /** Streams that are up, for neededTxid(). */
  readonly streams: Set<ReplicaStream>
  /** Calls back whenever positions have changed, until the returned function is called. */
  onChange(listener: () => void): () => void
}

export async function handleStream(
  context: StreamContext,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const wants = wantsOf(request)
  response.setHeader(PROTOCOL_HEADER, PROTOCOL)
  const problem = protocolProblem(headerOf(request, PROTOCOL_HEADER))
  if (problem !== undefined) throw new LitefsError("unavailable", `Cannot replicate: ${problem}`)
  const known = decodePositionMap(await readBody(request, REQUEST_LIMITS, context.clock))
  for (const name of known.keys()) validateDatabaseName(name)
  response.writeHead(200, { "Content-Type": "application/octet-stream" })
  response.flushHeaders()
  const about = replicaOf(request, context.clock.wallMs())
  const replica = about.name
  limitStall(request.socket, context.stallMs)
  log.info("replica connected", { replica, databases: known.size })
  const stream = new ReplicaStream(context, response, known, wants, about)
  context.streams.add(stream)
  try {
    await stream.run()
  } finally {
    context.streams.delete(stream)
    stream.close()
    log.info("replica disconnected", { replica })
  }
}

function replicaOf(request: IncomingMessage, connectedMs: number): StreamReplica {
  const name = headerOf(request, "litefs-hostname") ?? request.socket.remoteAddress ?? "unknown"
  const url = headerOf(request, ADVERTISE_URL_HEADER)
  return {
    ...{ id: headerOf(request, "litefs-id"), name, connectedMs },
    url: url !== undefined && isNodeUrl(url) ? url : undefined,
    isCandidate: headerOf(request, CANDIDATE_HEADER) === "1",
  }
}

function headerOf({ headers }: IncomingMessage, name: string): string | undefined {
  const value = headers[name]
  return typeof value === "string" ? value : undefined
}

/** The first transaction of a database that one of the replicas lacks; undefined when none lacks any. */
export function neededTxid(streams: Iterable<ReplicaStream>, database: string): Txid | undefined {
  let needed: Txid | undefined
  for (const stream of streams) {
    const next = stream.nextTxid(database)
    if (next !== undefined && (needed === undefined || next < needed)) needed = next
  }
  return needed
}

export class ReplicaStream {
  readonly replica: StreamReplica | undefined
  readonly #context: StreamContext
  readonly #response: ServerResponse
  readonly #known: Map<string, Pos>
  readonly #wants: Wants
  readonly #news = new Gate() // a change, room to write, a closed connection, or time for a heartbeat
  readonly #unsubscribe: () => void
  #isClosed = false
  #offer: string | undefined // to be sent when there is nothing else to send
  #farewell: string | undefined
  #isEnding = false
  #lastHeadMs = Number.NEGATIVE_INFINITY
  #turnMs = 0 // when this stream's turn began

  constructor(
    context: StreamContext,
    response: ServerResponse,
    known: Map<string, Pos>,
    wants: Wants = NO_WANTS,
    replica?: StreamReplica,
  ) {
    this.replica = replica
    this.#wants = { ...wants }
    this.#context = context
    this.#response = response
    this.#known = known
    this.#unsubscribe = context.onChange(() => this.#news.open())
    response.on("drain", () => this.#news.open())
    response.on("close", () => {
      this.#isClosed = true
      this.#news.open()
    })
  }

  close(): void {
    this.#unsubscribe()
  }

  /** Whether the replica is to have every database. */
  get hasEverything(): boolean {
    return this.#wants.databases.isAll
  }

  /** Offers the replica the role of primary, when it has been sent all there is. */
  offer(token: string): void {
    this.#offer = token
    this.#news.open()
  }

  /** Ends the stream. A replica that knows what it means is told who is the primary now. */
  end(lease: string | undefined): void {
    this.#farewell = this.replica?.url === undefined ? undefined : lease
    this.#isEnding = true
    this.#news.open()
  }

  isWanted(database: string): boolean {
    return this.#wants.databases.matches(database)
  }

  /** What has been sent of each database. */
  get sent(): ReadonlyMap<string, Pos> {
    return this.#known
  }

  /** The transaction that is sent next; undefined while the replica has nothing of the database. */
  nextTxid(database: string): Txid | undefined {
    const known = this.#known.get(database)
    return known === undefined || known.txid === 0n ? undefined : known.txid + 1n
  }

  async run(): Promise<void> {
    const { positions, clock } = this.#context
    this.#turnMs = clock.monotonicMs()
    let isReady = false
    let heartbeatMs = 0 // the last one
    for (;;) {
      const seen = positions.changeCount
      const passMs = clock.wallMs() // whatever was there by then has been sent when the pass is over
      for (const name of this.#names()) {
        if (!this.#isEnding) await this.#sendDatabase(name)
      }
      if (this.#isClosed) return
      if (this.#isEnding) return this.#leave()
      if (!isReady) await this.#send({ type: "ready" })
      // Also under load: a replica takes it for the proof that it has everything up to the time in it.
      if (!isReady || clock.monotonicMs() - heartbeatMs >= HEARTBEAT_MS) {
        await this.#send({ type: "heartbeat", timestampMs: passMs })
        heartbeatMs = clock.monotonicMs()
      }
      isReady = true
      if (positions.changeCount !== seen || this.#isEnding) continue
      if (this.#offer !== undefined) {
        await this.#send({ type: "handoff", leaseId: this.#offer })
        this.#offer = undefined
      }
      const pauseMs = HEARTBEAT_MS - (clock.monotonicMs() - heartbeatMs)
      const cancel = clock.after(Math.max(0, pauseMs), () => this.#news.open())
      await this.#news.wait()
      cancel()
      this.#turnMs = clock.monotonicMs()
    }
  }

  async #leave(): Promise<void> {
    if (this.#farewell !== undefined) await this.#send({ type: "handoff", leaseId: this.#farewell })
    await this.#send({ type: "end" })
    this.#response.end()
  }

  /** Databases that either side has and the replica wants. */
  #names(): string[] {
    const names = new Set(this.#known.keys())
    const { positions } = this.#context
    for (let slot = 0; slot < positions.count; slot++) names.add(positions.name(slot))
    return [...names].filter((name) => this.#wants.databases.matches(name))
  }

  /** Sends what the replica lacks of a database. */
  async #sendDatabase(name: string): Promise<void> {
    const { positions } = this.#context
    const slot = positions.find(name)
    if (slot === undefined) {
      this.#known.delete(name)
      await this.#send({ type: "dropDb", database: name })
      return
    }
    for (;;) {
      const { pos, stored } = positions.read(slot)
      const known = this.#known.get(name) ?? ZERO_POS
      if (this.#isClosed || this.#isEnding || posEquals(known, pos)) return
      const isBehind = known.txid < pos.txid
      const next = isBehind ? this.#findRecent(slot, known) : undefined
      if (next === undefined && isBehind && known.txid >= stored.txid) return // its file is being made
      await this.#sendHead(name, known, pos)
      const sent =
        (next !== undefined ? await this.#sendBytes(name, next) : undefined) ??
        (isBehind && known.txid > 0n ? await this.#sendFile(name, known, stored) : undefined) ??
        (await this.#sendSnapshot(name))
      if (sent === undefined) return
      this.#known.set(name, sent)
    }
  }

  async #sendHead(database: string, known: Pos, { txid }: Pos): Promise<void> {
    if (!this.#wants.heads || txid <= known.txid + 1n) return
    const nowMs = this.#context.clock.monotonicMs()
    if (nowMs - this.#lastHeadMs < HEAD_MS) return
    this.#lastHeadMs = nowMs
    await this.#send({ type: "head", txid, database })
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
    await this.#write(encodeFrame({ type: "ltx", size: 0n, database: name }))
    const chunks = new ChunkWriter((bytes) => this.#write(bytes))
    const handle = await open(file.path)
    try {
      for await (const part of handle.createReadStream({ autoClose: false })) {
        await chunks.write(part as Uint8Array)
      }
    } finally {
      await handle.close()
    }
    await chunks.end()
    return file.pos
  }

  async #sendBytes(database: string, file: { bytes: Uint8Array; pos: Pos }): Promise<Pos> {
    this.#context.counters?.frame(database, "ltx")
    const frame = encodeFrame({ type: "ltx", size: 0n, database })
    await this.#write(Buffer.concat([frame, encodeChunks(file.bytes)]))
    return file.pos
  }

  /** The transaction that follows on `known`, if it is one of the last. */
  #findRecent(slot: Slot, known: Pos): { bytes: Uint8Array; pos: Pos } | undefined {
    const bytes = this.#context.recent?.find(slot, known.txid + 1n)
    return bytes === undefined || known.txid === 0n ? undefined : following(bytes, known)
  }

  async #sendSnapshot(name: string): Promise<Pos | undefined> {
    const snapshot = (await this.#resume(name)) ?? (await this.#startSnapshot(name))
    if (snapshot === undefined) return undefined
    await this.#write(encodeFrame({ type: "ltx", size: 0n, database: name }))
    const chunks = new ChunkWriter((bytes) => this.#write(bytes))
    try {
      for (;;) {
        const part = await snapshot.next()
        if (part === undefined) break
        await chunks.write(part)
        if (this.#isClosed) return this.#park(snapshot)
      }
    } catch (error) {
      await snapshot.end()
      throw error
    }
    await chunks.end()
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
    if (this.#wants.canResume) await this.#send({ type: "resumable", database: name, token })
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
    await this.#send({ type: "resuming", ...point })
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
    const known = this.#known.get(name)
    if (!this.#wants.verdicts || known === undefined || known.txid === 0n) return
    let is: "same" | "other" | undefined
    try {
      is = ancestryOf(this.#context.dataDir, name, known, pos)
    } catch (error) {
      // A file was removed under our hands: then the replica keeps more than it has to.
      log.debug("cannot judge the position of a replica", { db: name, error })
    }
    if (is !== undefined) await this.#send({ type: "judged", database: name, pos: known, is })
  }

  async #send(frame: Frame): Promise<void> {
    await this.#write(encodeFrame(frame))
  }

  /** Waits when the replica is slower than we are: what it has not taken stays on the disk. */
  async #write(bytes: Uint8Array): Promise<void> {
    if (this.#isClosed) return
    this.#context.counters?.bytes(bytes.length)
    this.#response.write(bytes)
    while (this.#response.writableNeedDrain && !this.#isClosed) await this.#news.wait()
    const { clock } = this.#context
    if (clock.monotonicMs() - this.#turnMs < TURN_MS) return
    await sleep(clock, 0)
    this.#turnMs = clock.monotonicMs()
  }
}

/** Chunk framing around parts, each sent before the next is asked for. */
class ChunkWriter {
  readonly #send: (bytes: Uint8Array) => Promise<void>
  readonly #encoder: ChunkEncoder
  #framed: Uint8Array[] = []

  constructor(send: (bytes: Uint8Array) => Promise<void>) {
    this.#send = send
    this.#encoder = new ChunkEncoder((bytes) => this.#framed.push(bytes.slice()))
  }

  async write(part: Uint8Array): Promise<void> {
    this.#encoder.write(part)
    await this.#flush()
  }

  async end(): Promise<void> {
    this.#encoder.end()
    await this.#flush()
  }

  async #flush(): Promise<void> {
    const bytes = Buffer.concat(this.#framed)
    this.#framed = []
    await this.#send(bytes)
  }
}
