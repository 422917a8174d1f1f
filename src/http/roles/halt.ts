/**
 * The routes by which another node writes to a database of the primary.
 *
 *   POST   /halt?name=DB&id=ID      lends the write lock, or renews it, when it is lent with this id. Answers with
 *                                   {"id":ID,"pos":{"TXID":HEX,"PostApplyChecksum":HEX},"expires":TIME}
 *   DELETE /halt?name=DB&id=ID      takes it back; nothing happens when it is not lent with this id
 *   POST   /tx?name=DB&lockID=ID    a transaction: the body is an LTX file. 200 when it is durable and applied
 *
 *   POST   /synced?name=DB&id=ID&pos=POS   of the holder: 200 when as many replicas as this primary waits for have the
 *                                   transaction that has led there, the holder perhaps among them; 503 when they have
 *                                   not after some seconds; 409 when the lock is not held, or the database elsewhere
 *
 * `ttl` (milliseconds, 30000) is how long the lock is lent without a renewal, `wait` (10000) how long to wait for
 * others. `Litefs-Halt-Wanted: 1` in an answer: others wait for the lock. `Litefs-Unsynced: 1` in an answer to one of our
 * nodes: it has to ask whether replicas have the transaction; who cannot ask is answered when they have. 409: somebody else has the lock, or the
 * transaction does not follow on the present one.
 */
import type { IncomingMessage, ServerResponse } from "node:http"
import type { HaltLocks } from "../../cluster/locks/halt-locks.ts"
import { headerOf } from "../../cluster/locks/sent-transaction.ts"
import type { SyncReplicas } from "../../cluster/sync-replicas.ts"
import type { Clock } from "../../lib/clock.ts"
import { LitefsError } from "../../lib/errors.ts"
import { LTX_HEADER_SIZE } from "../../ltx/header.ts"
import { formatChecksum, formatTxid, parsePos } from "../../ltx/pos.ts"
import { LTX_TRAILER_SIZE } from "../../ltx/trailer.ts"
import { ACKNOWLEDGES_HEADER, UNSYNCED_HEADER, WANTED_HEADER } from "../../wire/protocol.ts"
import { databaseNameOf, numberOf } from "../server/query.ts"
import { senderOf } from "../server/request-log.ts"
import { type ApiRoutes, checkRouteQuery } from "../server/routes.ts"
import { Spool, type SpoolLimits } from "./spool.ts"

const TTL_MS = 30_000
const TTL_MS_MAX = 300_000
const WAIT_MS = 10_000
const WAIT_MS_MAX = 60_000
/** Who asks POST /synced asks again then. */
const SYNCED_MS_MAX = 5000
const MIB = 1024 * 1024
const TRANSACTION = { sizeMax: 1024 * MIB, timeMs: 60_000 }
const TRANSACTIONS: SpoolLimits = {
  memorySizeMax: MIB,
  memoryTotalMax: 32 * MIB,
  fileTotalMax: 2048 * MIB,
}
const ID_MAX = 2n ** 63n - 1n

export interface HaltContext {
  readonly locks: HaltLocks
  readonly clock: Clock
  readonly sync: SyncReplicas
  /** This node's id: it does not borrow from itself. */
  readonly id: string
  /** Before that, nothing can be lent. */
  readonly mounted: Promise<void>
  /** Where a transaction is kept that is too large for memory. */
  spoolPath(number: number): string
  /** Of the file system of the data directory, in bytes; 0 where it counts none. */
  diskSize(): number
}

export function haltRoutes(context: HaltContext): ApiRoutes {
  const spool = new Spool((number) => context.spoolPath(number), TRANSACTIONS, context.clock)
  return {
    "/halt": {
      POST: (request, response, url) => handleHalt(context, request, response, url),
      DELETE: async ({ headers }, response, url) => {
        checkRouteQuery(url, "DELETE /halt")
        checkSender(headers, context.id, "unhalt")
        await context.locks.release(databaseNameOf(url), idOf(url, "id"))
        response.end()
      },
    },
    "/tx": {
      POST: async (request, response, url) => {
        checkRouteQuery(url, "POST /tx")
        checkSender(request.headers, context.id, "halt")
        const gone = goneSignal(response)
        await handleTransaction(context, spool, request, url, gone)
        const { sync } = context
        if (sync.isOn && request.headers[ACKNOWLEDGES_HEADER] !== undefined) {
          response.setHeader(UNSYNCED_HEADER, "1")
        } else await sync.acknowledged(databaseNameOf(url), gone)
        tellWanted(context.locks, databaseNameOf(url), response)
        response.end()
      },
    },
    "/synced": {
      POST: (_, response, url) => handleSynced(context, response, url),
    },
  }
}

