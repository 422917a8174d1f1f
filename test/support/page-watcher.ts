/** Somebody who watches a PageNode, and replicas that it has. */
import { expect } from "bun:test"
import type { ClusterNode } from "../../src/http/page/picture.ts"
import type { WatchNews } from "../../src/http/page/watch-feed.ts"
import type { ReplicaStream } from "../../src/http/streams/replica-stream.ts"
import { type PageNode, TOKEN } from "./page-node.ts"
import { posOf } from "./status-node.ts"

export interface News extends WatchNews {
  readonly event: "picture" | "change"
}

export class Watcher implements AsyncDisposable {
  readonly #abort = new AbortController()
  readonly #news: AsyncGenerator<News>

  constructor(page: PageNode, filter = "") {
    this.#news = read(page, filter, this.#abort.signal)
  }

  static async open(page: PageNode, filter = ""): Promise<{ watcher: Watcher; first: News }> {
    const watcher = new Watcher(page, filter)
    return { watcher, first: await watcher.next() }
  }

  /** The newest of all parts. */
  known: Partial<News> = {}
  last: News | undefined

  async next(): Promise<News> {
    const { value, done } = await this.#news.next()
    if (done) throw new Error("there are no more news")
    this.last = value
    this.known = { ...this.known, ...value }
    return value
  }

  /** The nodes as they were told at that time. */
  async nodesNow(wallMs: number): Promise<readonly ClusterNode[]> {
    while ((this.last?.wallMs ?? 0) < wallMs) await this.next()
    return this.known.nodes ?? []
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort()
    await this.#news.return(undefined).catch(() => {})
  }
}

async function* read({ url }: PageNode, filter: string, signal: AbortSignal): AsyncGenerator<News> {
  const query = filter === "" ? "" : `?filter=${encodeURIComponent(filter)}`
  const headers = { Authorization: `Bearer ${TOKEN}` }
  const response = await fetch(`${url}/watch${query}`, { headers, signal })
  expect(response.headers.get("content-type")).toBe("text/event-stream")
  let rest = ""
  for await (const part of response.body as ReadableStream<Uint8Array>) {
    const all = (rest + new TextDecoder().decode(part)).split("\n\n")
    rest = all.pop() ?? ""
    for (const each of all) {
      const [, event, data = ""] = /^event: (\w+)\ndata: (.*)$/.exec(each) ?? []
      yield { event, ...JSON.parse(data) } as News
    }
  }
}

/** A replica that has been sent so much. */
export function connect(
  { node }: PageNode,
  name: string,
  sent: Record<string, number>,
): ReplicaStream {
  const stream = {
    replica: { id: name.padStart(16, "0"), name, connectedMs: node.nowMs, url: `http://${name}` },
    leftOut: new Set(),
    sent: new Map(Object.entries(sent).map(([database, txid]) => [database, posOf(txid)])),
    isWanted: () => true,
  } as unknown as ReplicaStream
  node.streams.add(stream)
  return stream
}
