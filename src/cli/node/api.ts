/** The API of a node, for commands that run next to it. */
import {
  firstContactProblem,
  foreignProblem,
  socketProblem,
} from "../../cluster/connect-problem.ts"
import { authHeaders } from "../../http/server/auth.ts"
import { TlsFiles } from "../../http/server/tls-files.ts"
import { type ErrorCode, LitefsError } from "../../lib/errors.ts"
import { DataDir } from "../../store/data-dir.ts"
import { reachable } from "../../sys/net/local-socket.ts"
import { nodeConfig } from "../settings/mount-config.ts"
import { MOUNT_FLAGS } from "../settings/mount-flags.ts"
import { ACCESS_FLAGS, accessOptions } from "../terminal/access.ts"
import type { Environment, ParsedArgs, Settings } from "../terminal/argv.ts"
import { type FlagTable, Unfit } from "../terminal/flags.ts"
import { runningNodes, suggestion } from "./running-nodes.ts"

const URL_FLAG = {
  kind: "special",
  placeholder: "URL",
  read: nodeAddress,
  default: "http://127.0.0.1:20202",
  help: "the API of the node, or unix:PATH of its socket",
} as const

const CONFIG_FLAG = {
  kind: "text",
  placeholder: "FILE",
  hasNoVariable: true,
  help: "read from its litefs.yml where the node is",
} as const

/** Flags of every command that calls a node. Such a command has `nodeSettings()`, too. */
export const NODE_FLAGS = {
  url: URL_FLAG,
  config: CONFIG_FLAG,
  ...ACCESS_FLAGS,
} as const satisfies FlagTable

/** Flags of a command that is about one database. */
export const API_FLAGS = {
  url: URL_FLAG,
  config: CONFIG_FLAG,
  name: { kind: "name", isRequired: true, help: "the database; required" },
  ...ACCESS_FLAGS,
} as const satisfies FlagTable

/** What the file of --config tells a command about its node. */
export function nodeSettings(command: string) {
  return (args: ParsedArgs<typeof NODE_FLAGS>, env: Environment): Settings | undefined => {
    const path = args.values.config
    if (path === undefined) return undefined
    return nodeConfig(command, path, args.spelling("config"), { env, flags: MOUNT_FLAGS })
  }
}

/** The connection broke after the node may have got the request: nobody knows what it did. */
export class BrokenConnection extends LitefsError {
  constructor(message: string, options?: { cause?: unknown }) {
    super("unavailable", message, options)
  }
}

/** What a node says in sentences, bytes. */
const TEXT_SIZE_MAX = 1024 * 1024

/** Its /info, which has an entry for each database and each replica. */
export const INFO_SIZE_MAX = 64 * 1024 * 1024

const ORIGINAL_MS_MAX = 10_000

/** Error codes of fetch() after a connection was made. */
const BROKEN = new Set(["ECONNRESET", "ConnectionClosed", "EPIPE", "ETIMEDOUT"])

/** Codes for statuses that are not about the node's state. */
const REFUSALS: Readonly<Record<number, ErrorCode>> = { 400: "usage", 404: "not-found" }

/** Parameters of a request; several values are sent one after the other. */
export type NodeQuery = Readonly<Record<string, string | readonly string[]>>

/** A node, and what to show it. Users who may open its socket need show nothing. */
export class NodeApi {
  /** Where it is, for people. */
  readonly origin: string
  readonly #isGiven: boolean
  readonly #base: string
  readonly #unix: string | undefined
  readonly #headers: Record<string, string>
  readonly #tls: TlsFiles | undefined

  constructor(args: ParsedArgs<typeof NODE_FLAGS>) {
    const { origin, socketPath } = args.values.url
    this.origin = origin
    this.#isGiven = args.isGiven("url")
    this.#base = socketPath === undefined ? this.origin : "http://localhost"
    const { authToken, tls } = accessOptions(args)
    this.#headers = socketPath === undefined ? authHeaders(authToken) : {}
    this.#tls = tls === undefined || socketPath !== undefined ? undefined : new TlsFiles(tls)
    this.#unix = socketPath
  }

