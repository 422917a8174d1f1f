/** Calls of one node to another. */
import { Agent, type IncomingMessage } from "node:http"
import { Agent as SecureAgent } from "node:https"
import type { Clock } from "../lib/clock.ts"
import { LitefsError } from "../lib/errors.ts"
import { connectProblem } from "./connect-problem.ts"
import { type NodeRequest, nodeRequest, type TlsMaterial } from "./node-request.ts"

export interface NodeCall {
  readonly method: "GET" | "POST" | "DELETE"
  readonly path: string
  readonly headers: Record<string, string>
  readonly body?: Uint8Array
  readonly limitMs: number
  readonly tls: TlsMaterial
  /** Undefined: over the network. */
  readonly request?: NodeRequest | undefined
  /** Keeps connections for the next call. */
  readonly agents?: NodeAgents
  readonly clock: Clock
}

export interface NodeAnswer {
  readonly status: number
  readonly headers: IncomingMessage["headers"]
  readonly text: string
}

/** Connections to nodes that are called often. */
export class NodeAgents {
  readonly #plain = new Agent({ keepAlive: true })
  readonly #secure = new SecureAgent({ keepAlive: true })

  of(isSecure: boolean): Agent {
    return isSecure ? this.#secure : this.#plain
  }

  close(): void {
    this.#plain.destroy()
    this.#secure.destroy()
  }
}

const TEXT_SIZE_MAX = 1024 * 1024

/** Rejects when no answer comes in time. */
export async function callNode(origin: string, call: NodeCall): Promise<NodeAnswer> {
  const url = new URL(call.path, origin)
  const isSecure = url.protocol === "https:"
  const { promise, resolve, reject } = Promise.withResolvers<NodeAnswer>()
  const headers = { ...call.headers, "Content-Length": call.body?.length ?? 0 }
  const options = {
    method: call.method,
    headers,
    agent: call.agents?.of(isSecure) ?? false,
  }
  const request = (call.request ?? nodeRequest)(url, options, call.tls)
  const cancel = call.clock.after(call.limitMs, () => {
    request.destroy(new LitefsError("unavailable", `no answer in ${call.limitMs} ms`))
  })
  request.on("error", reject)
  request.on("response", (response) => {
    readStart(response, TEXT_SIZE_MAX).then(({ text }) => {
      const { statusCode = 0, headers } = response
      resolve({ status: statusCode, headers, text: text.trim() })
    }, reject)
  })
  request.end(call.body)
  try {
    return await promise
  } catch (error) {
    // The caller gets a problem that no setting solves as it is: it may know the code.
    const problem = connectProblem(origin, error)
    throw problem.code === "usage" ? problem : error
  } finally {
    cancel()
  }
}

/** The first bytes of an answer, and whether there are no more: `sizeMax`, or as many more as came with them. */
export async function readStart(
  response: IncomingMessage,
  sizeMax: number,
): Promise<{ readonly text: string; readonly isWhole: boolean }> {
  const parts: Uint8Array[] = []
  let size = 0
  for await (const part of response) {
    parts.push(part as Uint8Array)
    size += (part as Uint8Array).length
    if (size > sizeMax) break // which ends the connection
  }
  return { text: Buffer.concat(parts).toString(), isWhole: size <= sizeMax }
}
