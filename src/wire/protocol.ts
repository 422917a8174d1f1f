/**
 * What two nodes tell each other about what they understand, in headers of the request for a stream and of its
 * response. LiteFS sends none of these: a node then uses only what LiteFS knows.
 *
 *     Litefs-Protocol: 1         versions of the stream that this node speaks, the oldest and the newest: 1-2
 *     Litefs-Compacted-Ltx: 1    of a replica: one LTX file may hold several transactions
 *     Litefs-Heads: 1            of a replica: it takes frames of type head (frame.ts)
 *     Litefs-Catalogue: 1        of a replica: it takes frames of the types catalogue and listed
 *     Litefs-Databases: a,b*     of a replica: it wants only these (database-filter.ts)
 *     Litefs-Left-Out: a,b       of a replica: it does not take these for now; each is percent-encoded
 *     Litefs-Proxy: URL          in responses: where the node's proxy is; `:8080` is that port where its API is
 *     Litefs-Advertise-Url: URL  of a replica: where others reach it; it takes our handoff frames. Of a stream: where
 *                                others reach the primary
 *     Litefs-Primary-Url: URL    in responses of a replica that is connected: where others reach its primary
 *     Litefs-Candidate: 1        of a replica: it may become the primary
 *     Litefs-Run: HEX            of any request and response: the process, to tell a node from a copy of it
 *     Litefs-Wants-Primary: 1    in responses: no record names a primary, but this node's flags make it one
 *     Litefs-Halt-Wanted: 1      in answers to the holder of a halt lock: others wait for it
 *     Litefs-Acknowledges: 1     of any request: this node tells what it has durably, and asks POST /synced itself
 *     Litefs-Acknowledge: TOKEN  of a stream: the primary wants to hear so, at POST /acknowledge?stream=TOKEN
 *     Litefs-Unsynced: 1         in answers to the holder of a halt lock: it has to ask POST /synced
 *     Litefs-Lease: {…}          of any request and response: who is the primary (cluster/role/lease.ts)
 *     Litefs-Cluster-Key: HEX    of a stream: the key that seals the cluster's records (cluster/role/cluster-key.ts)
 *
 * Every addition to the stream is requested by a header of its own: nodes one release apart work together. The version
 * goes up only when the stream as such becomes unintelligible.
 */

import { validateDatabaseName } from "./database-name.ts"

export const PROTOCOL_HEADER = "litefs-protocol"
export const COMPACTED_LTX_HEADER = "litefs-compacted-ltx"
export const HEADS_HEADER = "litefs-heads"
export const CATALOGUE_HEADER = "litefs-catalogue"
export const LEFT_OUT_HEADER = "litefs-left-out"
export const DATABASES_HEADER = "litefs-databases"
export const PROXY_HEADER = "litefs-proxy"
export const ADVERTISE_URL_HEADER = "litefs-advertise-url"
export const PRIMARY_URL_HEADER = "litefs-primary-url"
export const CANDIDATE_HEADER = "litefs-candidate"
export const RUN_HEADER = "litefs-run"
export const WANTS_PRIMARY_HEADER = "litefs-wants-primary"
export const WANTED_HEADER = "litefs-halt-wanted"
export const ACKNOWLEDGES_HEADER = "litefs-acknowledges"
export const ACKNOWLEDGE_HEADER = "litefs-acknowledge"
export const UNSYNCED_HEADER = "litefs-unsynced"

export type Headers = Readonly<Record<string, unknown>>

/** Undefined unless it was sent, and once. */
export function headerOf(headers: Headers, name: string): string | undefined {
  const value = headers[name]
  return typeof value === "string" ? value : undefined
}

/** The versions of the stream that this node speaks. */
const OLDEST = 1
const NEWEST = 1

export const PROTOCOL = OLDEST === NEWEST ? `${NEWEST}` : `${OLDEST}-${NEWEST}`

/** Why a stream with a node of this version is impossible; undefined when it is possible. No version at all means 1. */
export function protocolProblem(theirs: string | undefined): string | undefined {
  const match = /^(?<oldest>\d{1,4})(?:-(?<newest>\d{1,4}))?$/.exec(theirs ?? "1")
  if (match === null) return `it says "${theirs?.slice(0, 40)}" for its protocol, not a version`
  const oldest = Number(match.groups?.oldest)
  const newest = Number(match.groups?.newest ?? oldest)
  if (oldest <= NEWEST && OLDEST <= newest) return undefined
  const older = newest < OLDEST ? "that node" : "this node"
  return `it speaks protocol ${theirs}, this node ${PROTOCOL}, update LiteFS on ${older}`
}

/** A header has room for this many names. The primary sends the others in vain. */
const LEFT_OUT_COUNT_MAX = 16

export function encodeLeftOut(names: readonly string[]): string {
  return names.slice(0, LEFT_OUT_COUNT_MAX).map(encodeURIComponent).join(",")
}

/** Throws when a name is no name of a database. */
export function decodeLeftOut(header: string): ReadonlySet<string> {
  const texts = header.split(",", LEFT_OUT_COUNT_MAX)
  return new Set(texts.map((text) => validName(text.trim())))
}

function validName(text: string): string {
  let name = ""
  try {
    name = decodeURIComponent(text)
  } catch {
    // No name either.
  }
  validateDatabaseName(name)
  return name
}

/** The address of a primary's proxy, from its header and from the URL of its API. */
export function proxyUrlOf(header: string | undefined, apiUrl: string): string | undefined {
  if (header === undefined) return undefined
  if (/^:\d{1,5}$/.test(header)) return `http://${new URL(apiUrl).hostname}${header}`
  return /^http:\/\/[^/?#@\s]+$/.test(header) && URL.canParse(header) ? header : undefined
}
