/** The primary as seen by a node that borrows write locks: the routes of http/roles/halt.ts, from the other end. */
import { type Clock, sleep } from "../../lib/clock.ts"
import { type ErrorCode, LitefsError } from "../../lib/errors.ts"
import { logger } from "../../lib/log.ts"
import { formatPos, type Pos, parsePos } from "../../ltx/pos.ts"
import { UNSYNCED_HEADER, WANTED_HEADER } from "../../wire/protocol.ts"
import type { NodeAnswer } from "../node-client.ts"

const log = logger("halt")

const RETRY_MS = 50
const CALL_ATTEMPTS_MAX = 4

export type CallPrimary = (
  method: "POST" | "DELETE",
  path: string,
  body?: Uint8Array,
) => Promise<NodeAnswer>

interface Loan {
  readonly pos: Pos // of the primary
  readonly isWanted: boolean // by others
}

/** The primary's answer to a transaction. */
interface Verdict {
  /** Why the transaction does not count; undefined when the primary has it. */
  readonly code: ErrorCode | undefined
  readonly problem: string
  readonly isWanted: boolean // others want the lock
  readonly isSynced: boolean // as many replicas as the primary waits for have it
}

export class Lender {
  readonly #clock: Clock
  readonly #call: CallPrimary

  constructor(clock: Clock, call: CallPrimary) {
    this.#clock = clock
    this.#call = call
  }

  /** Borrows the write lock, or renews it. Rejects with `no-lock` when somebody else has it. */
  async lend(database: string, id: bigint, ttlMs: number, waitMs: number): Promise<Loan> {
    const parameters = { id, ttl: BigInt(ttlMs), wait: BigInt(waitMs) }
    const answer = await this.#repeat("POST", `/halt?${query(database, parameters)}`)
    if (answer.status !== 200) throw new LitefsError(refusalOf(answer), answer.text)
    const pos = posOf(answer.text)
    if (pos === undefined) throw new LitefsError("unavailable", `it answered ${answer.text}`)
    return { pos, isWanted: isWanted(answer) }
  }

  /** When this call does not arrive, the primary takes the lock back in time. */
  async takeBack(database: string, id: bigint): Promise<void> {
    try {
      await this.#repeat("DELETE", `/halt?${query(database, { id })}`)
    } catch (error) {
      log.debug("cannot give a write lock back", { db: database, error })
    }
  }

  /** Rejects when the answer is lost: the primary may have the transaction, and recognizes it when it is sent again. */
  async commit(database: string, id: bigint, bytes: Uint8Array): Promise<Verdict> {
    const answer = await this.#call("POST", `/tx?${query(database, { lockID: id })}`, bytes)
    const isSynced = answer.headers[UNSYNCED_HEADER] === undefined
    return { code: verdictOf(answer), problem: answer.text, isWanted: isWanted(answer), isSynced }
  }

  /**
   * Whether enough replicas have what the lock has led to. The primary answers when they have, or after a while. Rejects
   * with `no-lock` when it has not lent this lock, or not for that: nobody knows then what becomes of it.
   */
  async synced(database: string, id: bigint, pos: Pos): Promise<boolean> {
    const parameters = `${query(database, { id })}&${new URLSearchParams({ pos: formatPos(pos) })}`
    const { status, text } = await this.#call("POST", `/synced?${parameters}`)
    if (status === 409) throw new LitefsError("no-lock", text)
    return status === 200
  }

  /** A kept connection may be closed at the moment of its reuse. A repeated request has only one effect. */
  async #repeat(method: "POST" | "DELETE", path: string): Promise<NodeAnswer> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#call(method, path)
      } catch (error) {
        if (attempt === CALL_ATTEMPTS_MAX || error instanceof LitefsError) throw error
      }
      await sleep(this.#clock, RETRY_MS)
    }
  }
}

function refusalOf({ status }: NodeAnswer): ErrorCode {
  if (status === 409) return "no-lock"
  return status === 404 ? "not-found" : "unavailable"
}

function verdictOf({ status }: NodeAnswer): ErrorCode | undefined {
  if (status === 200) return undefined
  if (status === 507) return "no-space"
  return status === 409 || status === 503 ? "no-primary" : "io"
}

function isWanted({ headers }: NodeAnswer): boolean {
  return headers[WANTED_HEADER] !== undefined
}

function query(name: string, numbers: Record<string, bigint>): string {
  const parameters = Object.entries(numbers).map(([key, value]) => [key, value.toString()])
  return new URLSearchParams([["name", name], ...(parameters as [string, string][])]).toString()
}

/** Reads the answer to POST /halt. */
function posOf(text: string): Pos | undefined {
  try {
    const { pos } = JSON.parse(text) as { pos?: { TXID?: string; PostApplyChecksum?: string } }
    return parsePos(`${pos?.TXID}/${pos?.PostApplyChecksum}`)
  } catch {
    return undefined
  }
}
