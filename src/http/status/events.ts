/**
 * `GET /events`: a line of JSON for each transaction and each change of the primary, as they happen.
 *
 * Changes are announced in batches: positions tell where each database was and is, and LTX files what came between. A
 * transaction without a file of its own, from a snapshot or a file of several, has no line either; the last one of them
 * has. Nothing is read while nobody listens.
 *
 * A listener that does not read is cut off: the data that waits for it has a limit.
 *
 * The lines are as the original writes them:
 *
 *   {"type":"init","data":{"isPrimary":false,"hostname":"a.local"}}
 *   {"type":"tx","db":"app.db","data":{"txID":"0000000000000008","postApplyChecksum":"a9d162953bb26ce7",
 *    "pageSize":4096,"commit":2,"timestamp":"2026-11-23T00:47:32.209Z"}}
 *   {"type":"primaryChange","data":{"isPrimary":false,"hostname":"a.local"}}
 *
 * `hostname` is the primary's; it is missing on the primary, and while there is no primary.
 */
import type { IncomingMessage, ServerResponse } from "node:http"
import { LitefsError } from "../../lib/errors.ts"
import { formatChecksum, formatTxid, type Txid } from "../../ltx/pos.ts"
import type { DatabaseState, Positions, Slot } from "../../store/positions.ts"
import { encodeJson } from "../server/json.ts"
import { Listeners } from "../server/listeners.ts"
import { checkQuery } from "../server/query.ts"
import { RequestLog, senderOf } from "../server/request-log.ts"

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
  readTransaction(database: string, txid: Txid): DatabaseState | undefined
}

export class EventFeed {
  readonly #context: EventsContext
  readonly #listeners = new Listeners({
    waitingSizeMax: WAITING_SIZE_MAX,
    log,
    cutOff: "cut off a listener for events that does not read them",
  })
  readonly #told = new Map<Slot, Txid>()
  #seenChangeCount = 0

  constructor(context: EventsContext) {
    this.#context = context
  }

  get listenerCount(): number {
    return this.#listeners.count
  }

  handle(request: IncomingMessage, response: ServerResponse, url: URL): void {
    checkQuery(url, [])
    if (this.#listeners.count >= LISTENER_COUNT_MAX) {
      const problem = `${LISTENER_COUNT_MAX} others do, try again later`
      throw new LitefsError("unavailable", `Cannot listen for events: ${problem}`)
    }
    if (this.#listeners.count === 0) this.#start()
    else this.positionsChanged() // earlier changes are not for this one
    this.#listeners.add(response, senderOf(request))
    response.on("close", () => this.#listeners.remove(response))
    response.writeHead(200, { "Content-Type": "application/json", "Cache-Control": "no-store" })
    response.write(leadershipLine("init", this.#context.leadership()))
  }

  positionsChanged(): void {
    const { positions } = this.#context
    const { changeCount } = positions
    if (this.#listeners.count === 0 || changeCount === this.#seenChangeCount) return
    const changed = positions.changedSince(this.#seenChangeCount)
    this.#seenChangeCount = changeCount
    let lines = ""
    for (const database of changed ?? [...positions.entries()].map(([name]) => name)) {
      const slot = positions.find(database)
      if (slot !== undefined) lines += this.#newLines(database, slot)
    }
    if (this.#told.size > positions.count) this.#forgetFreed()
    if (lines !== "") this.#listeners.send(lines)
  }

  primaryChanged(): void {
    if (this.#listeners.count === 0) return
    this.#listeners.send(leadershipLine("primaryChange", this.#context.leadership()))
  }

  #start(): void {
    const { positions } = this.#context
    this.#told.clear()
    this.#seenChangeCount = positions.changeCount
    for (const [, slot] of positions.entries()) {
      this.#told.set(slot, positions.read(slot).pos.txid)
    }
  }

  #forgetFreed(): void {
    const taken = new Set([...this.#context.positions.entries()].map(([, slot]) => slot))
    for (const slot of this.#told.keys()) if (!taken.has(slot)) this.#told.delete(slot)
  }

  #newLines(database: string, slot: Slot): string {
    const { positions, readTransaction } = this.#context
    const { pos, pageSize, commit, timestampMs } = positions.read(slot)
    const told = this.#told.get(slot) ?? 0n
    if (pos.txid === told) return ""
    this.#told.set(slot, pos.txid)
    let lines = ""
    // The last one needs no file, which may come later.
    for (let txid = firstOfBunch(told, pos.txid); txid <= pos.txid; txid++) {
      const isLast = txid === pos.txid
      const transaction = isLast
        ? { pos, pageSize, commit, timestampMs }
        : readTransaction(database, txid)
      if (transaction !== undefined) lines += transactionLine(database, transaction)
    }
    return lines
  }
}

/** When another history has replaced a longer one, only its end can be reported. */
function firstOfBunch(told: Txid, last: Txid): Txid {
  if (last < told) return last
  const earliest = last - BigInt(CATCH_UP_COUNT_MAX) + 1n
  return told < earliest ? earliest : told + 1n
}

interface Leadership {
  readonly isPrimary: boolean
  readonly hostname: string | undefined
}

function leadershipLine(
  type: "init" | "primaryChange",
  { isPrimary, hostname }: Leadership,
): string {
  const data = { isPrimary, ...(hostname === undefined ? {} : { hostname }) }
  return `${encodeJson({ type, data })}\n`
}

function transactionLine(database: string, transaction: DatabaseState): string {
  const { pos, pageSize, commit, timestampMs } = transaction
  const data = {
    txID: formatTxid(pos.txid),
    postApplyChecksum: formatChecksum(pos.checksum),
    pageSize,
    commit,
    timestamp: formatTime(timestampMs),
  }
  return `${encodeJson({ type: "tx", db: database, data })}\n`
}

/** RFC 3339 without trailing zeros in the fraction, like Go's RFC3339Nano. */
function formatTime(timestampMs: number): string {
  return new Date(timestampMs).toISOString().replace(/\.?0+Z$/, "Z")
}
