/**
 * The status page: `GET /` for a browser, and what it shows.
 *
 *   nobody watches   a sample for the plots every SAMPLE_MS, and nothing else
 *   somebody does    a picture of the cluster every LOOK_MS, for everybody who watches (watch-feed.ts)
 *
 * A turn that takes long makes the next one come later: all turns together take a four-hundredth of the time of a core,
 * up to a node of many thousand databases.
 */
import type { NodeStatus } from "../../cluster/node-status.ts"
import type { Clock } from "../../lib/clock.ts"
import type { Positions } from "../../store/positions.ts"
import type { ApiRoutes } from "../server/routes.ts"
import type { AwayReplica } from "./findings.ts"
import { History } from "./history.ts"
import { type Picture, takePicture, unsentByOne } from "./picture.ts"
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
  readonly #replicas = new Map<string, SeenReplica>() // by id, or by name
  #lastPrimaryName: string | undefined
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
    this.#turnLater(SAMPLE_MS)
  }

  get routes(): ApiRoutes {
    return { "/watch": { GET: (...given) => this.#feed.handle(...given) } }
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
    if (!isWatched) this.#picture = undefined
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
    const picture = this.#isWatched ? this.#take(startMs) : undefined
    if (isDue) this.#sample(startMs, picture?.unsent ?? this.#unsent())
    if (picture !== undefined) this.#feed.tell(picture)
    this.#costsMs = [clock.monotonicMs() - startMs, ...this.#costsMs.slice(0, COST_COUNT - 1)]
    const restMs = Math.min(Math.min(...this.#costsMs) * REST, REST_MS_MAX)
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
      away: [...this.#replicas.values()].filter(({ isHere }) => !isHere),
      divergedCount: divergedCount(),
    })
    this.#picture = { taken, monotonicMs }
    return taken
  }

  /** Remembers who is connected, so that who is no longer can be told. */
  #noteNodes(): void {
    const { status, clock } = this.#context
    this.#lastPrimaryName = status.primaryName ?? this.#lastPrimaryName
    const nowMs = Math.round(clock.wallMs())
    if (!status.isPrimary) return this.#replicas.clear() // they follow another
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
