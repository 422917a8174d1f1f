import type { NodeStatus } from "../cluster/node-status.ts"
import { type MetricFamily, single } from "../lib/metrics.ts"

/** What Prometheus' own client libraries tell of a process, under their names. */
export function* processMetrics({ identity, startedMs }: NodeStatus): Generator<MetricFamily> {
  const { user, system } = process.cpuUsage()
  yield single("counter", "process_cpu_seconds_total", "CPU time, in seconds.", () => {
    return (user + system) / 1e6
  })
  yield single("gauge", "process_resident_memory_bytes", "Resident memory.", () => {
    return process.memoryUsage.rss()
  })
  yield single("gauge", "process_start_time_seconds", "Start time since 1970.", () => {
    return startedMs / 1000
  })
  yield {
    name: "litefs_build_info",
    type: "gauge",
    help: "The version of LiteFS.",
    samples: () => [{ labels: { version: identity.version }, value: 1 }],
  }
}
