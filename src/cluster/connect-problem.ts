/**
 * Why a node cannot be reached, in words that name the setting to change.
 *
 *   the certificate is not believed         --http-tls-ca
 *   it wants to see a certificate           --http-tls-cert, --http-tls-key
 *   https:// to a port without TLS          the scheme of the URL
 *   http:// to a port with TLS              the same; a trial handshake finds that out
 *   no port in the URL                      20202, unless --http-addr says otherwise
 *   what answers is no LiteFS               the port of an application, or of a proxy
 *
 * A problem that a setting solves has the code "usage", every other one "unavailable".
 */
import { isIP } from "node:net"
import { connect } from "node:tls"
import { LitefsError, messageOf } from "../lib/errors.ts"
import { isLoopback } from "../sys/net/loopback.ts"
import type { Headers } from "../wire/protocol.ts"

const PORT = 20202

const HANDSHAKE_MS_MAX = 2000

const NO_PLAIN_TLS = "it does not speak TLS, the URL should start with http://"
const NO_CERTIFICATE =
  "it asks for a certificate that its authority has signed, give --http-tls-cert and --http-tls-key"
/** Our handshake is over before it has looked at the certificate, and the runtime says no more than that. */
const REFUSED_CERTIFICATE =
  "it has closed the connection in the TLS handshake, perhaps because of the certificate here: " +
  "the authority of --http-tls-ca there should have signed --http-tls-cert, for clients, and it should be valid now"

/** `error` comes from connecting to an origin that has not answered yet. The check may take a while. */
export async function firstContactProblem(origin: string, error: unknown): Promise<LitefsError> {
  const url = new URL(origin)
  const isReset = (error as NodeJS.ErrnoException).code === "ECONNRESET"
  if (url.protocol === "https:" && isReset) {
    return new LitefsError("unavailable", REFUSED_CERTIFICATE, { cause: error })
  }
  if (!isReset || !(await speaksTls(url))) return connectProblem(origin, error)
  const problem = "it speaks TLS, the URL should start with https://"
  return new LitefsError("usage", problem, { cause: error })
}

/** The same for a known node. */
export function connectProblem(origin: string, error: unknown): LitefsError {
  if (error instanceof LitefsError) return error
  const url = new URL(origin)
  const problem = settingProblem(url, error)
  const text = problem ?? reachProblem(url, error) ?? messageOf(error).split(". ")[0]
  return new LitefsError(problem === undefined ? "unavailable" : "usage", String(text), {
    cause: error,
  })
}

/** The same for the socket of a node on this machine. */
export function socketProblem(error: unknown): LitefsError {
  const code = codeOf(error)
  const text: Record<string, string> = {
    ENOENT: "there is no such socket, the node is not running or has another data directory",
    ENOTDIR: "there is no such socket, a part of its path is not a directory",
    EACCES:
      "permission denied, the socket is for LiteFS's own user and root; others use --url http://…",
    ECONNREFUSED: "nothing listens at the socket, the node is not running",
  }
  const problem = text[code]
  const words =
    problem === undefined
      ? (protocolProblem(code) ?? messageOf(error).split(". ")[0])
      : `${problem} (${code})`
  return new LitefsError("unavailable", String(words), { cause: error })
}

/** Replaces the runtime's own words, which guess at typing errors. Undefined for rare problems. */
function reachProblem({ hostname, host }: URL, error: unknown): string | undefined {
  const code = codeOf(error)
  // The runtime's word for a response that breaks off.
  if (code === "ECONNRESET" || messageOf(error) === "aborted") return "the connection was lost"
  switch (code) {
    case "ECONNREFUSED":
      return `nothing listens at ${host}${mayBeNoWay(hostname, error) ? ", or there is no way to it" : ""} (${code})`
    case "ENOTFOUND":
      return `there is no host named "${hostname}" (${code})`
    case "EAI_AGAIN":
      return `the name server does not answer for "${hostname}" (${code})`
    case "EHOSTUNREACH":
    case "ENETUNREACH":
      return `there is no route to ${hostname} (${code})`
    default:
      return undefined
  }
}

