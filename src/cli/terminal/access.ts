/** The flags for what nodes show each other, for `litefs mount` and for every command that calls a node. */
import { statSync } from "node:fs"
import { resolve } from "node:path"
import { tokenProblem } from "../../http/server/auth.ts"
import { readGivenFile } from "../../http/server/given-file.ts"
import { LitefsError } from "../../lib/errors.ts"
import type { LiteFSOptions, TlsOptions } from "../../litefs-options.ts"
import { readProblem } from "../../sys/errno.ts"
import type { ParsedArgs } from "./argv.ts"
import type { FlagTable } from "./flags.ts"

export const ACCESS_FLAGS = {
  "auth-token": {
    kind: "text",
    placeholder: "TOKEN",
    help: "the token that requests must show; ps shows it too, so better use a file",
    more: "The API refuses requests without it, and this node shows it to others",
  },
  "auth-token-file": {
    kind: "text",
    placeholder: "FILE",
    help: "the token is in this file; the same one on all nodes",
  },
  "http-tls-cert": {
    kind: "text",
    placeholder: "FILE",
    help: "the certificate that this side shows (PEM)",
    more: "With it the API is served with TLS; files are read again when they change",
  },
  "http-tls-key": { kind: "text", placeholder: "FILE", help: "its private key (PEM)" },
  "http-tls-ca": {
    kind: "text",
    placeholder: "FILE",
    help: "the other side's certificate must be signed by this one (PEM)",
    more: "other nodes and users of the API must show one, too",
  },
} as const satisfies FlagTable

/** Never log it. */
export type AccessOptions = Pick<LiteFSOptions, "authToken" | "tls">

type AccessArgs = ParsedArgs<typeof ACCESS_FLAGS>

/** Reads the file of the token. Whoever uses the certificates reads them. */
export function accessOptions(args: AccessArgs): AccessOptions {
  const authToken = tokenOf(args)
  const tls = tlsOf(args)
  return {
    ...(authToken === undefined ? {} : { authToken }),
    ...(tls === undefined ? {} : { tls }),
  }
}

function tokenOf(args: AccessArgs): string | undefined {
  const given = (["auth-token", "auth-token-file"] as const).filter(
    (name) => args.values[name] !== undefined,
  )
  const [first, second] = given.map((name) => args.spelling(name))
  // A flag wins over the variable of the other one, as it does over its own.
  const isFlag = (spelling: string | undefined) => spelling?.startsWith("--") === true
  if (second !== undefined && isFlag(first) === isFlag(second)) {
    throw args.usageError(`both ${first} and ${second} are given, give one of them`)
  }
  const source = second !== undefined && isFlag(second) ? given[1] : given[0]
  if (source === undefined) return undefined
  const text = args.values[source] ?? ""
  const token = source === "auth-token" ? text : readToken(args.spelling(source), text)
  const problem = tokenProblem(token)
  if (problem === undefined) return token
  const where = source === "auth-token" ? "" : ` "${text}"`
  throw args.usageError(`the token of ${args.spelling(source)}${where} is not valid, ${problem}`)
}

/** Files with a secret that every user of the machine can read, in the user's spelling. */
export function openSecrets({ values }: AccessArgs): string[] {
  const files = [values["auth-token-file"], values["http-tls-key"]]
  return files.filter((file) => file !== undefined).filter(isReadByOthers)
}

function isReadByOthers(file: string): boolean {
  const mode = statSync(file, { throwIfNoEntry: false })?.mode ?? 0
  return (mode & 0o004) !== 0
}

function readToken(spelling: string, path: string): string {
  try {
    return readGivenFile(path).trim()
  } catch (error) {
    throw new LitefsError("unavailable", `Cannot use ${spelling} "${path}": ${readProblem(error)}`)
  }
}

function tlsOf(args: AccessArgs): TlsOptions | undefined {
  const { values } = args
  const [cert, key] = [values["http-tls-cert"], values["http-tls-key"]]
  const ca = values["http-tls-ca"]
  if ((cert === undefined) !== (key === undefined)) {
    const [given, missing] =
      key === undefined ? (["http-tls-cert", "key"] as const) : (["http-tls-key", "cert"] as const)
    throw args.usageError(`${args.spelling(given)} is given without --http-tls-${missing}`)
  }
  if (cert === undefined && ca === undefined) return undefined
  return {
    ...(cert === undefined ? {} : { certPath: resolve(cert) }),
    ...(key === undefined ? {} : { keyPath: resolve(key) }),
    ...(ca === undefined ? {} : { caPath: resolve(ca) }),
  }
}
