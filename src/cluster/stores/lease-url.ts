/**
 * The store of `--lease`, as its user writes it:
 *
 *   etcd://[USER:PASSWORD@]HOST:2379[,HOST:2379…]/PREFIX[?ttl=10s]
 *   consul://[:TOKEN@]HOST:8500/KEY[?ttl=10s][&lock-delay=1s][&node=NAME]
 *
 * `etcd+https` and `consul+https` are the same with TLS. What is special in user, password or token is percent-encoded.
 */
import { formatDuration, parseDuration } from "../../lib/duration.ts"
import type { StoreOptions } from "../../litefs-options.ts"

const SHAPE =
  /^(?<kind>etcd|consul)(?<tls>\+https)?:\/\/(?:(?<user>[^@/?#]*)@)?(?<hosts>[^@/?#]+)\/(?<path>[^?#]*)(?:\?(?<query>[^#]*))?$/

const LIKE = "static, etcd://HOST:2379/PREFIX or consul://HOST:8500/KEY"

const PORTS = { etcd: 2379, consul: 8500 } as const
const TTL_MS = 10_000
/** The shortest that etcd grants with the defaults of its elections, and that Consul takes. */
const TTL_MS_MIN = { etcd: 2000, consul: 10_000 } as const
const TTL_MS_MAX = { etcd: 3_600_000, consul: 86_400_000 } as const
const LOCK_DELAY_MS = 1000
const LOCK_DELAY_MS_MAX = 60_000
const HOSTS_MAX = 16
const PATH_SIZE_MAX = 256

const PARAMETERS = { etcd: ["ttl"], consul: ["ttl", "lock-delay", "node"] } as const

/** Undefined for "static". Throws a SyntaxError that says what it should be. */
export function parseLeaseUrl(text: string): StoreOptions | undefined {
  if (text === "static") return undefined
  const groups = SHAPE.exec(text)?.groups
  if (groups === undefined) throw fault(`it should be ${LIKE}`)
  const { user = "", hosts = "", path = "", query = "" } = groups
  const kind = groups.kind as "etcd" | "consul"
  const parameters = parametersOf(query, kind)
  const name = path.replace(/^\/+|\/+$/g, "")
  if (name === "")
    throw fault(`it has no ${kind === "etcd" ? "prefix" : "key"}, it should be like ${LIKE}`)
  if (name.length > PATH_SIZE_MAX || !/^[\w.:+-]+(\/[\w.:+-]+)*$/.test(name)) {
    throw fault(
      `its path should be words of letters, digits and . _ : + -, of ${PATH_SIZE_MAX} characters at most`,
    )
  }
  const isSecure = groups.tls !== undefined
  const origins = hosts.split(",").map((host) => originOf(host, isSecure, kind))
  if (origins.length > HOSTS_MAX) throw fault(`it should have ${HOSTS_MAX} hosts at most`)
  const where = `${kind}${groups.tls ?? ""}://${hosts}/${name}`
  const ttlMs = durationOf(parameters, "ttl", TTL_MS, TTL_MS_MIN[kind], TTL_MS_MAX[kind])
  const [first, second] = user.split(":").map(decoded)
  const common = { origins, where, ttlMs }
  if (kind === "etcd") {
    if (user !== "" && (!first || !second))
      throw fault("it should have a user and a password, USER:PASSWORD@")
    return {
      ...{ ...common, kind, prefix: name },
      ...(user === "" ? {} : { user: { name: String(first), password: String(second) } }),
    }
  }
  if (origins.length > 1) throw fault("it should have one host, an agent of Consul")
  const lockDelayMs = durationOf(parameters, "lock-delay", LOCK_DELAY_MS, 0, LOCK_DELAY_MS_MAX)
  const token = second || first // as in the original, the password
  if (token && !/^[!-~]+$/.test(token))
    throw fault("its token should be made of letters, digits and signs of ASCII")
  const node = parameters.get("node")
  return {
    ...{ ...common, kind, key: name, lockDelayMs },
    ...(token ? { token } : {}),
    ...(node ? { node } : {}),
  }
}

function parametersOf(query: string, kind: "etcd" | "consul"): URLSearchParams {
  const parameters = new URLSearchParams(query)
  const known: readonly string[] = PARAMETERS[kind]
  for (const name of parameters.keys()) {
    if (known.includes(name)) continue
    throw fault(`"${name.slice(0, 40)}" is no setting of it, there are ${known.join(", ")}`)
  }
  return parameters
}

function originOf(host: string, isSecure: boolean, kind: "etcd" | "consul"): string {
  const text = `${isSecure ? "https" : "http"}://${host}`
  if (!URL.canParse(text)) throw fault(`"${host}" should be a host, like HOST:${PORTS[kind]}`)
  const url = new URL(text)
  if (!/:\d+$/.test(host)) url.port = String(PORTS[kind])
  return url.origin
}

function durationOf(
  parameters: URLSearchParams,
  name: string,
  preset: number,
  min: number,
  max: number,
): number {
  const text = parameters.get(name)
  if (text === null) return preset
  const should = `its ${name} should be from ${formatDuration(min)} to ${formatDuration(max)}`
  let ms: number
  try {
    ms = parseDuration(text)
  } catch {
    throw fault(`${should}, like 10s`)
  }
  if (ms < min || ms > max) throw fault(`${should}, it is ${text}`)
  return ms
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw fault("a % in its user or password should begin a percent-encoding, as %25 for %")
  }
}

function fault(what: string): SyntaxError {
  return new SyntaxError(what)
}
