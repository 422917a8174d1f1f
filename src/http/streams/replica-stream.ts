/**
 * The stream to one replica, for as long as it listens:
 *
 *   catch up: every database (database-sender.ts) ─▶ Ready ─▶ live: whatever changes, and a heartbeat ─▶ end()
 *
 * Between two transactions the stream may offer the role of primary to the replica. Its last message, when there is a
 * new primary, names that one.
 */
import { Gate } from "../../lib/gate.ts"
import type { Pos, Txid } from "../../ltx/pos.ts"
import type { Positions } from "../../store/positions.ts"
import type { BodyWriter } from "../server/body-writer.ts"
import { DatabaseSender, type DatabaseSenderContext, type Step } from "./database-sender.ts"
import type { LeftOutDatabases } from "./left-out-databases.ts"
import { NO_WANTS, type Wants } from "./replica-wants.ts"
import { StreamWriter } from "./stream-writer.ts"

const HEARTBEAT_MS = 1000
const SILENCE_MS_MIN = 3 * HEARTBEAT_MS

export interface StreamReplica {
  readonly id: string | undefined
  readonly name: string
  readonly connectedMs: number // since 1970
  /** Where other nodes reach it, if it has said so. */
  readonly url?: string | undefined
  /** Whether it may become the primary. */
  readonly isCandidate?: boolean
}

export interface ReplicaStreamContext extends DatabaseSenderContext {
  /** Calls back whenever positions have changed, until the returned function is called. */
  onChange(listener: () => void): () => void
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
  readonly #context: ReplicaStreamContext
  readonly #wants: Wants
  readonly #writer: StreamWriter
  readonly #sender: DatabaseSender
  readonly #unsent: UnsentDatabases
  readonly #news = new Gate() // a change, a closed connection, an offer, or time for a heartbeat
  readonly #unsubscribe: () => void
  readonly #ended = Promise.withResolvers<void>()
  #offer: string | undefined // to send when there is nothing else to send
  #farewell: string | undefined
  #isEnding = false

