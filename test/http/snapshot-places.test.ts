import { describe, expect, test } from "bun:test"
import { type PlaceGuest, SnapshotPlaces } from "../../src/http/streams/snapshot-places.ts"
import { FakeClock } from "../support/fake-clock.ts"

class Replica implements PlaceGuest {
  isClosed = false
  idleSinceMs: number | undefined
  giveWay(): void {
    this.isClosed = true
  }
}

const IDLE_MS = 5000

function someReplicas(count: number): [Replica, Replica, Replica, Replica] {
  return Array.from({ length: Math.max(4, count) }, () => new Replica()) as never
}

describe("SnapshotPlaces", () => {
  test("SnapshotPlaces lets nobody overtake who has waited longer, whoever asks first", () => {
    const places = new SnapshotPlaces<Replica>(2, new FakeClock())
    const [a, b, c, d] = someReplicas(4)
    expect([a, b, c, d].map((each) => places.enter(each, IDLE_MS))).toEqual([
      ...[true, true, false, false],
    ])
    places.leave(a)
    // d waits behind c, and a has had its turn.
    expect([d, a, d, c].map((each) => places.enter(each, IDLE_MS))).toEqual([
      ...[false, false, false, true],
    ])
    places.leave(b)
    places.leave(c)
    expect([b, a, d].map((each) => places.enter(each, IDLE_MS))).toEqual([false, true, true])
  })

  test("SnapshotPlaces waits for nobody who has gone, or does not ask", () => {
    const clock = new FakeClock()
    const places = new SnapshotPlaces<Replica>(1, clock)
    const [a, b, c, d] = someReplicas(4)
    for (const each of [a, b, c]) places.enter(each, IDLE_MS)
    places.leave(a)
    expect(places.enter(d, IDLE_MS)).toBe(false)
    b.isClosed = true
    expect(places.enter(d, IDLE_MS)).toBe(false)
    clock.advance(4000)
    expect(places.enter(d, IDLE_MS)).toBe(true)
    places.leave(d)
    // c is still before the others.
    expect(places.enter(c, IDLE_MS)).toBe(true)
  })

  test("SnapshotPlaces gives the place of one who does not read to the next in line", () => {
    const clock = new FakeClock()
    const places = new SnapshotPlaces<Replica>(1, clock)
    const [a, b, c] = someReplicas(3)
    expect(places.enter(a, IDLE_MS)).toBe(true)
    a.idleSinceMs = clock.monotonicMs()
    for (let second = 0; second < IDLE_MS / 1000; second++) {
      expect([b, c].map((each) => places.enter(each, IDLE_MS))).toEqual([false, false])
      clock.advance(1000)
    }
    expect(places.enter(c, IDLE_MS)).toBe(false)
    expect(places.enter(b, IDLE_MS)).toBe(true)
    expect(a.isClosed).toBe(true)
  })

  test("SnapshotPlaces gives several such places at once, whoever asks first", () => {
    const clock = new FakeClock()
    const places = new SnapshotPlaces<Replica>(2, clock)
    const [a, b, c, d] = someReplicas(4)
    const e = new Replica()
    for (const each of [a, b]) {
      expect(places.enter(each, IDLE_MS)).toBe(true)
      each.idleSinceMs = clock.monotonicMs()
    }
    for (let second = 0; second < IDLE_MS / 1000; second++) {
      expect([c, d].map((each) => places.enter(each, IDLE_MS))).toEqual([false, false])
      clock.advance(1000)
    }
    // There is one for c and one for d, and none for who comes now.
    expect([e, d, c].map((each) => places.enter(each, IDLE_MS))).toEqual([false, true, true])
    expect([a.isClosed, b.isClosed]).toEqual([true, true])
  })
})