  /** Answers other than 200 are errors, with the node's text, and so is one that is not LiteFS's. */
  async call(route: string, query: NodeQuery = {}, init: RequestInit = {}): Promise<Response> {
    const response = await this.request(route, query, init)
    if (response.status !== 200) throw this.refusal(response, await this.textOf(response))
    await this.checkOrigin(response)
    return response
  }

  /** Throws for an answer of another server: any web server answers a path with 200. */
  async checkOrigin(response: Response): Promise<void> {
    const foreign = this.#foreign(response)
    if (foreign === undefined || (await this.#isOriginal())) return
    await response.body?.cancel().catch(() => {})
    throw foreign
  }

  /** The original puts no name of its own on its answers: it is known by its /info. */
  async #isOriginal(): Promise<boolean> {
    try {
      const signal = AbortSignal.timeout(ORIGINAL_MS_MAX)
      const response = await this.request("/info", {}, { signal })
      const info = Object(JSON.parse(await this.textOf(response, INFO_SIZE_MAX)))
      return typeof info.isPrimary === "boolean" && typeof info.path === "string"
    } catch {
      return false
    }
  }

  #foreign({ headers, status }: Response): LitefsError | undefined {
    const foreign = foreignProblem(Object.fromEntries(headers), status)
    if (foreign === undefined) return undefined
    return new LitefsError("unavailable", `Cannot use LiteFS at ${this.origin}: ${foreign.message}`)
  }

  /** The text of an answer; up to `sizeMax` bytes, of whoever it is that answers. */
  async textOf({ body }: Response, sizeMax = TEXT_SIZE_MAX): Promise<string> {
    if (body === null) return ""
    const parts: Uint8Array[] = []
    let size = 0
    try {
      for await (const part of body as ReadableStream<Uint8Array>) {
        parts.push(part)
        size += part.length
        if (size > sizeMax) break // which ends the connection
      }
    } catch (error) {
      const problem = "the connection broke in the middle of its answer, see the node's log"
      throw new BrokenConnection(`Cannot use ${this.origin}: ${problem}`, { cause: error })
    }
    if (size <= sizeMax) return new TextDecoder().decode(Buffer.concat(parts))
    const problem = `its answer has over ${sizeMax} bytes, it should have less`
    throw new LitefsError("unavailable", `Cannot use ${this.origin}: ${problem}`)
  }

  /** What an answer other than 200 means, in the node's words. Those of another server help nobody. */
  refusal(response: Response, body: string): LitefsError {
    const foreign = this.#foreign(response)
    if (foreign !== undefined) return foreign
    const { status } = response
    const text = body.trim().slice(0, 1000)
    return new LitefsError(
      REFUSALS[status] ?? "unavailable",
      text === "" ? `Cannot use ${this.origin}: it answers with status ${status}` : text,
    )
  }

  /** The answer, whatever its status. */
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
      // A node never redirects; whoever does must not see the token.
      return await fetch(url, { ...options, redirect: "error" })
    } catch (error) {
      const problem = await this.#problemOf(error)
      const advice = this.#isGiven ? "" : urlAdvice()
      const text = `Cannot reach LiteFS at ${this.origin}: ${problem.message}${advice}`
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

function urlAdvice(): string {
  const sockets = runningNodes().dataDirs.map((root) => `unix:${new DataDir(root).socketPath}`)
  return `; give the address of the node with --url${suggestion(sockets, true)}`
}

interface NodeAddress {
  /** Where it is; for people, too. */
  readonly origin: string
  readonly socketPath?: string
}

function nodeAddress(text: string): NodeAddress {
  const socketPath = /^unix:(?:\/\/)?(?<path>.+)$/s.exec(text)?.groups?.path
  if (socketPath !== undefined) return { origin: `unix:${socketPath}`, socketPath }
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url?.protocol === "http:" || url?.protocol === "https:") return { origin: url.origin }
  throw new Unfit("it should be like http://127.0.0.1:20202 or unix:/var/lib/litefs/api.sock")
}
