/** What the proxy has done since the start: its metrics, and its log of requests if requested. */
import { Histogram } from "../lib/histogram.ts"
import { logger } from "../lib/log.ts"
import { type MetricFamily, type Sample, single } from "../lib/metrics.ts"

const log = logger("proxy")

/** How an exchange has ended. */
export type Outcome =
  | "local" // by the application of this node
  | "passthrough" // the same, for a path that is not inspected
  | "forwarded" // by the primary
  | "answered" // by the proxy itself
  | "tunnel" // the connection has become a tunnel
  | "failed" // broken in the middle of the response
  | "abandoned" // the client went away

export interface FinishedExchange {
  readonly method: string
  readonly target: string
  readonly address: string
  /** 0 when there was no response. */
  readonly status: number
  readonly outcome: Outcome
  readonly durationMs: number
}

export class ProxyCounters {
  readonly #isLogging: boolean
  readonly #durations = new Map<Outcome, Histogram>()
  readonly #statuses = new Map<string, number>() // "2xx" → count
  readonly #waits = new Map<string, Histogram>() // "position reached" → time
  readonly #refusals = new Map<number, number>()
  #tunnelCount = 0

  constructor(isLogging: boolean) {
    this.#isLogging = isLogging
  }

  finished(exchange: FinishedExchange): void {
    const { outcome, status, durationMs } = exchange
    histogramOf(this.#durations, outcome).observe(durationMs)
    increase(this.#statuses, status === 0 ? "none" : `${Math.floor(status / 100)}xx`)
    if (!this.#isLogging) return
    const { method, target, address } = exchange
    const ms = durationMs.toFixed(1)
    log.info("request", { method, target, status, outcome, ms, client: address })
  }

  refused(status: number, address: string, problem: string): void {
    increase(this.#refusals, status)
    if (this.#isLogging) log.info("refused", { status, problem, client: address })
  }

  waited(reason: "position" | "primary", result: "reached" | "late", durationMs: number): void {
    histogramOf(this.#waits, `${reason} ${result}`).observe(durationMs)
  }

  tunnelOpened(): void {
    this.#tunnelCount += 1
  }

  tunnelClosed(): void {
    this.#tunnelCount -= 1
  }

  *families(connectionCount: number, waitingCount: number): Generator<MetricFamily> {
    yield {
      name: "litefs_proxy_request_seconds",
      type: "histogram",
      help: "Time from the head of a request until its response was whole, by who has answered.",
      samples: () => labelled(this.#durations, (outcome) => ({ outcome })),
    }
    yield {
      name: "litefs_proxy_responses_total",
      type: "counter",
      help: "Responses by the class of their status.",
      samples: () => counts(this.#statuses, "status"),
    }
    yield {
      name: "litefs_proxy_refusals_total",
      type: "counter",
      help: "Requests that were malformed or too slow, and reached nobody.",
      samples: () => counts(this.#refusals, "status"),
    }
    yield {
      name: "litefs_proxy_wait_seconds",
      type: "histogram",
      help: "Time that requests have waited for a position or a primary.",
      samples: () =>
        labelled(this.#waits, (key) => {
          const [reason = "", result = ""] = key.split(" ")
          return { reason, result }
        }),
    }
    yield single(
      "gauge",
      "litefs_proxy_connections",
      "Connections of clients.",
      () => connectionCount,
    )
    yield single(
      "gauge",
      "litefs_proxy_tunnels",
      "Connections that are tunnels.",
      () => this.#tunnelCount,
    )
    yield single("gauge", "litefs_proxy_waiting", "Requests that wait.", () => waitingCount)
  }
}

function histogramOf<Key>(histograms: Map<Key, Histogram>, key: Key): Histogram {
  const known = histograms.get(key)
  if (known !== undefined) return known
  const histogram = new Histogram()
  histograms.set(key, histogram)
  return histogram
}

function increase<Key>(all: Map<Key, number>, key: Key): void {
  all.set(key, (all.get(key) ?? 0) + 1)
}

function* labelled<Key>(
  histograms: ReadonlyMap<Key, Histogram>,
  labelsOf: (key: Key) => Record<string, string>,
): Generator<Sample> {
  for (const [key, histogram] of histograms) {
    for (const sample of histogram.samples()) {
      yield { ...sample, labels: { ...labelsOf(key), ...sample.labels } }
    }
  }
}

function* counts(all: ReadonlyMap<string | number, number>, label: string): Generator<Sample> {
  for (const [key, value] of all) yield { labels: { [label]: String(key) }, value }
}
