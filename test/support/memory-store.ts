/** A store in memory, which can be down, slow, or lose its answers. Its time is that of the test's clock. */
import type { LeaseStore, StoreView, Taken } from "../../src/cluster/stores/lease-store.ts"
import type { Clock } from "../../src/lib/clock.ts"
import { sleep } from "../../src/lib/clock.ts"
import { LitefsError } from "../../src/lib/errors.ts"

interface Bound {
  readonly text: string
  readonly session: string
}

/** What several nodes share. */
export class MemoryPlace {
  readonly sessions = new Map<string, number>() // the end of each
  readonly candidates = new Map<string, Bound>()
  holder: Bound | undefined
  last: { text: string; version: string } | undefined
  cluster: string | undefined
  count = 0
  readonly clock: Clock
  readonly ttlMs: number

  constructor(clock: Clock, ttlMs: number) {
    this.clock = clock
    this.ttlMs = ttlMs
  }

  expire(): void {
    for (const [id, endMs] of this.sessions) if (this.clock.monotonicMs() >= endMs) this.end(id)
  }

  end(session: string): void {
    this.sessions.delete(session)
    if (this.holder?.session === session) this.holder = undefined
    for (const [id, bound] of this.candidates) {
      if (bound.session === session) this.candidates.delete(id)
    }
  }
}

export class MemoryStore implements LeaseStore {
  readonly kind = "etcd"
  readonly where = "memory"
  readonly ttlMs: number
  /** How long it takes until a call is done, and then until its answer is there. */
  sentMs = 0
  answerMs = 0
  isDown = false
  /** The next answers of these calls are lost, after the call is done. */
  readonly lost: string[] = []
  readonly #place: MemoryPlace

  constructor(place: MemoryPlace) {
    this.#place = place
    this.ttlMs = place.ttlMs
  }

  async #call<T>(name: string, act: (place: MemoryPlace) => T): Promise<T> {
    const down = () => new LitefsError("unavailable", "it is down")
    const { clock } = this.#place
    if (this.isDown) throw down()
    if (this.sentMs > 0) await sleep(clock, this.sentMs)
    this.#place.expire()
    const result = act(this.#place)
    if (this.answerMs > 0) await sleep(clock, this.answerMs)
    const at = this.lost.indexOf(name)
    if (at >= 0) this.lost.splice(at, 1)
    if (at >= 0 || this.isDown) throw new LitefsError("unavailable", "no answer")
    return result
  }

  read(): Promise<StoreView> {
    return this.#call("read", ({ cluster, holder, last }) => ({
      ...{ cluster, holder, last, revision: "" },
    }))
  }

  candidates(): Promise<readonly string[]> {
    return this.#call("candidates", ({ candidates }) => [...candidates.values()].map((c) => c.text))
  }

  openSession(): Promise<string> {
    return this.#call("openSession", (place) => {
      place.count += 1
      place.sessions.set(String(place.count), place.clock.monotonicMs() + place.ttlMs)
      return String(place.count)
    })
  }

  renew(session: string): Promise<number | undefined> {
    return this.#call("renew", ({ sessions, clock, ttlMs }) => {
      if (!sessions.has(session)) return undefined
      sessions.set(session, clock.monotonicMs() + ttlMs)
      return ttlMs
    })
  }

  endSession(session: string): Promise<void> {
    return this.#call("endSession", (place) => place.end(session))
  }

  announce(session: string, id: string, text: string): Promise<boolean> {
    return this.#call("announce", ({ sessions, candidates }) => {
      if (!sessions.has(session)) return false
      candidates.set(id, { session, text })
      return true
    })
  }

  take(session: string, taken: Taken, view: StoreView): Promise<boolean> {
    return this.#call("take", (place) => {
      const isSame = place.last?.version === view.last?.version && place.cluster === view.cluster
      if (place.holder !== undefined || !isSame || !place.sessions.has(session)) return false
      place.holder = { text: taken.text, session }
      place.cluster ??= taken.cluster
      this.#setLast(place, taken.last)
      place.candidates.delete(taken.id)
      return true
    })
  }

  #setLast(place: MemoryPlace, text: string): void {
    place.last = { text, version: String(Number(place.last?.version ?? 0) + 1) }
  }

  confirm(session: string, text: string, last?: string): Promise<boolean> {
    return this.#call("confirm", (place) => {
      if (place.holder?.session !== session || place.holder.text !== text) return false
      if (last !== undefined) this.#setLast(place, last)
      return true
    })
  }

  replace(session: string, text: string, next: string, last: string): Promise<boolean> {
    return this.#call("replace", (place) => {
      if (place.holder?.session !== session || place.holder.text !== text) return false
      place.holder = { session, text: next }
      this.#setLast(place, last)
      return true
    })
  }

  release(session: string, text: string, last: string): Promise<void> {
    return this.#call("release", (place) => {
      if (place.holder?.session === session) {
        if (place.holder.text !== text) return
        place.holder = undefined
        this.#setLast(place, last)
      }
      place.end(session)
    })
  }

  async watch(_: StoreView, __: boolean, signal: AbortSignal): Promise<void> {
    await sleep(this.#place.clock, 500, signal).catch(() => {})
  }

  close(): void {}
}
