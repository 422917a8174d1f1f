/**
 * Where to look for the primary, for a replica that follows it.
 *
 *   the address at which it was reached before, or that of the record ─▶ the user's hint ─▶ the peers ─▶ and again
 *
 * A hint may be an address that only this node can use (a proxy, another network), so as long as it has led to the
 * primary of the record, the address in the record is not tried. A node that is not the primary answers with the
 * record it knows, and when that is newer, its address comes next. So does the address that a replica tells of its
 * primary, over HOP_COUNT_MAX replicas at most, and to none of them twice.
 */
import { isNodeUrl } from "../../wire/node-url.ts"
import type { LeaseRecord } from "./lease.ts"

export interface PrimaryUrlsOptions {
  /** `--primary-url` */
  readonly hint: string | undefined
  /** `--peer` */
  readonly peers: readonly string[]
  /** This node's own address, which leads nowhere. */
  own(): string | undefined
  record(): LeaseRecord | undefined
  /** Where the node with this id was reached. */
  reachedAt(id: string): string | undefined
}

const HOP_COUNT_MAX = 4

/** Of a node that knows no address: nobody listens there. */
const NOWHERE = "http://127.0.0.1:1"

export class PrimaryUrls {
  readonly #options: PrimaryUrlsOptions
  #current: string
  /** From where replicas have sent this node on, one to the next. */
  #hops: string[] = []

  constructor(options: PrimaryUrlsOptions) {
    this.#options = options
    this.#current = options.hint ?? this.#all()[0] ?? NOWHERE
  }

  get current(): string {
    return this.#current
  }

  /** The next address is tried: this one did not lead to the primary. */
  moveOn(): void {
    this.#hops = []
    const all = this.#all()
    this.#current = all[(all.indexOf(this.#current) + 1) % all.length] ?? this.#current
  }

  /** There is a newer record. */
  redirect(): void {
    this.#hops = []
    this.#current = this.#all()[0] ?? this.#current
  }

  /** The primary has been reached. */
  arrived(): void {
    this.#hops = []
  }

  /** A replica is here, and has said where its primary is. Says whether that address is tried next. */
  sendOn(url: string): boolean {
    const hops = [...this.#hops, this.#current]
    if (!isNodeUrl(url) || url === this.#options.own() || hops.includes(url)) return false
    if (hops.length > HOP_COUNT_MAX) return false
    this.#hops = hops
    this.#current = url
    return true
  }

  #all(): string[] {
    const { hint, peers, own, record, reachedAt } = this.#options
    const primary = record()?.primary
    const first = primary && (reachedAt(primary.id) ?? primary.url)
    const urls = [first, hint, ...peers].filter((url) => url !== undefined && url !== own())
    return [...new Set(urls)] as string[]
  }
}
