/**
 * Who a request came from and how, for the application: X-Forwarded-For, -Host, -Proto, and Forwarded (RFC 7239).
 *
 * A client's own fields are believed when it is on this machine or on a private network, where load balancers and the
 * proxies of other nodes are. The address of the connection is then added to them. Fields of any other client are
 * replaced.
 */
import { type Field, type RequestHead, valuesOf } from "./message-head.ts"

const PRIVATE =
  /^(?:127\.|10\.|192\.168\.|172\.(?:1[6-9]|2\d|3[01])\.|169\.254\.|::1$|f[cd][0-9a-f]{2}:|fe[89ab][0-9a-f]:)/i

export interface Origin {
  readonly isSecure: boolean
  readonly fields: readonly (readonly [name: string, value: string])[]
}

export const FORWARDED_KEYS = [
  "forwarded",
  "x-forwarded-for",
  "x-forwarded-host",
  "x-forwarded-port",
  "x-forwarded-proto",
  "x-forwarded-server",
  "x-real-ip",
] as const

/** `address` is that of the connection. */
export function originOf({ fields, host }: RequestHead, address: string): Origin {
  const said = PRIVATE.test(address) ? fields : []
  const before = listOf(said, "x-forwarded-for")
  const proto = firstOf(said, "x-forwarded-proto")?.toLowerCase() === "https" ? "https" : "http"
  const saidHost = firstOf(said, "x-forwarded-host")
  const outerHost = saidHost ?? host
  const hops = listOf(said, "forwarded")
  const hop = `for=${quoted(address.includes(":") ? `[${address}]` : address)};host=${quoted(host)};proto=${proto}`
  const forwarded: [string, string][] = [
    ["X-Forwarded-For", joined(before, address)],
    ["X-Forwarded-Host", outerHost],
    ["X-Forwarded-Proto", proto],
    ["Forwarded", joined(hops, hop)],
  ]
  const kept = ["x-forwarded-port", "x-real-ip"].flatMap((key): [string, string][] => {
    const value = firstOf(said, key)
    return value === undefined
      ? []
      : [[key === "x-real-ip" ? "X-Real-IP" : "X-Forwarded-Port", value]]
  })
  return { isSecure: proto === "https", fields: [...forwarded, ...kept] }
}

function listOf(fields: readonly Field[], key: string): string {
  return valuesOf(fields, key).filter(Boolean).join(", ")
}

function firstOf(fields: readonly Field[], key: string): string | undefined {
  return valuesOf(fields, key)[0]?.split(",")[0]?.trim()
}

function joined(before: string, last: string): string {
  return before === "" ? last : `${before}, ${last}`
}

/** RFC 7239 requires quotes around text that is not a token. */
function quoted(text: string): string {
  return /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(text) ? text : `"${text.replace(/["\\]/g, "\\$&")}"`
}
