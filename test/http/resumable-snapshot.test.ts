import { describe, expect, test } from "bun:test"
import {
  ParkedSnapshots,
  ResumableSnapshot,
  Tails,
} from "../../src/http/streams/resumable-snapshot.ts"
import { concat } from "../support/bytes.ts"
import { FakeClock } from "../support/fake-clock.ts"
import { testRandom } from "../support/random.ts"

const random = testRandom()
const POS = { txid: 3n, checksum: 1n << 63n }

/** A snapshot in parts, and whether its database is still kept. */
class Source {
  isKept = true
  readonly snapshot: ResumableSnapshot

  constructor(parts: readonly Uint8Array[], token = 5n) {
    const read = async function* (this: Source) {
      try {
        yield* parts
      } finally {
        this.isKept = false
      }
    }
    this.snapshot = new ResumableSnapshot(
      "app.db",
      token,
      { pos: POS, parts: read.call(this) },
      new Tails(),
    )
  }
}

async function rest(snapshot: ResumableSnapshot): Promise<Uint8Array> {
  const parts: Uint8Array[] = []
  for (let part = await snapshot.next(); part !== undefined; part = await snapshot.next()) {
    parts.push(part)
  }
  return concat(...parts)
}

describe("ResumableSnapshot", () => {
  test("ResumableSnapshot goes on at any byte that has been read, again and again", async () => {
    const bytes = random.bytes(300)
    for (let offset = 0; offset <= 200; offset++) {
      const { snapshot } = new Source([...random.split(bytes)].map((part) => part.slice()))
      let size = 0
      while (size < 200) size += (await snapshot.next())?.length ?? 0
      expect(snapshot.rewind(size + 1)).toBe(false)
      expect(snapshot.rewind(size)).toBe(true)
      await snapshot.next()
      expect(snapshot.rewind(offset)).toBe(true)
      expect(await rest(snapshot)).toEqual(bytes.subarray(offset))
    }
  })

  test("ResumableSnapshot keeps only the last of what it has read", async () => {
    const parts = Array.from({ length: 20 }, () => new Uint8Array(1024 * 1024))
    const { snapshot } = new Source(parts)
    await rest(snapshot)
    expect(snapshot.rewind(3 * 1024 * 1024)).toBe(false)
    expect(snapshot.rewind(4 * 1024 * 1024)).toBe(true)
  })
})

test("Tails has many snapshots keep less each, and none of what has ended", async () => {
  const tails = new Tails()
  const mib = (count: number) => count * 1024 * 1024
  const read = async () => {
    const parts = (async function* () {
      for (let count = 0; count < 20; count++) yield new Uint8Array(mib(1))
    })()
    const snapshot = new ResumableSnapshot("app.db", 1n, { pos: POS, parts }, tails)
    while ((await snapshot.next()) !== undefined) {}
    return snapshot
  }
  const first = await read()
  expect(first.rewind(mib(4))).toBe(true)
  const others = await Promise.all(Array.from({ length: 31 }, read))
  for (const snapshot of [first, ...others]) {
    expect([mib(15), mib(16)].map((offset) => snapshot.rewind(offset))).toEqual([false, true])
  }
  for (const snapshot of others) await snapshot.end()
  expect(tails.sizeMax).toBe(mib(16))
  expect(others[0]?.rewind(mib(19))).toBe(false)
})

describe("ParkedSnapshots", () => {
  const point = { token: 5n, offset: 10, database: "app.db" }

  async function parked() {
    const clock = new FakeClock()
    const parked = new ParkedSnapshots(clock)
    const source = new Source([new Uint8Array(10), new Uint8Array(10)])
    await source.snapshot.next()
    parked.park(source.snapshot)
    return { clock, parked, source }
  }

  test("ParkedSnapshots gives a snapshot to the one who names it, once", async () => {
    const { clock, parked: snapshots, source } = await parked()
    expect(await snapshots.take({ ...point, token: 6n })).toBeUndefined()
    expect(await snapshots.take({ ...point, database: "b.db" })).toBeUndefined()
    clock.advance(29_000)
    expect(await snapshots.take(point)).toBe(source.snapshot)
    expect(await snapshots.take(point)).toBeUndefined()
    expect(clock.timerCount).toBe(0)
    expect(source.isKept).toBe(true)
  })

  test("ParkedSnapshots ends the connection on which one is sent, for a replica that is back on another", async () => {
    const snapshots = new ParkedSnapshots(new FakeClock())
    const { snapshot } = new Source([new Uint8Array(10), new Uint8Array(10)])
    const done: string[] = []
    snapshots.sending(snapshot, () => done.push("broken off"))
    expect(await snapshots.take({ ...point, database: "b.db" })).toBeUndefined()
    expect(done).toEqual([])
    const taken = snapshots.take(point).then((found) => {
      done.push("taken")
      return found
    })
    await snapshot.next() // a part that was being read
    await new Promise(setImmediate)
    expect(done).toEqual(["broken off"])
    snapshots.park(snapshot)
    snapshots.left(snapshot)
    expect(await taken).toBe(snapshot)
    // One that was sent as a whole is not to be had.
    snapshots.sending(snapshot, () => snapshots.left(snapshot))
    expect(await snapshots.take(point)).toBeUndefined()
    snapshots.close()
  })

  test("ParkedSnapshots gives up one that nobody asks for", async () => {
    const { clock, parked: snapshots, source } = await parked()
    clock.advance(30_000)
    expect(await snapshots.take(point)).toBeUndefined()
    await new Promise(setImmediate)
    expect(source.isKept).toBe(false)
  })

  test("ParkedSnapshots gives up one whose replica is not where it was", async () => {
    const { parked: snapshots, source } = await parked()
    expect(await snapshots.take({ ...point, offset: 11 })).toBeUndefined()
    await new Promise(setImmediate)
    expect(source.isKept).toBe(false)
  })

  test("ParkedSnapshots keeps no more than a few, and none at the end", async () => {
    const snapshots = new ParkedSnapshots(new FakeClock())
    const sources = [1n, 2n, 3n, 4n, 5n].map((token) => new Source([new Uint8Array(1)], token))
    for (const { snapshot } of sources) {
      await snapshot.next()
      snapshots.park(snapshot)
    }
    await new Promise(setImmediate)
    expect(sources.map(({ isKept }) => isKept)).toEqual([false, true, true, true, true])
    snapshots.close()
    await new Promise(setImmediate)
    expect(sources.some(({ isKept }) => isKept)).toBe(false)
  })
})
