/**
 * The stream to one replica, for as long as it listens:
 *
 *   catch up: every database (database-sender.ts) ─▶ Ready ─▶ live: whatever changes, and a heartbeat ─▶ end()
 *
 * Between two transactions the replica may be offered the role of primary; the last word, when there is a new primary,
 * is who that is.
 */
import type { ServerResponse } from "node:http"
import { Gate } from "../../lib/gate.ts"
import type { Pos, Txid } from "../../ltx/pos.ts"
import { DatabaseSender, type DatabaseSenderContext, type Step } from "./database-sender.ts"
import { NO_WANTS, type Wants } from "./replica-wants.ts"
import { StreamWriter } from "./stream-writer.ts"
import { UnsentDatabases } from "./unsent-databases.ts"

const HEARTBEAT_MS = 1000

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
  #offer: string | undefined // to be sent when there is nothing else to send
  #farewell: string | undefined
  #isEnding = false

  constructor(
    context: ReplicaStreamContext,
    response: ServerResponse,
    known: Map<string, Pos>,
    wants: Wants = NO_WANTS,
    replica?: StreamReplica,
  ) {
    const { clock, counters } = context
    this.replica = replica
    this.#context = context
    this.#wants = wants
    this.#writer = new StreamWriter(response, clock, (size) => counters?.bytes(size))
    this.#sender = new DatabaseSender(context, this.#writer, wants, known)
    const { positions, leftOut } = context
    const names = () => this.#sender.names()
    this.#unsent = new UnsentDatabases({ positions, names, ...(leftOut && { leftOut }) })
    this.#unsubscribe = context.onChange(() => this.#news.open())
    response.on("close", () => this.#news.open())
  }

  close(): void {
    this.#unsubscribe()
  }

  /** Whether the replica is to have every database. */
  get hasEverything(): boolean {
    return this.#wants.databases.isAll && this.#wants.leftOut.size === 0
  }

  isWanted(database: string): boolean {
    return this.#sender.isWanted(database)
  }

  /** What the replica cannot take, for now. */
  get leftOut(): ReadonlySet<string> {
    return this.#wants.leftOut
  }

  /** What has been sent of each database. */
  get sent(): ReadonlyMap<string, Pos> {
    return this.#sender.sent
  }

  /** The transaction that is sent next; undefined while the replica has nothing of the database. */
  nextTxid(database: string): Txid | undefined {
    return this.#sender.nextTxid(database)
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
    let heartbeatMs = 0 // the last one
    let passMs: number | undefined // the start of the last pass in which everything was sent
    for (;;) {
      const seen = positions.changeCount
      const startMs = clock.wallMs()
      const names = this.#unsent.look()
      await this.#sender.list(names)
      const isWhole = await this.#sendDatabases(names)
      // Whatever was there by then has been sent.
      if (isWhole || passMs === undefined) passMs = startMs
      if (this.#writer.isClosed) return
      if (this.#isEnding) return this.#leave()
      if (!isReady) await this.#writer.frame({ type: "ready" })
      // Also under load: a replica takes it for the proof that it has everything up to the time in it.
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

  /** Whether the replica has been sent all there is. */
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
