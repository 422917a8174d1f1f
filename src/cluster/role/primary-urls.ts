/**
 * Where a replica looks for the primary that it follows.
 *
 *   the address at which it was reached before, or that of the record ─▶ the user's hint ─▶ the peers ─▶ and again
 *
 * A hint may be an address that only this node can use (a proxy, another network). Once it has led to the primary of
 * the record, the record's own address is not tried. A node that is not the primary answers with the record that it
 * knows, and if that is newer, its address comes next. So does the address that a replica tells of its primary, over
 * HOP_COUNT_MAX replicas at most, and to none of them twice.
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

/** Address of a node that knows none: nobody listens there. */
const NOWHERE = "http://127.0.0.1:1"

export class PrimaryUrls {
  readonly #options: PrimaryUrlsOptions
  #current: string
  /** The replicas that have sent this node on, one to the next. */
  #hops: string[] = []

  constructor(options: PrimaryUrlsOptions) {
    this.#options = options
    this.#current = options.hint ?? this.#all()[0] ?? NOWHERE
  }

  get current(): string {
    return this.#current
  }

  /** Whether there is any address to ask. */
  get leadsSomewhere(): boolean {
    return this.#all().length > 0
  }

  /** Of the primary, for people, as far as this node knows: never a peer that it only asks. */
  get known(): string | undefined {
    const { hint, own, record, reachedAt } = this.#options
    const primary = record()?.primary
    const url = primary && (reachedAt(primary.id) ?? primary.url)
    const current = this.#current === NOWHERE ? undefined : this.#current
    return (url === own() ? undefined : url) ?? hint ?? current
  }

  /** Tries the next address: this one did not lead to the primary. */
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

  /** A replica answers here, and tells where its primary is. Returns whether that address is next. */
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
