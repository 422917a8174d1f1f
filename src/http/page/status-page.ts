/**
 * The status page: `GET /` for a browser, and what it shows.
 *
 *   nobody watches   a sample for the plots every SAMPLE_MS, and nothing else
 *   somebody does    a picture of the cluster every LOOK_MS, for everybody who watches (watch-feed.ts)
 *
 * A replica that somebody watches asks its primary for the other replicas (other-replicas.ts).
 *
 * A turn that takes long makes the next one come later: all turns together take a four-hundredth of the time of a core,
 * up to a node of many thousand databases.
 */
import type { ServerResponse } from "node:http"
import type { NodeAnswer } from "../../cluster/node-client.ts"
import type { NodeStatus } from "../../cluster/node-status.ts"
import type { Clock } from "../../lib/clock.ts"
import { LitefsError } from "../../lib/errors.ts"
import type { Positions } from "../../store/positions.ts"
import { answerJsonBody } from "../server/json.ts"
import { type ApiRoutes, checkRouteQuery } from "../server/routes.ts"
import type { AwayReplica } from "./findings.ts"
import { History } from "./history.ts"
import { encodeReplicas, OtherReplicas, replicasText } from "./other-replicas.ts"
import {
  connectedReplicas,
  type Picture,
  replicaNodes,
  takePicture,
  unsentByOne,
} from "./picture.ts"
import { RecentEvents } from "./recent-events.ts"
import { WatchFeed } from "./watch-feed.ts"

const LOOK_MS = 1000
const SAMPLE_MS = 2000
/** How much longer than a turn the time to the next one is. */
const REST = 400
const REST_MS_MAX = 12_000
/** Of so many turns the quickest counts: on a busy machine one may be kept waiting in the middle. */
const COST_COUNT = 4

/** Databases of replicas. */
const UNWATCHED_COUNT_MAX = 500

/** Longer ago, and more of them, is not of interest. */
const AWAY_MS_MAX = 24 * 3_600_000
const AWAY_COUNT_MAX = 64

export interface StatusPageContext {
  /** Asks the primary that this node is connected to for its replicas: `GET /nodes`. */
  askPrimary(): Promise<NodeAnswer>
  readonly status: NodeStatus
  readonly positions: Positions
  readonly clock: Clock
  /** The number of histories that were kept when another replaced them. */
  divergedCount(): number
}

interface SeenReplica extends AwayReplica {
  isHere: boolean
}

export class StatusPage {
  readonly #context: StatusPageContext
  readonly #history: History
  readonly #events = new RecentEvents()
  readonly #feed: WatchFeed
  readonly #others: OtherReplicas
  readonly #replicas = new Map<string, SeenReplica>() // by id, or by name
  #lastPrimaryName: string | undefined
  /** What replicas are told, until it is old. */
  #list = { encoded: "", endMs: Number.NEGATIVE_INFINITY }
  #picture: { readonly taken: Picture; readonly monotonicMs: number } | undefined
  #isWatched = false
  #costsMs: readonly number[] = [] // of the last turns
  #sampledMs = Number.NEGATIVE_INFINITY
  #cancel = () => {}

