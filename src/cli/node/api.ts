/** The API of a node, for commands that are run next to it. */
import {
  firstContactProblem,
  foreignProblem,
  socketProblem,
} from "../../cluster/connect-problem.ts"
import { authHeaders } from "../../http/server/auth.ts"
import { TlsFiles } from "../../http/server/tls-files.ts"
import { LitefsError } from "../../lib/errors.ts"
import { reachable } from "../../sys/net/local-socket.ts"
import { databaseNameProblem } from "../../wire/database-name.ts"
import { ACCESS_FLAGS, accessOptions } from "../terminal/access.ts"
import { type FlagTable, type ParsedArgs, usageError } from "../terminal/argv.ts"

const URL_FLAG = {
  kind: "text",
  placeholder: "URL",
  default: "http://127.0.0.1:20202",
  help: "the API of the node, or unix:PATH of its socket",
} as const

/** Of every command that calls a node. */
export const NODE_FLAGS = { url: URL_FLAG, ...ACCESS_FLAGS } as const satisfies FlagTable

/** Of a command that is about one database. */
export const API_FLAGS = {
  url: URL_FLAG,
  name: { kind: "text", placeholder: "DB", help: "the database; required" },
  ...ACCESS_FLAGS,
} as const satisfies FlagTable

/** The connection broke when the node may have got the request: nobody knows what it did. */
export class BrokenConnection extends LitefsError {
  constructor(message: string, options?: { cause?: unknown }) {
    super("unavailable", message, options)
  }
}

/** Codes that fetch() rejects with when there was a connection. */
const BROKEN = new Set(["ECONNRESET", "ConnectionClosed", "EPIPE", "ETIMEDOUT"])

/** Parameters of a request; several values are given one after the other. */
export type NodeQuery = Readonly<Record<string, string | readonly string[]>>

/** A node, and what it has to be shown. Who may open its socket need show nothing. */
export class NodeApi {
  /** For people: where it is. */
  readonly origin: string
  readonly #base: string
  readonly #unix: string | undefined
  readonly #headers: Record<string, string>
  readonly #tls: TlsFiles | undefined

  constructor(command: string, args: ParsedArgs<typeof NODE_FLAGS>) {
    const socketPath = /^unix:(?:\/\/)?(?<path>.+)$/s.exec(args.values.url)?.groups?.path
    this.origin = socketPath === undefined ? originOf(command, args) : `unix:${socketPath}`
    this.#base = socketPath === undefined ? this.origin : "http://localhost"
    const { authToken, tls } = accessOptions(command, args)
    this.#headers = socketPath === undefined ? authHeaders(authToken) : {}
    this.#tls = tls === undefined || socketPath !== undefined ? undefined : new TlsFiles(tls)
    this.#unix = socketPath
  }

  /** Answers other than 200 are errors, with the text that the node gives. */
  async call(route: string, query: NodeQuery = {}, init: RequestInit = {}): Promise<Response> {
    const response = await this.request(route, query, init)
    if (response.status === 200) return response
    const text = (await response.text()).trim().slice(0, 1000)
    const foreign = foreignProblem(Object.fromEntries(response.headers), response.status)
    if (foreign !== undefined) {
      const problem = `Cannot use LiteFS at ${this.origin}: ${foreign.message}`
      throw new LitefsError("unavailable", problem)
    }
    throw new LitefsError(
      response.status === 404 ? "not-found" : "unavailable",
      text === "" ? `Cannot use ${this.origin}: it answers with status ${response.status}` : text,
    )
  }

  /** The answer, whatever it is. */
  async request(route: string, query: NodeQuery = {}, init: RequestInit = {}): Promise<Response> {
    const url = new URL(route, this.#base)
    for (const [name, values] of Object.entries(query)) {
      for (const value of [values].flat()) url.searchParams.append(name, value)
    }
    const headers = { ...(init.headers as Record<string, string>), ...this.#headers }
    const tls = this.#tls?.current()
    try {
      using way = this.#unix === undefined ? undefined : reachable(this.#unix)
      // Without `timeout` Bun gives up after five minutes.
      const options = {
        ...{ ...init, timeout: false, headers },
        ...(tls === undefined ? {} : { tls }),
        ...(way === undefined ? {} : { unix: way.path }),
      }
      // A node never redirects; whoever does is not to be shown the token.
      return await fetch(url, { ...options, redirect: "error" })
    } catch (error) {
      const problem = await this.#problemOf(error)
      const text = `Cannot reach LiteFS at ${this.origin}: ${problem.message}`
      const isBroken = BROKEN.has((error as NodeJS.ErrnoException).code ?? "")
      if (isBroken && problem.code !== "usage") throw new BrokenConnection(text, { cause: error })
      throw new LitefsError("unavailable", text, { cause: error })
    }
  }

  async #problemOf(error: unknown): Promise<LitefsError> {
    if (this.#unix === undefined) return firstContactProblem(this.origin, error)
    return socketProblem(error)
  }
}

/** What --name is. */
export function databaseOf(command: string, name: string | undefined): string {
  if (name === undefined) throw usageError(command, "no --name DB is given")
  const problem = databaseNameProblem(name)
  if (problem === undefined) return name
  throw usageError(command, `--name is "${name}": ${problem}, it should be like app.db`)
}

function originOf(command: string, args: ParsedArgs<typeof NODE_FLAGS>): string {
  const { url } = args.values
  const base = URL.canParse(url) ? new URL(url) : undefined
  if (base?.protocol !== "http:" && base?.protocol !== "https:") {
    throw usageError(
      command,
      `--url is "${url}", it should be like http://127.0.0.1:20202 or unix:/var/lib/litefs/api.sock`,
    )
  }
  return base.origin
}
