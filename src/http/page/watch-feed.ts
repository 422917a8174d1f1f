/**
 * `GET /watch`: the cluster as this node sees it, as server-sent events. The first one is whole, the others have what
 * has changed since the last one:
 *
 *   event: picture   {wallMs, node, nodes, rows, matchingCount, samples, events}
 *   event: change    {wallMs} and those of: node, nodes, rows, gone, matchingCount, samples, events
 *
 * `rows` are at most ROW_COUNT_MAX databases, those of `?filter=TEXT` in their names; in a change they are those that
 * are other or new, and `gone` has the names of those that no longer belong to them. `samples` and `events` of a change
 * come on top of the others; an event whose `id` is known has been counted again.
 *
 * Whoever watches with the same filter gets the same bytes: a view. Who does not read is cut off, because the data that
 * waits for one has a limit.
 */
import type { IncomingMessage, ServerResponse } from "node:http"
import { LitefsError } from "../../lib/errors.ts"
import { encodeJson } from "../server/json.ts"
import { Listeners } from "../server/listeners.ts"
import { RequestLog, type Sender, senderOf } from "../server/request-log.ts"
import { checkRouteQuery } from "../server/routes.ts"
import type { History, Sample } from "./history.ts"
import {
  type ClusterNode,
  type DatabaseRow,
  type NodeFacts,
  type Picture,
  rowsOf,
} from "./picture.ts"
import type { RecentEvent, RecentEvents } from "./recent-events.ts"

const log = new RequestLog("watch")

export const WATCHER_COUNT_MAX = 32
const FILTER_SIZE_MAX = 255 // as of a name
/** Bytes that may wait for one watcher: some pictures. */
const WAITING_SIZE_MAX = 512 * 1024

/** The data of an event, as above. */
export interface WatchNews {
  readonly wallMs: number
  readonly node?: NodeFacts
  readonly nodes?: readonly ClusterNode[]
  readonly rows?: readonly DatabaseRow[]
  readonly gone?: readonly string[]
  readonly matchingCount?: number
  readonly samples?: readonly Sample[]
  readonly events?: readonly RecentEvent[]
}

/** One member of it, with its value as JSON. */
type Part = readonly [key: keyof WatchNews, json: string]

export interface WatchFeedContext {
  readonly history: History
  readonly events: RecentEvents
  /** The cluster now, or a moment ago. */
  picture(): Picture
  /** Somebody watches who did not, or nobody does any more. */
  changed(): void
}

export class WatchFeed {
  readonly #context: WatchFeedContext
  readonly #views = new Map<string, View>() // by the filter
  #watcherCount = 0

  constructor(context: WatchFeedContext) {
    this.#context = context
  }

  get watcherCount(): number {
    return this.#watcherCount
  }

