/**
 * What LiteFS tells the commands that it runs: facts, under the names of other commands' flags. `litefs info` or
 * `litefs sql` in such a command then means this node without a flag.
 *
 * The token itself is never handed on; a token in our environment was put there for everybody. Paths of files are
 * handed on: whoever may read the files may use them.
 */
import type { LiteFSOptions } from "../../litefs-options.ts"
import type { Environment } from "../terminal/argv.ts"

export interface NodeFacts {
  readonly isPrimary: boolean
  /** Whether it is, or may become, the primary. */
  readonly isCandidate: boolean
  /** Port of the node's API. */
  readonly port: number
  /** The Unix socket where the API answers as well; undefined when there is none. */
  readonly socketPath?: string | undefined
  /** The primary's own name; undefined when it is unknown. */
  readonly primaryHostname: string | undefined
  /** Where other nodes reach the primary. */
  readonly primaryUrl: string | undefined
}

/** What is handed on, and when. */
export const FACT_VARIABLES: Readonly<Record<string, string>> = {
  LITEFS_ROLE: "`primary` or `replica`, when the command was started",
  LITEFS_FUSE_DIR: "the mount",
  LITEFS_DIR: "the same, for litefs-js",
  LITEFS_DATA_DIR: "the data directory",
  LITEFS_URL:
    "the API of this node: what `litefs info`, `wait` and `run` use without `--url`; with TLS and no `--advertise-url` it is `unix:` and the path of the socket",
  LITEFS_HOSTNAME: "this node's name",
  LITEFS_PRIMARY_HOSTNAME: "the primary's name, when it is known",
  LITEFS_PRIMARY_URL: "where other nodes reach the primary, when it is known",
  LITEFS_AUTH_TOKEN_FILE:
    "the file, when it is in use; a token itself is never handed on, unless `LITEFS_AUTH_TOKEN` is in LiteFS's own environment",
  LITEFS_HTTP_TLS_CERT: "the file, when it is in use",
  LITEFS_HTTP_TLS_KEY: "the file, when it is in use",
  LITEFS_HTTP_TLS_CA: "the file, when it is in use",
}

export function childEnvironment(
  env: Environment,
  options: LiteFSOptions,
  authTokenFile: string | undefined,
  facts: NodeFacts,
): Environment {
  const { fuseDir, dataDir, hostname, tls } = options
  return {
    ...env,
    LITEFS_LEASE: undefined, // it may have a password, which only LiteFS needs
    LITEFS_ROLE: facts.isPrimary ? "primary" : "replica",
    LITEFS_DIR: fuseDir, // what litefs-js reads
    LITEFS_FUSE_DIR: fuseDir,
    LITEFS_DATA_DIR: dataDir,
    LITEFS_HOSTNAME: hostname,
    LITEFS_URL: localUrl(options, facts),
    LITEFS_PRIMARY_URL: facts.primaryUrl,
    LITEFS_PRIMARY_HOSTNAME: facts.primaryHostname,
    ...(tls?.certPath === undefined ? {} : { LITEFS_HTTP_TLS_CERT: tls.certPath }),
    ...(tls?.keyPath === undefined ? {} : { LITEFS_HTTP_TLS_KEY: tls.keyPath }),
    ...(tls?.caPath === undefined ? {} : { LITEFS_HTTP_TLS_CA: tls.caPath }),
    // A flag has won over the variable of the token, so a child must not use that one either.
    ...(authTokenFile === undefined
      ? {}
      : { LITEFS_AUTH_TOKEN_FILE: authTokenFile, LITEFS_AUTH_TOKEN: undefined }),
  }
}

/**
 * The API's URL on this machine. A certificate is for the name that others use: when that is unknown, only the socket
 * is left. The socket is not used otherwise, because commands may run under another user, who may not open it.
 */
function localUrl(
  { httpAddr, advertiseUrl, tls }: LiteFSOptions,
  { port, socketPath }: NodeFacts,
): string {
  const isTls = tls?.certPath !== undefined
  if (isTls && advertiseUrl !== undefined) return advertiseUrl
  if (isTls && socketPath !== undefined) return `unix:${socketPath}`
  const { host } = httpAddr
  const name = host === "" || host === "0.0.0.0" ? "127.0.0.1" : host === "::" ? "::1" : host
  return `${isTls ? "https" : "http"}://${name.includes(":") ? `[${name}]` : name}:${port}`
}