  constructor(
    context: ReplicaStreamContext,
    body: BodyWriter,
    known: Map<string, Pos>,
    wants: Wants = NO_WANTS,
    replica?: StreamReplica,
  ) {
    const { clock, counters } = context
    this.replica = replica
    this.#context = context
    this.#wants = wants
    this.#writer = new StreamWriter(body, clock, (size) => counters?.bytes(size))
    this.#sender = new DatabaseSender(context, this.#writer, wants, known)
    const { positions, leftOut } = context
    const names = () => this.#sender.names()
    this.#unsent = new UnsentDatabases({ positions, names, ...(leftOut && { leftOut }) })
    this.#unsubscribe = context.onChange(() => this.#news.open())
    body.onClose(() => this.#news.open())
  }

  close(): void {
    this.#unsubscribe()
  }

  /** Whether the replica wants every database. */
  get hasEverything(): boolean {
    return this.#wants.databases.isAll && this.#wants.leftOut.size === 0
  }

  isWanted(database: string): boolean {
    return this.#sender.isWanted(database)
  }

  /** The databases that the replica cannot take for now. */
  get leftOut(): ReadonlySet<string> {
    return this.#wants.leftOut
  }

  /** What has been sent of each database. */
  get sent(): ReadonlyMap<string, Pos> {
    return this.#sender.sent
  }

  /**
   * For how long the replica has been silent: with a heartbeat each second a machine that is there says something. What
   * was sent since then may not have arrived. Undefined when it is not silent, or nobody knows.
   */
  get silentMs(): number | undefined {
    const ms = this.#writer.body.silentMs
    return ms !== undefined && ms >= SILENCE_MS_MIN ? ms : undefined
  }

  /** The next transaction to send; undefined while the replica has nothing of the database. */
  nextTxid(database: string): Txid | undefined {
    return this.#sender.nextTxid(database)
  }

  /** Offers the replica the role of primary, after everything else was sent. */
  offer(token: string): void {
    this.#offer = token
    this.#news.open()
  }

  /** Ends the stream. A replica that understands the message hears who is the primary now. */
  end(lease: string | undefined): void {
    this.#farewell = this.replica?.url === undefined ? undefined : lease
    this.#isEnding = true
    this.#news.open()
  }

  /** Resolves when run() has. */
  get ended(): Promise<void> {
    return this.#ended.promise
  }

  /** Resolves when the stream has ended, or its connection has. */
  async run(): Promise<void> {
    try {
      await this.#run()
    } finally {
      this.#ended.resolve()
    }
  }

  async #run(): Promise<void> {
    const { positions, clock } = this.#context
    this.#writer.turns.begin()
    let isReady = false
    let heartbeatMs = 0 // of the last one
    let passMs: number | undefined // the start of the last pass that sent everything
    for (;;) {
      const seen = positions.changeCount
      const startMs = clock.wallMs()
      const names = this.#unsent.look()
      await this.#sender.list(names)
      const isWhole = await this.#sendDatabases(names)
      // Everything that existed by then has been sent.
      if (isWhole || passMs === undefined) passMs = startMs
      if (this.#writer.isClosed) return
      if (this.#isEnding) return this.#leave()
      if (!isReady) await this.#writer.frame({ type: "ready" })
      // Also under load: to a replica it proves that it has everything up to the time in it.
      if (!isReady || clock.monotonicMs() - heartbeatMs >= HEARTBEAT_MS) {
        await this.#writer.frame({ type: "heartbeat", timestampMs: passMs })
        heartbeatMs = clock.monotonicMs()
      }
      isReady = true
      if (positions.changeCount !== seen || this.#isEnding) continue
      if (this.#offer !== undefined) {
        await this.#writer.frame({ type: "handoff", leaseId: this.#offer })
        this.#offer = undefined
      }
      await this.#waitForNews(HEARTBEAT_MS - (clock.monotonicMs() - heartbeatMs))
    }
  }

  /** Sends what the replica lacks. Resolves with whether that was everything. */
  async #sendDatabases(names: Iterable<string>): Promise<boolean> {
    let isWhole = true
    for (const name of names) {
      let step: Step
      do {
        if (this.#writer.isClosed || this.#isEnding) return false
        step = await this.#sender.sendNext(name)
      } while (step === "sent")
      if (step === "later") isWhole = false
      else this.#unsent.sent(name)
    }
    return isWhole
  }

  async #waitForNews(limitMs: number): Promise<void> {
    const cancel = this.#context.clock.after(Math.max(0, limitMs), () => this.#news.open())
    await this.#news.wait()
    cancel()
    this.#writer.turns.begin()
  }

  async #leave(): Promise<void> {
    if (this.#farewell !== undefined) {
      await this.#writer.frame({ type: "handoff", leaseId: this.#farewell })
    }
    await this.#writer.frame({ type: "end" })
    this.#writer.end()
  }
}

interface UnsentContext {
  readonly positions: Positions
  readonly leftOut?: LeftOutDatabases
  /** All databases of either side. */
  names(): Iterable<string>
}

/**
 * The databases of which a replica may lack something: at first all, then those that have changed. The cost of a commit
 * to a stream thus depends on what has changed, not on what exists.
 */
class UnsentDatabases {
  readonly #context: UnsentContext
  readonly #names = new Set<string>()
  #seen: number | undefined // the count of changes of positions
  #seenLeftOut = 0

  constructor(context: UnsentContext) {
    this.#context = context
  }

  /** Includes those that have changed by now. Take a database out when it is sent. */
  look(): ReadonlySet<string> {
    const { positions, leftOut, names } = this.#context
    const changeCount = positions.changeCount
    const leftOutCount = leftOut?.changeCount ?? 0
    const isKnown = this.#seen !== undefined && leftOutCount === this.#seenLeftOut
    const changed = isKnown ? positions.changedSince(this.#seen as number) : undefined
    for (const name of changed ?? names()) this.#names.add(name)
    this.#seen = changeCount
    this.#seenLeftOut = leftOutCount
    return this.#names
  }

  /** The replica has all of the database, until it changes. */
  sent(name: string): void {
    this.#names.delete(name)
  }
}
