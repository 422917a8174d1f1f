/**
 * The other replicas, on the page of a replica: only the primary knows them, and tells them while somebody watches the
 * replica. `GET /nodes` of a primary:
 *
 *   {"wallMs": 1700000000000, "replicas": [{"id": "00000000000000CD", "hostname": "two", "url": "http://two:20202",
 *    "isConnected": true, "sinceMs": 1700000000000, "silentMs": null, "transactions": 0, "databases": 3, "leftOut": [],
 *    "leftOutCount": 0}]}
 *
 * `wallMs` is now by the clock of the primary, and `sinceMs` is by the same; a replica translates it. The list is cut
 * at LIST_SIZE_MAX characters: a replica takes no longer one, and of it only what is as above.
 *
 *   asked ── a list ──▶ told ── the primary is gone, silent, or another ──▶ as it was then ── a list ──▶ told
 *     └── no list: the original, or an older release ──▶ not told, and asked less often
 */
import type { NodeAnswer } from "../../cluster/node-client.ts"
import type { Clock } from "../../lib/clock.ts"
import { isNodeUrl } from "../../wire/node-url.ts"
import { encodeJson } from "../server/json.ts"
import { type ClusterNode, LEFT_OUT_NAMES_MAX } from "./picture.ts"

const LIST_SIZE_MAX = 128 * 1024
const NAME_SIZE_MAX = 255 // of hosts and of databases; an address has no more

const ASK_MS = 2000
/** A primary that has no list will have none soon. */
const ASK_AGAIN_MS = 30_000
/** When some questions have had no answer, the list is no longer how it is now. */
const CURRENT_MS_MAX = 15_000
/** By less than this the clocks seem to differ when an answer is late. */
const LATE_MS = 2000

/** The members that travel. */
type ToldReplica = Pick<
  ClusterNode,
  | "id"
  | "hostname"
  | "url"
  | "isConnected"
  | "sinceMs"
  | "silentMs"
  | "transactions"
  | "databases"
  | "leftOut"
  | "leftOutCount"
>

/** The list of a primary. */
export function encodeReplicas(nodes: Iterable<ClusterNode>): string {
  const parts: string[] = []
  let size = 100 // of what is around it
  for (const node of nodes) {
    const { id, url, isConnected, sinceMs, transactions, databases, leftOut, leftOutCount } = node
    const hostname = node.hostname.slice(0, NAME_SIZE_MAX)
    const about = { id, hostname, url, isConnected, sinceMs, silentMs: node.silentMs }
    const has = { transactions, databases, leftOut, leftOutCount }
    const part = encodeJson({ ...about, ...has } satisfies ToldReplica)
    size += part.length + 1
    if (size > LIST_SIZE_MAX) break
    parts.push(part)
  }
  return `[${parts.join(",")}]`
}

export function replicasText(wallMs: number, list: string): string {
  return `{"wallMs":${wallMs},"replicas":${list}}\n`
}

interface ToldList {
  readonly wallMs: number
  readonly replicas: readonly ToldReplica[]
}

/** Undefined for what is none. */
function decodeReplicas(text: string): ToldList | undefined {
  if (text.length > LIST_SIZE_MAX) return undefined
  try {
    const told = JSON.parse(text)
    const { wallMs } = told
    if (!isTime(wallMs)) return undefined
    return { wallMs, replicas: told.replicas.map(withSilence).filter(isToldReplica) }
  } catch {
    return undefined
  }
}

/** A primary of an older release does not tell of it. */
function withSilence(node: Record<string, unknown> | null): Record<keyof ToldReplica, unknown> {
  return { silentMs: null, ...node } as Record<keyof ToldReplica, unknown>
}

