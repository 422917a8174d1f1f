/** The API of a node, for commands that are run next to it. */
import { firstContactProblem, foreignProblem } from "../cluster/connect-problem.ts"
import { authHeaders } from "../http/auth.ts"
import { TlsFiles } from "../http/tls-files.ts"
import { LitefsError } from "../lib/errors.ts"
import { ACCESS_FLAGS, accessOptions } from "./access.ts"
import { type FlagTable, type ParsedArgs, usageError } from "./argv.ts"

const URL_FLAG = {
  kind: "text",
  placeholder: "URL",
  default: "http://127.0.0.1:20202",
  help: "the API of the node",
} as const

/** Of every command that calls a node. */
export const NODE_FLAGS = { url: URL_FLAG, ...ACCESS_FLAGS } as const satisfies FlagTable

/** Of a command that is about one database. */
export const API_FLAGS = {
  url: URL_FLAG,
  name: { kind: "text", placeholder: "DB", help: "the database; required" },
  ...ACCESS_FLAGS,
} as const satisfies FlagTable

/** A node, and what it has to be shown. */
export class NodeApi {
  readonly origin: string
  readonly #headers: Record<string, string>
  readonly #tls: TlsFiles | undefined

  constructor(command: string, args: ParsedArgs<typeof NODE_FLAGS>) {
    this.origin = originOf(command, args)
    const { authToken, tls } = accessOptions(command, args)
    this.#headers = authHeaders(authToken)
    this.#tls = tls === undefined ? undefined : new TlsFiles(tls)
  }

  /** Answers other than 200 are errors, with the text that the node gives. */
  async call(
    route: string,
    query: Record<string, string> = {},
    init: RequestInit = {},
  ): Promise<Response> {
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
  async request(
    route: string,
    query: Record<string, string> = {},
    init: RequestInit = {},
  ): Promise<Response> {
    const url = new URL(route, this.origin)
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value)
    const headers = { ...(init.headers as Record<string, string>), ...this.#headers }
    const tls = this.#tls?.current()
    try {
      // Without `timeout` Bun gives up after five minutes.
      const options = { ...init, timeout: false, headers, ...(tls === undefined ? {} : { tls }) }
      // A node never redirects; whoever does is not to be shown the token.
      return await fetch(url, { ...options, redirect: "error" })
    } catch (error) {
      const { message } = await firstContactProblem(this.origin, error)
      const text = `Cannot reach LiteFS at ${this.origin}: ${message}`
      throw new LitefsError("unavailable", text, { cause: error })
    }
  }
}

/** What --name is. */
export function databaseOf(command: string, name: string | undefined): string {
  if (name !== undefined) return name
  throw usageError(command, "no --name DB is given")
}

function originOf(command: string, args: ParsedArgs<typeof NODE_FLAGS>): string {
  const { url } = args.values
  const base = URL.canParse(url) ? new URL(url) : undefined
  if (base?.protocol !== "http:" && base?.protocol !== "https:") {
    throw usageError(command, `--url is "${url}", it should be like http://127.0.0.1:20202`)
  }
  return base.origin
}
