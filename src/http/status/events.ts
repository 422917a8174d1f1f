/**
 * `GET /events`: a line of JSON for each transaction and each change of the primary, as they happen.
 *
 * Changes are announced in batches: positions tell where each database was and is, and LTX files what came between. A
 * transaction without a file of its own, from a snapshot or a file of several, has no line either; the last one of them
 * has. Nothing is read while nobody listens.
 *
 * A listener that does not read is cut off: the data that waits for it has a limit.
 */
import type { IncomingMessage, ServerResponse } from "node:http"
import { LitefsError } from "../../lib/errors.ts"
import type { Txid } from "../../ltx/pos.ts"
import type { Positions, Slot } from "../../store/positions.ts"
import { checkQuery } from "../server/query.ts"
import { RequestLog, type Sender, senderOf } from "../server/request-log.ts"
import { type Leadership, leadershipLine, type Transaction, transactionLine } from "./event-json.ts"

const log = new RequestLog("events")

/** Bytes that may wait for one listener: some 1500 events. */
const WAITING_SIZE_MAX = 256 * 1024

const LISTENER_COUNT_MAX = 256

/** Transactions of one database to look up at a time. Of a longer batch only the last ones are reported. */
const CATCH_UP_COUNT_MAX = 1000

export interface EventsContext {
  readonly positions: Positions
  leadership(): Leadership
  /** A transaction, from its LTX file; undefined when there is no file. */
  readTransaction(database: string, txid: Txid): Transaction | undefined
}

export class EventFeed {
  readonly #context: EventsContext
  readonly #listeners = new Map<ServerResponse, Sender>()
  readonly #told = new Map<Slot, Txid>()
  #seenChangeCount = 0

  constructor(context: EventsContext) {
    this.#context = context
  }

  get listenerCount(): number {
    return this.#listeners.size
  }

  handle(request: IncomingMessage, response: ServerResponse, url: URL): void {
    checkQuery(url, [])
    if (this.#listeners.size >= LISTENER_COUNT_MAX) {
      const problem = `${LISTENER_COUNT_MAX} others do, try again later`
      throw new LitefsError("unavailable", `Cannot listen for events: ${problem}`)
    }
    if (this.#listeners.size === 0) this.#start()
    else this.positionsChanged() // earlier changes are not for this one
    this.#listeners.set(response, senderOf(request))
    response.on("close", () => this.#listeners.delete(response))
    response.writeHead(200, { "Content-Type": "application/json", "Cache-Control": "no-store" })
    response.write(leadershipLine("init", this.#context.leadership()))
  }

  positionsChanged(): void {
    const { positions } = this.#context
    const { changeCount } = positions
    if (this.#listeners.size === 0 || changeCount === this.#seenChangeCount) return
    const changed = positions.changedSince(this.#seenChangeCount)
    this.#seenChangeCount = changeCount
    let lines = ""
    for (const database of changed ?? [...positions.entries()].map(([name]) => name)) {
      const slot = positions.find(database)
      if (slot !== undefined) lines += this.#newLines(database, slot)
    }
    if (this.#told.size > positions.count) this.#forgetFreed()
    if (lines !== "") this.#send(lines)
  }

  primaryChanged(): void {
    if (this.#listeners.size === 0) return
    this.#send(leadershipLine("primaryChange", this.#context.leadership()))
  }

  #start(): void {
    const { positions } = this.#context
    this.#told.clear()
    this.#seenChangeCount = positions.changeCount
    for (const [, slot] of positions.entries()) {
      this.#told.set(slot, positions.read(slot).stored.txid)
    }
  }

  #forgetFreed(): void {
    const taken = new Set([...this.#context.positions.entries()].map(([, slot]) => slot))
    for (const slot of this.#told.keys()) if (!taken.has(slot)) this.#told.delete(slot)
  }

  #newLines(database: string, slot: Slot): string {
    const { positions, readTransaction } = this.#context
    const { pos, stored, pageSize, commit, timestampMs } = positions.read(slot)
    const told = this.#told.get(slot) ?? 0n
    if (stored.txid === told) return ""
    this.#told.set(slot, stored.txid)
    let lines = ""
    for (let txid = firstOfBunch(told, stored.txid); txid <= stored.txid; txid++) {
      const isLast = txid === pos.txid
      const transaction = isLast
        ? { database, pos, pageSize, commit, timestampMs }
        : readTransaction(database, txid)
      if (transaction !== undefined) lines += transactionLine(transaction)
    }
    return lines
  }

  #send(lines: string): void {
    for (const [response, sender] of [...this.#listeners]) {
      response.write(lines)
      if (response.writableLength <= WAITING_SIZE_MAX) continue
      log.say("warn", "cut off a listener for events that does not read them", sender)
      this.#listeners.delete(response)
      response.destroy()
    }
  }
}

/** When another history has replaced a longer one, only its end can be reported. */
function firstOfBunch(told: Txid, last: Txid): Txid {
  if (last < told) return last
  const earliest = last - BigInt(CATCH_UP_COUNT_MAX) + 1n
  return told < earliest ? earliest : told + 1n
}
