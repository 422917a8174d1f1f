/** The API of a real node, as a client that has nothing of ours. */
import { request } from "node:http"
import type { Health } from "../../src/http/status/health.ts"
import type { NodeInfo } from "../../src/http/status/info.ts"
import type { Scope, TestNode } from "./node.ts"
import { until } from "./until.ts"

const LIMIT_MS = 20_000

export async function getText(node: TestNode, path: string): Promise<string> {
  const signal = AbortSignal.timeout(LIMIT_MS)
  // A node that was stopped meanwhile may close an idle connection just as it is used again.
  const response = await fetch(node.url + path, { keepalive: false, signal })
  const text = await response.text()
  if (response.status === 200) return text
  throw new Error(`${path}: ${response.status} ${text}`)
}

export async function infoOf(node: TestNode): Promise<NodeInfo> {
  return JSON.parse(await getText(node, "/info")) as NodeInfo
}

/** Resolves when this is its role. */
export async function becomes(node: TestNode, role: "primary" | "replica"): Promise<void> {
  const isSo = async () => (await infoOf(node)).role === role
  await until(`the node is the ${role}`, isSo, { everyMs: 10, context: () => node.output })
}

export async function healthOf(
  node: TestNode,
  query = "",
): Promise<{ readonly status: number; readonly health: Health }> {
  const response = await fetch(`${node.url}/health${query}`, {
    keepalive: false,
    signal: AbortSignal.timeout(LIMIT_MS),
  })
  return { status: response.status, health: (await response.json()) as Health }
}

/** The value of one sample, 0 when it is not there. */
export async function metricOf(node: TestNode, sample: string): Promise<number> {
  const line = (await getText(node, "/metrics"))
    .split("\n")
    .find((text) => text.startsWith(`${sample} `))
  return line === undefined ? 0 : Number(line.slice(sample.length + 1))
}

export interface Event {
  readonly type: string
  readonly db?: string
  readonly data: {
    readonly txID?: string
    readonly postApplyChecksum?: string
    readonly isPrimary?: boolean
    readonly hostname?: string
  }
}

/** `/events`, in order. Opened when this resolves, and closed with the scope. */
export async function eventsOf(scope: Scope, node: TestNode): Promise<AsyncGenerator<Event>> {
  const abort = new AbortController()
  scope.defer(() => abort.abort())
  const response = await fetch(`${node.url}/events`, { signal: abort.signal })
  return read(response.body as ReadableStream<Uint8Array>)
}

async function* read(body: ReadableStream<Uint8Array>): AsyncGenerator<Event> {
  let rest = ""
  for await (const part of body) {
    const lines = (rest + new TextDecoder().decode(part)).split("\n")
    rest = lines.pop() ?? ""
    for (const line of lines) yield JSON.parse(line) as Event
  }
}

export async function nextEvent(events: AsyncGenerator<Event>): Promise<Event> {
  const { value, done } = await events.next()
  if (done) throw new Error("the events have ended")
  return value
}

/** The status of a request line that fetch() would not send as it is. */
export function rawStatus(node: TestNode, path: string, method = "GET"): Promise<number> {
  return new Promise((resolve, reject) => {
    const sent = request({ host: "127.0.0.1", port: node.port, path, method }, (response) => {
      response.resume()
      resolve(response.statusCode ?? 0)
    })
    sent.setTimeout(LIMIT_MS, () => sent.destroy(new Error(`no answer to ${path}`)))
    sent.on("error", reject)
    sent.end()
  })
}
