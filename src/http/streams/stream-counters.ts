import type { Sample } from "../../lib/metrics.ts"
import type { StreamCounters } from "./database-sender.ts"

/** What all replication streams of a primary have sent since the start. */
export class StreamTotals implements StreamCounters {
  #size = 0
  readonly #frames = new Map<string, { ltx: number; "ltx:snapshot": number }>()

  frame(database: string, type: "ltx" | "ltx:snapshot"): void {
    const counts = this.#frames.get(database) ?? { ltx: 0, "ltx:snapshot": 0 }
    counts[type] += 1
    this.#frames.set(database, counts)
  }

  bytes(size: number): void {
    this.#size += size
  }

  get size(): number {
    return this.#size
  }

  *frameSamples(): Generator<Sample> {
    for (const [db, counts] of this.#frames) {
      yield { labels: { db, type: "ltx" }, value: counts.ltx }
      yield { labels: { db, type: "ltx:snapshot" }, value: counts["ltx:snapshot"] }
    }
  }
}
