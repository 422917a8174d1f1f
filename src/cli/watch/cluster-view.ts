/** What `GET /watch` has told (http/page/watch-feed.ts): a picture, and what has changed since. */
import type { Sample } from "../../http/page/history.ts"
import type { ClusterNode, DatabaseRow, NodeFacts } from "../../http/page/picture.ts"
import type { RecentEvent } from "../../http/page/recent-events.ts"
import type { WatchNews } from "../../http/page/watch-feed.ts"
import { LitefsError } from "../../lib/errors.ts"

const EVENT_COUNT_MAX = 100
const SAMPLE_COUNT_MAX = 160

export class ClusterView {
  readonly rows = new Map<string, DatabaseRow>()
  readonly #events = new Map<number, RecentEvent>()
  samples: Sample[] = []
  node: NodeFacts | undefined
  nodes: readonly ClusterNode[] = []
  matchingCount = 0
  /** By the clock of the node. */
  wallMs = 0

  get events(): RecentEvent[] {
    return [...this.#events.values()]
  }

  /** An event of the stream. Throws for what no node of this version sends. */
  take(text: string): void {
    const { name, data = "" } = /^event: (?<name>\w+)\ndata: (?<data>.*)$/.exec(text)?.groups ?? {}
    if (name === undefined) return
    const news = newsOf(data)
    if (name === "picture") this.#clear()
    this.wallMs = news.wallMs
    this.node = news.node ?? this.node
    this.nodes = news.nodes ?? this.nodes
    this.matchingCount = news.matchingCount ?? this.matchingCount
    for (const row of news.rows ?? []) this.rows.set(row.name, row)
    for (const name of news.gone ?? []) this.rows.delete(name)
    for (const event of news.events ?? []) this.#events.set(event.id, event)
    for (const id of [...this.#events.keys()].slice(0, -EVENT_COUNT_MAX)) this.#events.delete(id)
    this.samples = [...this.samples, ...(news.samples ?? [])].slice(-SAMPLE_COUNT_MAX)
  }

  #clear(): void {
    this.rows.clear()
    this.#events.clear()
    this.samples = []
  }
}

function newsOf(data: string): WatchNews {
  try {
    const news = JSON.parse(data)
    if (typeof news?.wallMs === "number") return news
  } catch {
    // Said below.
  }
  throw new LitefsError(
    "unavailable",
    "Cannot understand what the node tells: is it another version?",
  )
}
