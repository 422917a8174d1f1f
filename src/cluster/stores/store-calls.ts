/**
 * Calls to the hosts of a store. One that cannot be reached, or does not answer in time, is passed over: the next call
 * goes to the host that has answered last. A call may thus be made twice, and its caller must bear that.
 */
import { Agent, type ClientRequest, request as httpRequest, type IncomingMessage } from "node:http"
import { request as httpsRequest, Agent as SecureAgent } from "node:https"
import type { Clock } from "../../lib/clock.ts"
import { LitefsError, messageOf } from "../../lib/errors.ts"
import { readStart } from "../node-client.ts"
import type { TlsMaterial } from "../node-request.ts"

/** Bytes of an answer. */
const ANSWER_SIZE_MAX = 8 * 1024 * 1024
const PROBLEM_SIZE_MAX = 300

export interface StoreCallsOptions {
  /** Scheme, host and port of each. */
  readonly origins: readonly string[]
  readonly limitMs: number
  readonly clock: Clock
  tls(): TlsMaterial
}

export interface StoreAnswer {
  readonly status: number
  readonly text: string
}

export interface StoreCall {
  readonly method: "GET" | "PUT" | "POST"
  readonly path: string
  readonly headers: Record<string, string>
  readonly body?: string
}

export class StoreCalls {
  readonly #options: StoreCallsOptions
  readonly #agent: Agent
  #at = 0 // the host that is asked first

  constructor(options: StoreCallsOptions) {
    this.#options = options
    const isSecure = options.origins[0]?.startsWith("https:") === true
    this.#agent = isSecure ? new SecureAgent({ keepAlive: true }) : new Agent({ keepAlive: true })
  }

  /** Rejects with the problem of each host. A status is no problem, unless the host itself is out of order. */
  async call(call: StoreCall): Promise<StoreAnswer> {
    const { origins } = this.#options
    const problems: string[] = []
    for (let tries = 0; tries < origins.length; tries++) {
      const origin = origins[this.#at] as string
      try {
        const answer = await this.#callOne(origin, call)
        if (answer.status < 500 || isOfTheCall(answer)) return answer
        problems.push(`${hostOf(origin)}: ${problemOf(answer)}`)
      } catch (error) {
        problems.push(`${hostOf(origin)}: ${messageOf(error)}`)
      }
      this.#at = (this.#at + 1) % origins.length
    }
    throw new LitefsError("unavailable", problems.join("; "))
  }

  async #callOne(origin: string, call: StoreCall): Promise<StoreAnswer> {
    const { limitMs, clock } = this.#options
    const { promise, resolve, reject } = Promise.withResolvers<StoreAnswer>()
    const request = this.#request(origin, call, this.#agent)
    const cancel = clock.after(limitMs, () => {
      request.destroy()
      reject(new LitefsError("unavailable", `no answer in ${Math.round(limitMs)} ms`))
    })
    request.on("error", (error) => reject(plain(error)))
    request.on("response", (response) => {
      readText(response).then((text) => resolve({ status: response.statusCode ?? 0, text }), reject)
    })
    request.end(call.body ?? "")
    try {
      return await promise
    } finally {
      cancel()
    }
  }

  /** Calls back with each line of an answer that goes on, until it ends or the signal is aborted. Does not reject. */
  async lines(call: StoreCall, signal: AbortSignal, each: (line: string) => void): Promise<void> {
    const origin = this.#options.origins[this.#at] as string
    const { promise, resolve } = Promise.withResolvers<void>()
    const request = this.#request(origin, call, false)
    const end = () => {
      request.destroy()
      resolve()
    }
    signal.addEventListener("abort", end, { once: true })
    request.on("error", end)
    request.on("response", (response) => {
      let text = ""
      response.on("error", end)
      response.on("end", end)
      response.on("data", (part) => {
        const lines = `${text}${String(part)}`.split("\n")
        text = lines.pop() ?? ""
        if (text.length > ANSWER_SIZE_MAX) return end()
        for (const line of lines) each(line)
      })
    })
    request.end(call.body ?? "")
    await promise
    signal.removeEventListener("abort", end)
  }

  #request(origin: string, call: StoreCall, agent: Agent | false): ClientRequest {
    const isSecure = origin.startsWith("https:")
    const { method, path, headers, body = "" } = call
    return (isSecure ? httpsRequest : httpRequest)(new URL(path, origin), {
      ...(isSecure ? this.#options.tls() : {}),
      method,
      headers: { ...headers, "Content-Length": Buffer.byteLength(body) },
      agent,
    })
  }

  close(): void {
    this.#agent.destroy()
  }
}

/** etcd answers with 500 and more also to what is wrong with a call: gRPC's codes 5, 7, 9 and 16. */
function isOfTheCall({ text }: StoreAnswer): boolean {
  return /"code":\s*(3|5|7|9|16)\b/.test(text) || /invalid session/i.test(text)
}

/** What a store says of a call that it has not done. */
export function problemOf({ status, text }: StoreAnswer): string {
  const said = /"(?:error|message)":\s*"(?<said>[^"]+)"/.exec(text)?.groups?.said ?? text.trim()
  return said === "" ? `it answers with status ${status}` : said.slice(0, PROBLEM_SIZE_MAX)
}

function hostOf(origin: string): string {
  return new URL(origin).host
}

/** The runtime's words for a refused connection guess at typing errors. */
function plain(error: Error): LitefsError {
  const { code = "" } = error as NodeJS.ErrnoException
  const text = code === "ECONNREFUSED" ? "nothing listens there" : messageOf(error).split(". ")[0]
  return new LitefsError("unavailable", code === "" ? String(text) : `${text} (${code})`)
}

async function readText(response: IncomingMessage): Promise<string> {
  const { text, isWhole } = await readStart(response, ANSWER_SIZE_MAX)
  if (isWhole) return text
  throw new LitefsError("unavailable", `its answer is larger than ${ANSWER_SIZE_MAX} bytes`)
}