function isToldReplica(node: Record<keyof ToldReplica, unknown>): boolean {
  const { id, hostname, url, isConnected, sinceMs, leftOut, leftOutCount } = node
  return (
    (id === null || (typeof id === "string" && /^[0-9A-F]{16}$/.test(id))) &&
    isName(hostname) &&
    (url === null || (isName(url) && isNodeUrl(url))) &&
    typeof isConnected === "boolean" &&
    (sinceMs === null || isTime(sinceMs)) &&
    (node.silentMs === null || isCount(node.silentMs)) &&
    (node.transactions === null || isCount(node.transactions)) &&
    (node.databases === null || isCount(node.databases)) &&
    Array.isArray(leftOut) &&
    leftOut.length <= LEFT_OUT_NAMES_MAX &&
    leftOut.every(isName) &&
    isCount(leftOutCount)
  )
}

function isName(text: unknown): text is string {
  return typeof text === "string" && text.length <= NAME_SIZE_MAX
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

/** Milliseconds since 1970 that a Date can have. */
function isTime(value: unknown): value is number {
  return isCount(value) && value <= 8.64e15
}

export interface OtherReplicasContext {
  readonly clock: Clock
  /** The primary that this node is connected to, by something that no other one has; undefined while there is none. */
  primary(): string | undefined
  /** Asks it for its list. */
  ask(): Promise<NodeAnswer>
  /** There is a first list. */
  changed(): void
}

/** What this replica has been told. */
export class OtherReplicas {
  readonly #context: OtherReplicasContext
  #told: { readonly by: string; readonly list: ToldList } | undefined
  #toldMs = Number.NEGATIVE_INFINITY
  #toldWallMs = 0
  #aheadMs = 0 // how far our clock is ahead of that of the primary
  #isAsking = false
  #asked: string | undefined // the primary that was asked last
  #askMs = Number.NEGATIVE_INFINITY // when it is to be asked again
  #isUntold = false

  constructor(context: OtherReplicasContext) {
    this.#context = context
  }

  /** Whether the primary tells of its replicas; undefined while nobody knows. */
  get isTold(): boolean | undefined {
    return this.#isUntold ? false : this.#told && true
  }

  /** As of now or, with `asOfMs`, of that time. */
  get nodes(): ClusterNode[] {
    const { clock } = this.#context
    const told = this.#told
    if (told === undefined) return []
    const isCurrent =
      this.#context.primary() === told.by && clock.monotonicMs() - this.#toldMs <= CURRENT_MS_MAX
    const asOfMs = isCurrent ? null : this.#toldWallMs
    return told.list.replicas.map((replica) => ({
      ...replica,
      ...{ role: "replica", isThis: false, lagMs: null, asOfMs },
      sinceMs: replica.sinceMs === null ? null : replica.sinceMs + this.#aheadMs,
    }))
  }

  /** Asks, if it is time. */
  look(): void {
    const primary = this.#context.primary()
    if (this.#isAsking || primary === undefined) return
    const nowMs = this.#context.clock.monotonicMs()
    if (primary === this.#asked && nowMs < this.#askMs) return
    this.#asked = primary
    this.#askMs = nowMs + ASK_MS
    void this.#ask(primary)
  }

  /** Nobody wants to know, or this node is the primary. */
  forget(): void {
    this.#told = undefined
    this.#asked = undefined
    this.#isUntold = false
  }

  async #ask(primary: string): Promise<void> {
    const { clock, ask, changed } = this.#context
    this.#isAsking = true
    const answer = await ask().catch(() => undefined)
    this.#isAsking = false
    // Otherwise another one is asked, or none, since then.
    if (answer === undefined || this.#asked !== primary || this.#context.primary() !== primary)
      return
    const list = answer.status === 200 ? decodeReplicas(answer.text) : undefined
    const hasList = list !== undefined || answer.status === 503 // it is just no primary
    this.#isUntold = !hasList
    if (!hasList) this.#askMs = clock.monotonicMs() + ASK_AGAIN_MS
    if (list === undefined) return
    const isFirst = this.#told === undefined
    const aheadMs = Math.round(clock.wallMs()) - list.wallMs
    if (isFirst || Math.abs(aheadMs - this.#aheadMs) > LATE_MS) this.#aheadMs = aheadMs
    this.#told = { by: primary, list }
    this.#toldMs = clock.monotonicMs()
    this.#toldWallMs = Math.round(clock.wallMs())
    if (isFirst) changed()
  }
}
