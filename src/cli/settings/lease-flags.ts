/** The flags of a lease in a store, for `litefs mount`. */
import { resolve } from "node:path"
import { parseLeaseUrl } from "../../cluster/stores/lease-url.ts"
import type { RoleOptions, TlsOptions } from "../../litefs-options.ts"
import type { ParsedArgs } from "../terminal/argv.ts"
import type { FlagTable } from "../terminal/flags.ts"

export const LEASE_FLAGS = {
  lease: {
    kind: "special",
    placeholder: "STORE",
    read: parseLeaseUrl,
    default: "static",
    help: "a store that says who is the primary, etcd://… or consul://…",
    more: "in the place of `--primary` and `--primary-url`: `etcd://HOST:2379/PREFIX` or `consul://HOST:8500/KEY`",
  },
  "lease-tls-ca": {
    kind: "text",
    placeholder: "FILE",
    help: "the store's certificate must be signed by this one (PEM)",
  },
  "lease-tls-cert": {
    kind: "text",
    placeholder: "FILE",
    help: "the certificate that this node shows the store (PEM)",
  },
  "lease-tls-key": { kind: "text", placeholder: "FILE", help: "its private key (PEM)" },
} as const satisfies FlagTable

type LeaseArgs = ParsedArgs<typeof LEASE_FLAGS>

type Elected = Extract<RoleOptions, { kind: "elected" }>

/** Undefined when the flags give the role. */
export function electedRole(args: LeaseArgs): Omit<Elected, "databases"> | undefined {
  const { values } = args
  const store = values.lease
  const tls = tlsOf(args)
  const isSecure = store?.origins[0]?.startsWith("https:") === true
  if (tls !== undefined && !isSecure) {
    const given = (["lease-tls-ca", "lease-tls-cert"] as const).find((name) => values[name])
    throw args.usageError(
      `${args.spelling(given ?? "lease-tls-key")} is given and nothing uses it, give --lease etcd+https://… or consul+https://…`,
    )
  }
  return store && { kind: "elected", store, ...(tls === undefined ? {} : { tls }) }
}

function tlsOf(args: LeaseArgs): TlsOptions | undefined {
  const { values } = args
  const [ca, cert, key] = [
    values["lease-tls-ca"],
    values["lease-tls-cert"],
    values["lease-tls-key"],
  ]
  if ((cert === undefined) !== (key === undefined)) {
    const [given, missing] =
      key === undefined
        ? (["lease-tls-cert", "key"] as const)
        : (["lease-tls-key", "cert"] as const)
    throw args.usageError(`${args.spelling(given)} is given without --lease-tls-${missing}`)
  }
  if (ca === undefined && cert === undefined) return undefined
  return {
    ...(ca === undefined ? {} : { caPath: resolve(ca) }),
    ...(cert === undefined ? {} : { certPath: resolve(cert) }),
    ...(key === undefined ? {} : { keyPath: resolve(key) }),
  }
}
