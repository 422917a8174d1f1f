/** What all connections of a proxy share. */
import type { Clock } from "../lib/clock.ts"
import type { ProxyOptions } from "../litefs-options.ts"
import type { ProxyCluster } from "./cluster.ts"
import type { PathPatterns } from "./path-pattern.ts"
import type { PositionWaiters } from "./position-waiters.ts"
import type { ProxyCounters } from "./proxy-counters.ts"
import type { RunningWrites } from "./running-writes.ts"
import type { TrackedDatabases } from "./tracked-databases.ts"
import type { Upstream } from "./upstream.ts"

export interface ProxyContext {
  readonly clock: Clock
  readonly cluster: ProxyCluster
  readonly options: ProxyOptions
  readonly tracked: TrackedDatabases
  readonly waiters: PositionWaiters
  readonly writes: RunningWrites
  readonly passthrough: PathPatterns
  readonly alwaysForward: PathPatterns
  readonly counters: ProxyCounters
  readonly application: Upstream
  /** The proxy of another node. */
  proxyAt(url: string): Upstream
  isClosing(): boolean
  /** Whether the application has taken a connection, or has not for as long as a request waits. */
  noteApplication(answers: boolean): void
  countRefusal(status: number, address: string, problem: string): void
}
