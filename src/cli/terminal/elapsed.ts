import type { Clock } from "../../lib/clock.ts"
import { formatDuration } from "../../lib/duration.ts"

/** The time since `startMs`, as exact as people read it: 9.3ms, 1.25s. */
export function took(clock: Clock, startMs: number): string {
  const ms = clock.monotonicMs() - startMs
  return formatDuration(ms < 1000 ? Math.round(ms * 10) / 10 : Math.round(ms / 10) * 10)
}
