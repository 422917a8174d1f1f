/**
 * Who may use the API: whoever shows the token that all nodes of a cluster share, in the header `Authorization: Bearer
 * TOKEN`.
 *
 * The token never leaves this header: no message, no log line and no URL contains it.
 */
import { createHash, timingSafeEqual } from "node:crypto"
import type { IncomingHttpHeaders } from "node:http"
import { LitefsError } from "../../lib/errors.ts"

/** The characters of a bearer token (RFC 6750). */
const TOKEN_PATTERN = /^[A-Za-z0-9._~+/-]+=*$/
const TOKEN_SIZE_MAX = 512

/** Why this cannot be a token; undefined when it can. The text does not repeat the token. */
export function tokenProblem(token: string): string | undefined {
  if (token === "") return "it is empty"
  if (token.length > TOKEN_SIZE_MAX) return `it is longer than ${TOKEN_SIZE_MAX} characters`
  if (TOKEN_PATTERN.test(token)) return undefined
  return "it should be made of letters, digits and . _ ~ + / - only, like one of openssl rand -hex 32"
}

/** The headers of a request to another node. */
export function authHeaders(token: string | undefined): Record<string, string> {
  return token === undefined ? {} : { Authorization: `Bearer ${token}` }
}

/** Whether the request shows any token. */
export function showsToken(headers: IncomingHttpHeaders): boolean {
  return shownToken(headers) !== undefined
}

function shownToken({ authorization = "" }: IncomingHttpHeaders): string | undefined {
  return /^Bearer +(?<token>\S+) *$/i.exec(authorization)?.groups?.token
}

/** Throws unless the request shows the token. Takes the same time whatever it shows. */
export function authorize(headers: IncomingHttpHeaders, token: string): void {
  const shown = shownToken(headers)
  if (shown === undefined) {
    const advice =
      "send the header Authorization: Bearer TOKEN; commands take --auth-token-file or LITEFS_AUTH_TOKEN"
    throw new LitefsError("unauthorized", `unauthorized: this node asks for a token, ${advice}`)
  }
  if (timingSafeEqual(digest(shown), digest(token))) return
  throw new LitefsError("unauthorized", "unauthorized: this node has another token")
}

/** Always of the same size, whatever the text is. */
function digest(text: string): Uint8Array {
  return createHash("sha256").update(text).digest()
}
