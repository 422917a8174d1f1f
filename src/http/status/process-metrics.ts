import type { NodeStatus } from "../../cluster/node-status.ts"
import { type MetricFamily, single } from "../../lib/metrics.ts"
import type { Counters } from "../../store/counters.ts"
import { heapUsed } from "../../sys/process/process.ts"

/** The process metrics of Prometheus' own client libraries, under their names, and the heaps of the threads. */
export function* processMetrics(
  { identity, startedMs }: NodeStatus,
  counters: Counters,
): Generator<MetricFamily> {
  const { user, system } = process.cpuUsage()
  yield single("counter", "process_cpu_seconds_total", "CPU time, in seconds.", () => {
    return (user + system) / 1e6
  })
  yield single("gauge", "process_resident_memory_bytes", "Resident memory.", () => {
    return process.memoryUsage.rss()
  })
  yield {
    name: "litefs_thread_heap_bytes",
    type: "gauge",
    help: "JavaScript heap of each thread; of others than main as of the time before.",
    samples: () => [
      { labels: { thread: "main" }, value: heapUsed() ?? Number.NaN },
      { labels: { thread: "fs" }, value: counters.heapSize("fs") },
      { labels: { thread: "peer" }, value: counters.heapSize("peer") },
    ],
  }
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