  handle(request: IncomingMessage, response: ServerResponse, url: URL): void {
    checkRouteQuery(url, "GET /watch")
    const filter = url.searchParams.get("filter") ?? ""
    if (filter.length > FILTER_SIZE_MAX) {
      const problem = `it has ${filter.length} characters, at most ${FILTER_SIZE_MAX} expected`
      throw new LitefsError("usage", `Cannot use the filter: ${problem}`)
    }
    if (this.#watcherCount >= WATCHER_COUNT_MAX) {
      const problem = `${WATCHER_COUNT_MAX} others do, try again later`
      throw new LitefsError("unavailable", `Cannot watch this node: ${problem}`)
    }
    const view = this.#views.get(filter) ?? new View(filter, this.#context)
    this.#views.set(filter, view)
    this.#watcherCount += 1
    response.on("close", () => this.#left(view, response))
    response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store" })
    view.add(response, senderOf(request), this.#context.picture())
    this.#context.changed()
  }

  /** There is another picture, and perhaps more. */
  tell(picture: Picture): void {
    for (const view of this.#views.values()) view.tell(picture)
  }

  #left(view: View, response: ServerResponse): void {
    this.#watcherCount -= 1
    view.remove(response)
    if (view.isEmpty && this.#views.get(view.filter) === view) this.#views.delete(view.filter)
    this.#context.changed()
  }
}

/** What those who watch with one filter have been told. */
class View {
  readonly filter: string
  readonly #context: WatchFeedContext
  readonly #watchers = new Listeners({
    waitingSizeMax: WAITING_SIZE_MAX,
    log,
    cutOff: "cut off a watcher that does not read",
  })
  #picture: Picture | undefined
  #node = "" // as JSON, here and below
  #nodes = ""
  #rows = new Map<string, string>() // by name
  #matchingCount = 0
  #lastSample: Sample | undefined
  #eventCount = 0

  constructor(filter: string, context: WatchFeedContext) {
    this.filter = filter
    this.#context = context
  }

  get isEmpty(): boolean {
    return this.#watchers.count === 0
  }

  /** Whoever joins a view gets what the others have by now. */
  add(response: ServerResponse, sender: Sender, picture: Picture): void {
    const change = this.#update(picture)
    if (change !== undefined) this.#watchers.send(change)
    this.#watchers.add(response, sender)
    response.write(this.#whole(picture))
  }

  remove(response: ServerResponse): void {
    this.#watchers.remove(response)
  }

  tell(picture: Picture): void {
    const change = this.#update(picture)
    if (change !== undefined) this.#watchers.send(change)
  }

  #whole(picture: Picture): string {
    const { history, events } = this.#context
    return eventOf("picture", [
      ["wallMs", String(picture.wallMs)],
      ["node", this.#node],
      ["nodes", this.#nodes],
      ["rows", listOf(this.#rows.values())],
      ["matchingCount", String(this.#matchingCount)],
      ["samples", encodeJson(history.samples)],
      ["events", encodeJson(events.since(0))],
    ])
  }

  /** What has changed, as an event; undefined for a picture that is known. */
  #update(picture: Picture): string | undefined {
    if (picture === this.#picture) return undefined
    this.#picture = picture
    const parts: Part[] = [["wallMs", String(picture.wallMs)]]
    const node = encodeJson(picture.node)
    if (node !== this.#node) parts.push(["node", node])
    this.#node = node
    const nodes = encodeJson(picture.nodes)
    if (nodes !== this.#nodes) parts.push(["nodes", nodes])
    this.#nodes = nodes
    parts.push(...this.#updateRows(picture))
    const { history, events } = this.#context
    const { samples } = history
    const fresh = samples.slice(samples.indexOf(this.#lastSample as Sample) + 1)
    if (fresh.length > 0) parts.push(["samples", encodeJson(fresh)])
    this.#lastSample = samples.at(-1)
    const happened = events.since(this.#eventCount)
    if (happened.length > 0) parts.push(["events", encodeJson(happened)])
    this.#eventCount = events.changeCount
    return eventOf("change", parts)
  }

  #updateRows(picture: Picture): Part[] {
    const { rows, matchingCount } = rowsOf(picture, this.filter)
    const encoded = new Map(rows.map((row: DatabaseRow) => [row.name, encodeJson(row)]))
    const other = [...encoded].filter(([name, row]) => this.#rows.get(name) !== row)
    const gone = [...this.#rows.keys()].filter((name) => !encoded.has(name))
    const parts: Part[] = []
    if (other.length > 0) parts.push(["rows", listOf(other.map(([, row]) => row))])
    if (gone.length > 0) parts.push(["gone", encodeJson(gone)])
    if (matchingCount !== this.#matchingCount) parts.push(["matchingCount", String(matchingCount)])
    this.#rows = encoded
    this.#matchingCount = matchingCount
    return parts
  }
}

function listOf(encoded: Iterable<string>): string {
  return `[${[...encoded].join(",")}]`
}

/** No JSON has a line break in it. */
function eventOf(name: string, parts: readonly Part[]): string {
  const data = parts.map(([key, json]) => `"${key}":${json}`).join(",")
  return `event: ${name}\ndata: {${data}}\n\n`
}
