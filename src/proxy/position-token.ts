/**
 * What a client remembers of the databases, to read its own writes: in the cookie `__txid`, or in the header
 * `Litefs-Position` when it keeps no cookies.
 * `Litefs-Position` when it keeps no cookies.
 *
 *     token   entry *( "&" entry )
 *     entry   txid "-" epoch "-" checksum "-" database
 *             16 hexadecimal digits, 1 to 16, 16, percent-encoded name
 *
 *     0000000000000012-3-9c1e5a2b7f3d4c61-app.db
 *
 * The epoch is that of the primary that had the position: after a failover TXIDs come again, with other content. A
 * token of only 16 digits, which the original makes, is for the first database that the proxy tracks.
 *
 * A client may say anything: its entries serve only for comparison.
 */
import { formatChecksum, formatTxid, type Pos, parseTxid } from "../ltx/pos.ts"

const COOKIE_NAME = "__txid"
export const POSITION_HEADER = "litefs-position"

const COOKIE_AGE_S = 300
const TOKEN_SIZE_MAX = 16 * 1024
/** The numbers, a name of 255 bytes that are all encoded, and the separators. */
const ENTRY_SIZE_MAX = 16 + 16 + 16 + 255 * 3 + 4

export interface TokenEntry {
  readonly database: string
  readonly txid: bigint
  /** Undefined in tokens of the original. */
  readonly epoch: bigint | undefined
  readonly checksum: bigint | undefined
}

export function formatToken(
  positions: Iterable<readonly [database: string, pos: Pos]>,
  epoch: bigint,
): string {
  const entries: string[] = []
  for (const [database, { txid, checksum }] of positions) {
    if (txid === 0n) continue
    const name = encodeURIComponent(database)
    entries.push(`${formatTxid(txid)}-${epoch.toString(16)}-${formatChecksum(checksum)}-${name}`)
  }
  return entries.join("&")
}

/** Leaves out unreadable entries, and those beyond the largest possible number. */
export function parseToken(
  token: string,
  firstDatabase: string | undefined,
  countMax: number,
): TokenEntry[] {
  if (token.length > Math.min(TOKEN_SIZE_MAX, countMax * ENTRY_SIZE_MAX)) return []
  const entries = token.split("&", countMax)
  return entries.flatMap((text) => parseEntry(text, firstDatabase) ?? [])
}

const ENTRY = /^([0-9a-f]{16})-([0-9a-f]{1,16})-([0-9a-f]{16})-([^&]+)$/i

function parseEntry(text: string, firstDatabase: string | undefined): TokenEntry | undefined {
  if (text.length === 16) {
    const txid = parseTxid(text)
    if (txid === undefined || txid === 0n || firstDatabase === undefined) return undefined
    return { database: firstDatabase, txid, epoch: undefined, checksum: undefined }
  }
  const match = ENTRY.exec(text)
  if (match === null) return undefined
  const [, txid, epoch, checksum, name = ""] = match
  const database = decoded(name)
  if (database === undefined || BigInt(`0x${txid}`) === 0n) return undefined
  return {
    database,
    txid: BigInt(`0x${txid}`),
    epoch: BigInt(`0x${epoch}`),
    checksum: BigInt(`0x${checksum}`),
  }
}

function decoded(name: string): string | undefined {
  try {
    return decodeURIComponent(name)
  } catch {
    return undefined
  }
}

/** The token in the values of Cookie; undefined when there is none. */
export function tokenInCookies(cookies: readonly string[]): string | undefined {
  for (const line of cookies) {
    if (!line.includes(COOKIE_NAME)) continue
    for (const pair of line.split(";")) {
      const text = pair.trim()
      if (text.startsWith(`${COOKIE_NAME}=`)) {
        return text.slice(COOKIE_NAME.length + 1).replace(/^"(.*)"$/, "$1")
      }
    }
  }
  return undefined
}

/** The value of Set-Cookie. `isSecure` is whether the client came over TLS. */
export function setCookie(token: string, isSecure: boolean): string {
  const secure = isSecure ? "; Secure" : ""
  return `${COOKIE_NAME}=${token}; Path=/; Max-Age=${COOKIE_AGE_S}; HttpOnly; SameSite=Lax${secure}`
}
