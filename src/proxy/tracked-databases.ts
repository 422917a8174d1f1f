/**
 * The databases of the application, and whether this node has what a client has seen of them.
 *
 *   the client's epoch    this node has it when
 *   older                 it has the TXID, or is the primary: what a failover has lost never comes
 *   the same, or unknown  it has the TXID, and if it is its last, with that checksum
 *   newer                 never: there is a primary that it has not heard of. A node that takes itself for the primary
 *                         asks the others, and is believed when they confirm it: what was seen is then lost
 *
 * A TXID that is further ahead than replicas ever are was made up, and nobody waits for it.
 */
import { type Pos, posEquals, ZERO_POS } from "../ltx/pos.ts"
import type { ProxyCluster } from "./cluster.ts"
import { formatToken, parseToken, type TokenEntry } from "./position-token.ts"

/** Transactions that a replica may be behind; more is not believed. */
const BEHIND_MAX = 1n << 24n
const EPOCHS_BEHIND_MAX = 1n << 16n

export class TrackedDatabases {
  readonly #names: readonly string[]
  readonly #cluster: ProxyCluster

  constructor(names: readonly string[], cluster: ProxyCluster) {
    this.#names = names
    this.#cluster = cluster
  }

  get positions(): Pos[] {
    return this.#names.map((name) => this.#cluster.position(name) ?? ZERO_POS)
  }

  hasAdvanced(since: readonly Pos[]): boolean {
    return this.#names.some((name, index) => {
      const pos = this.#cluster.position(name)
      return pos !== undefined && !posEquals(pos, since[index] ?? ZERO_POS)
    })
  }

  /** The token of this node's positions. Empty when there is nothing yet. */
  token(): string {
    const positions = this.#names.map(
      (name) => [name, this.#cluster.position(name) ?? ZERO_POS] as const,
    )
    return formatToken(positions, this.#cluster.epoch)
  }

  /**
   * What a client's tokens ask for, once for each database, without databases that are not tracked and TXIDs that are
   * impossible.
   */
  wanted(tokens: readonly string[]): TokenEntry[] {
    const wanted = new Map<string, TokenEntry>()
    for (const token of tokens) {
      for (const entry of parseToken(token, this.#names[0], this.#names.length)) {
        const known = wanted.get(entry.database)
        if (this.#isPossible(entry) && (known === undefined || isFurther(entry, known))) {
          wanted.set(entry.database, entry)
        }
      }
    }
    return [...wanted.values()]
  }

  #isPossible({ database, txid, epoch }: TokenEntry): boolean {
    if (!this.#names.includes(database)) return false
    const { txid: ours } = this.#cluster.position(database) ?? ZERO_POS
    if (txid > ours + BEHIND_MAX) return false
    return epoch === undefined || epoch <= this.#cluster.epoch + EPOCHS_BEHIND_MAX
  }

  has(entries: readonly TokenEntry[]): boolean {
    return entries.every((entry) => this.#hasEntry(entry))
  }

  /** Whether a client has seen a newer primary than this node. */
  isNewer(entries: readonly TokenEntry[]): boolean {
    return entries.some(({ epoch }) => epoch !== undefined && epoch > this.#cluster.epoch)
  }

  #hasEntry({ database, txid, epoch, checksum }: TokenEntry): boolean {
    const ours = this.#cluster.position(database) ?? ZERO_POS
    const epochs = epoch === undefined ? 0n : epoch - this.#cluster.epoch
    if (epochs > 0n) return false
    if (ours.txid !== txid) return ours.txid > txid
    return checksum === undefined || epochs < 0n || ours.checksum === checksum
  }
}

/** An entry from the original's token has an unknown epoch. */
function isFurther(entry: TokenEntry, known: TokenEntry): boolean {
  const [ours, theirs] = [entry.epoch, known.epoch]
  const isComparable = ours !== undefined && theirs !== undefined
  return isComparable && ours !== theirs ? ours > theirs : entry.txid > known.txid
}
