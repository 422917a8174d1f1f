/**
 * Heads as they are passed on: as they came, without what concerns only two neighbours (RFC 9110, 7.6.1), and with this
 * proxy's own fields. The same field as before says where a body ends, so bodies pass unchanged.
 *
 * Names with underscores count as those with dashes: CGI makes the same variable of both, and a client could otherwise
 * speak for the proxy.
 */
import { FORWARDED_KEYS, type Origin } from "./forwarded.ts"
import { type Field, type RequestHead, type ResponseHead, tokensOf } from "./message-head.ts"

/** In a request from another node's proxy: its name. Such a request goes no further. */
export const FORWARDED_BY_HEADER = "litefs-forwarded-by"

/** In such a request: its body comes after this node has taken it, with 100 Continue. */
export const BODY_WAITS_HEADER = "litefs-body-waits"

/** In a response to it: nothing was done, since this node is not the primary. */
export const NOT_PRIMARY_HEADER = "litefs-not-primary"

const BETWEEN_NEIGHBOURS = [
  "connection",
  "keep-alive",
  "proxy-connection",
  "proxy-authorization",
  "te",
  "transfer-encoding",
  "upgrade",
  "http2-settings",
] as const

const NOT_OF_REQUESTS = new Set<string>([
  ...BETWEEN_NEIGHBOURS,
  ...FORWARDED_KEYS,
  FORWARDED_BY_HEADER,
  BODY_WAITS_HEADER,
  NOT_PRIMARY_HEADER,
  "host",
])

const NOT_OF_RESPONSES = new Set<string>([...BETWEEN_NEIGHBOURS, NOT_PRIMARY_HEADER])

/** For responses that cannot have a body: a client that goes by the size would take the next response for it. */
const NOT_OF_BODILESS = new Set<string>([...NOT_OF_RESPONSES, "content-length"])

/** Fields that no Connection field can remove from a message. */
const KEPT = new Set(["host", "content-length", "cookie", "set-cookie", "litefs-position", "date"])

export interface RequestExtras {
  readonly origin: Origin
  /** This node's name, when the request goes to the proxy of another. */
  readonly forwardedBy: string | undefined
  readonly doesBodyWait: boolean
  /** The protocol that the connection should change to. */
  readonly upgrade: string | undefined
}

export function requestBytes(head: RequestHead, extras: RequestExtras): Buffer {
  const { fields } = head
  let text = `${head.method} ${head.target} HTTP/1.${head.isHttp10 ? 0 : 1}\r\n`
  if (head.host !== "" || !head.isHttp10) text += `Host: ${head.host}\r\n`
  text += endToEnd(fields, NOT_OF_REQUESTS)
  for (const [name, value] of extras.origin.fields) text += `${name}: ${value}\r\n`
  if (extras.forwardedBy !== undefined) text += `Litefs-Forwarded-By: ${extras.forwardedBy}\r\n`
  if (extras.doesBodyWait) text += "Litefs-Body-Waits: 1\r\n"
  if (isChunked(fields)) text += "Transfer-Encoding: chunked\r\n"
  if (extras.upgrade !== undefined) {
    text += `Connection: Upgrade\r\nUpgrade: ${extras.upgrade}\r\n`
  } else if (tokensOf(fields, "te").includes("trailers")) {
    text += "Connection: TE\r\nTE: trailers\r\n"
  }
  return Buffer.from(`${text}\r\n`, "latin1")
}

/** The other node's proxy waits for this before it sends the body. */
export const CONTINUE_BYTES = Buffer.from("HTTP/1.1 100 Continue\r\n\r\n")

export interface ResponseExtras {
  readonly fields: readonly (readonly [name: string, value: string])[]
  readonly isChunked: boolean
  /** Whether the connection ends with this response. */
  readonly isLast: boolean
}

export function responseBytes(head: ResponseHead, extras: ResponseExtras): Buffer {
  let text = `${head.statusLine.replace(/^HTTP\/1\.0/, "HTTP/1.1")}\r\n`
  const isBodiless = head.status < 200 || head.status === 204
  text += endToEnd(head.fields, isBodiless ? NOT_OF_BODILESS : NOT_OF_RESPONSES)
  for (const [name, value] of extras.fields) text += `${name}: ${value}\r\n`
  if (extras.isChunked) text += "Transfer-Encoding: chunked\r\n"
  const upgrade = head.status === 101 || head.status === 426 ? upgradeOf(head.fields) : undefined
  if (upgrade !== undefined) text += `Upgrade: ${upgrade}\r\n`
  if (head.status === 101) text += "Connection: Upgrade\r\n"
  else if (extras.isLast) text += "Connection: close\r\n"
  return Buffer.from(`${text}\r\n`, "latin1")
}

/**
 * The protocol that a request wants to change to. HTTP/2 does not count: it would bring requests that nobody here has
 * inspected.
 */
export function upgradeOf(fields: readonly Field[]): string | undefined {
  if (!tokensOf(fields, "connection").includes("upgrade")) return undefined
  const protocols = fields
    .filter(({ key }) => key === "upgrade")
    .flatMap(({ value }) => value.split(","))
    .map((protocol) => protocol.trim())
    .filter((protocol) => protocol !== "" && !/^h2c?(?:-|\/|$)|^http\/|^tls\//i.test(protocol))
  return protocols.length === 0 ? undefined : protocols.join(", ")
}

function isChunked(fields: readonly Field[]): boolean {
  return fields.some(({ key }) => key === "transfer-encoding")
}

function endToEnd(fields: readonly Field[], dropped: ReadonlySet<string>): string {
  const named = tokensOf(fields, "connection")
  let text = ""
  for (const { name, key, value } of fields) {
    const alike = key.includes("_") ? key.replaceAll("_", "-") : key
    if (dropped.has(alike) || (alike !== key && KEPT.has(alike))) continue
    if (named.length > 0 && named.includes(key) && !KEPT.has(key)) continue
    text += `${name}: ${value}\r\n`
  }
  return text
}