/** The runtime's node:http, which tells of a system call, has this code for a host that cannot be reached as well. */
function mayBeNoWay(hostname: string, error: unknown): boolean {
  return (error as NodeJS.ErrnoException).syscall === "connect" && !isLoopback(hostname)
}

function codeOf(error: unknown): string {
  return String((error as NodeJS.ErrnoException).code ?? "")
}

function settingProblem(url: URL, error: unknown): string | undefined {
  const code = codeOf(error)
  switch (code) {
    case "UNABLE_TO_VERIFY_LEAF_SIGNATURE":
    case "UNABLE_TO_GET_ISSUER_CERT":
    case "UNABLE_TO_GET_ISSUER_CERT_LOCALLY":
    case "SELF_SIGNED_CERT_IN_CHAIN":
    case "DEPTH_ZERO_SELF_SIGNED_CERT":
      return "its certificate is signed by an authority that is not known here, give --http-tls-ca with that one"
    case "ERR_TLS_CERT_ALTNAME_INVALID":
      return `its certificate is not for "${url.hostname}", it should be for the host in the URL`
    case "CERT_HAS_EXPIRED":
      return "its certificate, or that of its authority, has expired: --http-tls-cert there should be a new one"
    case "CERT_NOT_YET_VALID":
      return "its certificate is not valid yet, the clock of this machine or of the one that made it is wrong"
    case "INVALID_PURPOSE":
      return "its certificate is not for servers, --http-tls-cert there should be one for servers and clients"
    case "ERR_SSL_WRONG_VERSION_NUMBER":
      return NO_PLAIN_TLS
    case "ERR_SSL_TLSV1_ALERT_CERTIFICATE_REQUIRED":
    case "ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED":
      return NO_CERTIFICATE
    case "EPROTO": // of fetch(), for both
      return `the TLS handshake has failed: ${NO_PLAIN_TLS}, or ${NO_CERTIFICATE}`
  }
  if (url.port === "" && code === "ECONNREFUSED") {
    return `nothing listens at ${url.host}, and the URL has no port, it should be like ${url.origin}:${PORT}`
  }
  return protocolProblem(code)
}

/** What answers in another way than a node does. */
function protocolProblem(code: string): string | undefined {
  if (code === "UnexpectedRedirect") return foreignText("it redirects to another address")
  const isOther = code === "Malformed_HTTP_Response" || /^HPE_/.test(code)
  return isOther ? foreignText("it does not speak HTTP") : undefined
}

/** For a node that has been tried for a while. */
export function noAnswer({ hostname }: URL): LitefsError {
  const isName = isIP(hostname.replace(/^\[|\]$/g, "")) === 0
  const advice = isName ? `, see what the name "${hostname}" stands for on this machine` : ""
  return new LitefsError("unavailable", `it does not answer${advice}`)
}

/** Why this node must not follow what answers; undefined when it is LiteFS. */
export function foreignProblem(headers: Headers, status: number): LitefsError | undefined {
  const isLitefs = ["litefs-id", "litefs-hostname", "litefs-cluster-id"].some(
    (name) => headers[name] !== undefined,
  )
  if (isLitefs) return undefined
  return new LitefsError("usage", foreignText(`it answers with status ${status}`))
}

function foreignText(what: string): string {
  return (
    `it is not LiteFS, ${what}: the port should be that of --http-addr there, ` +
    `${PORT} unless it says otherwise, not that of the application or of the proxy`
  )
}

async function speaksTls({ hostname, port }: URL): Promise<boolean> {
  const host = hostname.replace(/^\[|\]$/g, "")
  const { promise, resolve } = Promise.withResolvers<boolean>()
  const socket = connect({
    ...{ host, port: Number(port || 80), rejectUnauthorized: false, timeout: HANDSHAKE_MS_MAX },
    ...(isIP(host) === 0 ? { servername: host } : {}),
  })
  socket.on("timeout", () => resolve(false))
  socket.on("secureConnect", () => resolve(true))
  socket.on("error", () => resolve(false))
  socket.on("close", () => resolve(false))
  try {
    return await promise
  } finally {
    socket.destroy()
  }
}
