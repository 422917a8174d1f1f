/**
 * What is in the texts of a store (../stores/lease-store.ts). All of them are JSON.
 *
 *   holder      {"hostname":"b","advertise-url":"http://b:20202","epoch":2,"id":"00C0…","cluster":"LFSC…"}
 *               the original reads and writes the first two
 *   last        {"epoch":2,"id":"00C0…","hostname":"b","url":"http://b:20202","cluster":"LFSC…", POSITIONS}
 *   candidate   {"id":"00C0…","epoch":1,"vacancy":2,"isAble":true, POSITIONS}
 *   POSITIONS   "positions":{"a.db":"TXID/CHECKSUM",…},"isWhole":true,"sum":"42"
 *
 * `sum` is that of the TXIDs of all databases. Of many databases only some have their position told, and `isWhole` is
 * false. A text is never longer than a store takes, and one that is not as it should be is not believed.
 */
import { LitefsError } from "../../lib/errors.ts"
import { formatPos, type Pos, parsePos } from "../../ltx/pos.ts"
import { databaseNameProblem } from "../../wire/database-name.ts"
import { STORE_TEXT_SIZE_MAX } from "../stores/lease-store.ts"
import { isClusterId } from "./cluster-id.ts"
import { asRecord, EPOCH_MAX, type LeaseRecord } from "./lease.ts"

/** For all positions together, characters of JSON. */
const POSITIONS_SIZE_MAX = 64 * 1024
/** As many digits as the TXIDs of as many databases as there can be have. */
const SUM_PATTERN = /^\d{1,25}$/

export interface ToldPositions {
  readonly positions: ReadonlyMap<string, Pos>
  /** Whether `positions` has all databases. */
  readonly isWhole: boolean
  readonly sum: bigint
}

export interface StoredRecord {
  readonly record: LeaseRecord
  readonly cluster: string | undefined
}

/** The newest holder, with what it had. */
export interface LastHolder extends StoredRecord {
  readonly told: ToldPositions
}

export interface Candidate {
  readonly id: string
  /** Of the history that its databases are on. */
  readonly epoch: number
  /** The epoch of the lease that it knows to have ended; undefined while there is a holder. */
  readonly vacancy: number | undefined
  /** Whether it would take the lease. */
  readonly isAble: boolean
  readonly told: ToldPositions
}

export function encodeHolder({ epoch, primary }: LeaseRecord, cluster: string): string {
  const { id, hostname, url } = primary
  return fitting({ hostname, "advertise-url": url, epoch, id, cluster })
}

/** Undefined for what is no record of ours. */
export function decodeHolder(text: string): StoredRecord | undefined {
  const found = objectOf(text)
  if (found === undefined) return undefined
  const record = asRecord({ ...found, url: found["advertise-url"] })
  return record && { record, cluster: clusterOf(found) }
}

export function encodeLast(
  { epoch, primary }: LeaseRecord,
  cluster: string,
  positions: ReadonlyMap<string, Pos>,
): string {
  const { id, hostname, url } = primary
  return fitting({ epoch, id, hostname, url, cluster, ...told(positions) })
}

export function decodeLast(text: string): LastHolder | undefined {
  const found = objectOf(text)
  if (found === undefined) return undefined
  const [record, positions] = [asRecord(found), toldOf(found)]
  if (record === undefined || positions === undefined) return undefined
  return { record, cluster: clusterOf(found), told: positions }
}

export function encodeCandidate(
  { id, epoch, vacancy, isAble }: Omit<Candidate, "told">,
  positions: ReadonlyMap<string, Pos>,
): string {
  return fitting({ id, epoch, vacancy, isAble, ...told(positions) })
}

export function decodeCandidate(text: string): Candidate | undefined {
  const found = objectOf(text)
  if (found === undefined) return undefined
  const { id, epoch, vacancy, isAble } = found
  const positions = toldOf(found)
  if (typeof id !== "string" || !/^[0-9A-F]{16}$/.test(id) || typeof isAble !== "boolean") {
    return undefined
  }
  if (!isCount(epoch) || !(vacancy === undefined || isCount(vacancy))) return undefined
  return positions && { id, epoch, vacancy, isAble, told: positions }
}

/** What positions look like from another node, after they went through a store. */
export function told(positions: ReadonlyMap<string, Pos>) {
  const some: Record<string, string> = {}
  let [size, sum, isWhole] = [0, 0n, true]
  for (const [name, pos] of positions) {
    sum += pos.txid
    const text = formatPos(pos)
    size += JSON.stringify(name).length + text.length + 4
    if (size <= POSITIONS_SIZE_MAX) some[name] = text
    else isWhole = false
  }
  return { positions: some, isWhole, sum: String(sum) }
}

export function toldOf(found: Readonly<Record<string, unknown>>): ToldPositions | undefined {
  const { positions, isWhole, sum } = found
  if (typeof sum !== "string" || !SUM_PATTERN.test(sum) || typeof isWhole !== "boolean") {
    return undefined
  }
  if (typeof positions !== "object" || positions === null) return undefined
  const known = new Map<string, Pos>()
  for (const [name, text] of Object.entries(positions)) {
    const pos = typeof text === "string" ? parsePos(text) : undefined
    if (pos === undefined || databaseNameProblem(name) !== undefined) return undefined
    known.set(name, pos)
  }
  return { positions: known, isWhole, sum: BigInt(sum) }
}

function fitting(content: Readonly<Record<string, unknown>>): string {
  const text = JSON.stringify(content)
  if (Buffer.byteLength(text) <= STORE_TEXT_SIZE_MAX) return text
  throw new LitefsError("invalid", `Cannot write a record of ${text.length} characters to a store`)
}

function objectOf(text: string): Readonly<Record<string, unknown>> | undefined {
  if (text.length > STORE_TEXT_SIZE_MAX) return undefined
  try {
    const found: unknown = JSON.parse(text)
    if (typeof found !== "object" || found === null) return undefined
    return found as Record<string, unknown>
  } catch {
    return undefined
  }
}

function clusterOf({ cluster }: Readonly<Record<string, unknown>>): string | undefined {
  return isClusterId(cluster) ? cluster : undefined
}

/** An epoch, or 0 before the first. */
function isCount(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= EPOCH_MAX
}
