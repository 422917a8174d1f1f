/**
 * What has happened on this node lately, from the lines of its log (lib/log.ts): the log says each change of state once,
 * and where it matters. Nothing else is noted down.
 *
 * Troubles and other lines have a place each, so that replicas that come and go do not push out an error. A line that
 * comes again right away is counted.
 */

import { withoutPaths } from "../../lib/errors.ts"
import { type LogLine, onLine } from "../../lib/log.ts"

/** Of each of the two. */
const EVENT_COUNT_MAX = 100
const FIELD_COUNT_MAX = 8
const TEXT_SIZE_MAX = 300

export interface RecentEvent {
  readonly id: number
  readonly wallMs: number // of the last time
  readonly level: LogLine["level"]
  readonly msg: string
  readonly fields: Readonly<Record<string, string>>
  readonly count: number
}

interface Kept {
  readonly key: string
  event: RecentEvent
  changeCount: number
}

export class RecentEvents {
  readonly #troubles: Kept[] = [] // the newest last
  readonly #others: Kept[] = []
  readonly #stop: () => void
  #nextId = 1
  #changeCount = 0

  constructor() {
    this.#stop = onLine((line) => this.add(line))
  }

  /** Grows with every line. */
  get changeCount(): number {
    return this.#changeCount
  }

  add(line: LogLine): void {
    if (line.tag === "proxy" && line.level === "info") return // a line for each request (--proxy-debug)
    const kept = line.level === "info" ? this.#others : this.#troubles
    const fields = shortened(line.fields)
    const msg = withoutPaths(line.msg).slice(0, TEXT_SIZE_MAX)
    const key = JSON.stringify([line.tag, line.level, msg, fields])
    const last = kept.at(-1)
    const { wallMs, level } = line
    this.#changeCount += 1
    if (last?.key === key) {
      last.event = { ...last.event, wallMs, count: last.event.count + 1 }
      last.changeCount = this.#changeCount
      return
    }
    const event = { id: this.#nextId++, wallMs, level, msg, fields, count: 1 }
    kept.push({ key, event, changeCount: this.#changeCount })
    if (kept.length > EVENT_COUNT_MAX) kept.shift()
  }

  /** Those that are new or counted since `changeCount` had that value, the oldest first. */
  since(changeCount: number): RecentEvent[] {
    if (changeCount === this.#changeCount) return []
    return [...this.#troubles, ...this.#others]
      .filter((kept) => kept.changeCount > changeCount)
      .map(({ event }) => event)
      .sort((a, b) => a.id - b.id)
  }

  close(): void {
    this.#stop()
  }
}

function shortened(fields: Readonly<Record<string, string>>): Record<string, string> {
  const some = Object.entries(fields).slice(0, FIELD_COUNT_MAX)
  return Object.fromEntries(
    some.map(([key, value]) => [key, withoutPaths(value).slice(0, TEXT_SIZE_MAX)]),
  )
}
