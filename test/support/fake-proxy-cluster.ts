import type { Pos } from "../../src/ltx/pos.ts"
import type { ProxyCluster } from "../../src/proxy/cluster.ts"

/** What a proxy believes of its node, as a test wants it. */
export class FakeProxyCluster implements ProxyCluster {
  hostname = "node-1"
  isPrimary = true
  isHandingOff = false
  epoch = 1n
  isConfirmed = false
  /** How often others were asked. */
  asked = 0
  primaryName: string | undefined = "node-1"
  primaryProxyUrl: string | undefined
  lagMs: number | undefined = 0
  captured: (() => Promise<void>) | undefined
  readonly positions = new Map<string, Pos>()
  readonly #listeners = new Set<() => void>()

  position(database: string): Pos | undefined {
    return this.positions.get(database)
  }

  askOthers(): void {
    this.asked += 1
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Changes something and tells everybody. */
  set(change: Partial<Omit<FakeProxyCluster, "positions">>): void {
    Object.assign(this, change)
    for (const listener of [...this.#listeners]) listener()
  }

  move(database: string, txid: bigint, checksum = txid * 31n): void {
    this.positions.set(database, { txid, checksum })
    this.set({})
  }
}