async function handleSynced(
  { locks, sync, clock }: HaltContext,
  response: ServerResponse,
  url: URL,
): Promise<void> {
  checkRouteQuery(url, "POST /synced")
  const name = databaseNameOf(url)
  const pos = parsePos(url.searchParams.get("pos") ?? "")
  if (pos === undefined) throw new LitefsError("usage", "Cannot use pos: TXID/CHECKSUM expected")
  locks.checkTaken(name, idOf(url, "id"), pos)
  const over = new AbortController()
  const cancel = clock.after(SYNCED_MS_MAX, () => over.abort())
  const signal = AbortSignal.any([goneSignal(response), over.signal])
  response.statusCode = (await sync.after(name, pos, signal)) === undefined ? 200 : 503
  cancel()
  response.end()
}

/** Aborted when nobody waits for the answer any more. */
function goneSignal(response: ServerResponse): AbortSignal {
  const gone = new AbortController()
  response.once("close", () => gone.abort(new LitefsError("unavailable", "its sender has gone")))
  return gone.signal
}

/** Refuses a sender that does not hold the lock, or whose transaction cannot follow, before it reads the body. */
async function handleTransaction(
  { locks, mounted, sync, diskSize }: HaltContext,
  spool: Spool,
  request: IncomingMessage,
  url: URL,
  gone: AbortSignal,
): Promise<void> {
  const name = databaseNameOf(url)
  const id = idOf(url, "lockID")
  locks.checkHeld(name, id)
  const transaction = await spool.receive(request, TRANSACTION, {
    ...{ startSize: LTX_HEADER_SIZE, endSize: LTX_TRAILER_SIZE },
    atStart: (start) => {
      locks.checkStart(name, start)
      checkClaim(name, start, diskSize())
    },
  })
  try {
    await mounted
    await sync.allowed(name, gone) // here, because the holder must be able to renew the lock meanwhile
    await locks.apply(name, id, transaction)
  } finally {
    await transaction.remove()
  }
}

/** Throws when the database would be larger than the disk: that is nobody's transaction. */
function checkClaim(name: string, start: Uint8Array, diskSize: number): void {
  const { pageSize, commit } = headerOf(start)
  const pages = Math.floor(diskSize / pageSize)
  if (diskSize === 0 || commit <= pages) return
  const problem = `it says that the database has ${commit} pages, the whole disk has room for ${pages}`
  throw new LitefsError("invalid", `Cannot apply a transaction to "${name}": ${problem}`)
}

async function handleHalt(
  { locks, id: ownId, mounted }: HaltContext,
  request: IncomingMessage,
  response: ServerResponse,
  url: URL,
): Promise<void> {
  checkRouteQuery(url, "POST /halt")
  checkSender(request.headers, ownId, "halt")
  const name = databaseNameOf(url)
  const node = nameOf(request)
  await mounted
  const { id, pos, expiresMs } = await locks.acquire(name, {
    signal: goneSignal(response),
    id: idOf(url, "id"),
    node,
    ttlMs: Math.min(numberOf(url, "ttl") ?? TTL_MS, TTL_MS_MAX),
    waitMs: Math.min(numberOf(url, "wait") ?? WAIT_MS, WAIT_MS_MAX),
  })
  const position = { TXID: formatTxid(pos.txid), PostApplyChecksum: formatChecksum(pos.checksum) }
  const expires = new Date(expiresMs).toISOString()
  tellWanted(locks, name, response)
  // The id is a number of 64 bits, as in the original.
  response.setHeader("Content-Type", "application/json")
  response.end(`{"id":${id},"pos":${JSON.stringify(position)},"expires":"${expires}"}\n`)
}

function tellWanted(locks: HaltLocks, name: string, response: ServerResponse): void {
  if (locks.isWanted(name)) response.setHeader(WANTED_HEADER, "1")
}

function checkSender(headers: IncomingMessage["headers"], ownId: string, verb: string): void {
  const id = headers["litefs-id"]
  if (typeof id !== "string" || id.toUpperCase() !== ownId) return
  throw new LitefsError("usage", `cannot remotely ${verb} self`)
}

function nameOf(request: IncomingMessage): string {
  const { from, node } = senderOf(request)
  return node ?? from
}

function idOf({ searchParams }: URL, name: string): bigint {
  const text = searchParams.get(name) ?? ""
  const id = /^\d{1,19}$/.test(text) ? BigInt(text) : 0n
  if (id > 0n && id <= ID_MAX) return id
  throw new LitefsError("usage", `invalid ${name === "id" ? "id" : "lock id"}: "${text}"`)
}