  constructor(context: StatusPageContext) {
    this.#context = context
    this.#history = new History(context.positions, context.clock.monotonicMs())
    this.#feed = new WatchFeed({
      history: this.#history,
      events: this.#events,
      picture: () => this.#look(),
      changed: () => this.#watched(),
    })
    const { clock, status, askPrimary } = context
    this.#others = new OtherReplicas({
      ...{ clock, ask: () => askPrimary() },
      primary: () => (status.isPrimary || !status.primaryName ? undefined : keyOf(status)),
      changed: () => this.#isWatched && this.#turnLater(0),
    })
    this.#turnLater(SAMPLE_MS)
  }

  get routes(): ApiRoutes {
    return {
      "/watch": { GET: (...given) => this.#feed.handle(...given) },
      "/nodes": { GET: (_, response, url) => this.#tellReplicas(response, url) },
    }
  }

  get watcherCount(): number {
    return this.#feed.watcherCount
  }

  close(): void {
    this.#cancel()
    this.#events.close()
  }

  #watched(): void {
    const isWatched = this.#feed.watcherCount > 0
    if (isWatched === this.#isWatched) return
    this.#isWatched = isWatched
    if (isWatched) this.#others.look()
    else {
      this.#picture = undefined
      this.#others.forget()
    }
    this.#turnLater(isWatched ? LOOK_MS : SAMPLE_MS)
  }

  #turnLater(delayMs: number): void {
    this.#cancel()
    this.#cancel = this.#context.clock.after(delayMs, () => this.#turn())
  }

  #turn(): void {
    const { clock } = this.#context
    const startMs = clock.monotonicMs()
    this.#noteNodes()
    const isDue = startMs - this.#sampledMs >= SAMPLE_MS - LOOK_MS / 2
    if (this.#isWatched) this.#others.look()
    const picture = this.#isWatched ? this.#take(startMs) : undefined
    if (isDue) this.#sample(startMs, picture?.unsent ?? this.#unsent())
    if (picture !== undefined) this.#feed.tell(picture)
    this.#costsMs = [clock.monotonicMs() - startMs, ...this.#costsMs.slice(0, COST_COUNT - 1)]
    const restMs = restOf(Math.min(...this.#costsMs))
    this.#turnLater(Math.max(this.#isWatched ? LOOK_MS : SAMPLE_MS, restMs))
  }

  #sample(monotonicMs: number, unsent: number | null): void {
    const { status, clock } = this.#context
    this.#sampledMs = monotonicMs
    const lagMs = status.lagMs ?? null
    const wallMs = Math.round(clock.wallMs())
    this.#history.add(monotonicMs, { wallMs, lagMs: lagMs && Math.round(lagMs), unsent })
  }

  /** While nobody watches, only where that costs next to nothing. */
  #unsent(): number | null {
    const { status, positions } = this.#context
    const replicas = [...status.replicas()]
    if (replicas.length * positions.count > UNWATCHED_COUNT_MAX) return null
    return unsentByOne(replicas, [...status.databases()])
  }

  /** A picture that is not older than the time between two. */
  #look(): Picture {
    const nowMs = this.#context.clock.monotonicMs()
    const last = this.#picture
    if (last !== undefined && nowMs - last.monotonicMs < LOOK_MS) return last.taken
    this.#noteNodes()
    return this.#take(nowMs)
  }

  #take(monotonicMs: number): Picture {
    const { status, clock, divergedCount } = this.#context
    const taken = takePicture({
      status,
      wallMs: Math.round(clock.wallMs()),
      lastPrimaryName: this.#lastPrimaryName,
      ...{ away: this.#away, others: this.#others },
      divergedCount: divergedCount(),
    })
    this.#picture = { taken, monotonicMs }
    return taken
  }

  get #away(): SeenReplica[] {
    return [...this.#replicas.values()].filter(({ isHere }) => !isHere)
  }

  /** However many ask, the list is made once in a while. */
  #tellReplicas(response: ServerResponse, url: URL): void {
    checkRouteQuery(url, "GET /nodes")
    const { status, clock } = this.#context
    if (!status.isPrimary) {
      const problem = "this node is a replica, its primary knows them"
      throw new LitefsError("unavailable", `Cannot tell of replicas: ${problem}`)
    }
    const startMs = clock.monotonicMs()
    if (startMs >= this.#list.endMs) {
      this.#noteNodes()
      const nodes = replicaNodes(connectedReplicas(status), [...status.databases()], this.#away)
      const encoded = encodeReplicas(nodes)
      const endMs = startMs + Math.max(LOOK_MS, restOf(clock.monotonicMs() - startMs))
      this.#list = { encoded, endMs }
    }
    const text = replicasText(Math.round(clock.wallMs()), this.#list.encoded)
    answerJsonBody(response, 200, Buffer.from(text))
  }

  /** Remembers who is connected, so that who is no longer can be told. */
  #noteNodes(): void {
    const { status, clock } = this.#context
    this.#lastPrimaryName = status.primaryName ?? this.#lastPrimaryName
    const nowMs = Math.round(clock.wallMs())
    if (!status.isPrimary) return this.#replicas.clear() // they follow another
    this.#others.forget()
    const here = new Set<string>()
    for (const { id, name, url } of status.replicas()) {
      const key = id ?? name
      here.add(key)
      this.#replicas.delete(key)
      const known = { id: id ?? null, hostname: name, url: url ?? null, sinceMs: nowMs }
      this.#replicas.set(key, { ...known, isHere: true })
    }
    for (const [key, replica] of this.#replicas) {
      if (!here.has(key)) replica.isHere = false
      const isOld = nowMs - replica.sinceMs > AWAY_MS_MAX
      const isOne = this.#replicas.size > AWAY_COUNT_MAX
      if (!replica.isHere && (isOld || isOne)) this.#replicas.delete(key)
    }
  }
}

/** How long to rest after work of so long. */
function restOf(workMs: number): number {
  return Math.min(workMs * REST, REST_MS_MAX)
}

function keyOf({ identity, primaryName }: NodeStatus): string {
  return `${primaryName} ${identity.primaryUrl}`
}
