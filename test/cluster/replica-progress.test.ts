import { describe, expect, test } from "bun:test"
import type { LtxSink } from "../../src/cluster/replica/incoming-stream.ts"
import { ReplicaProgress } from "../../src/cluster/replica/replica-progress.ts"
import { SharedLag } from "../../src/store/shared-lag.ts"
import { FakeClock } from "../support/fake-clock.ts"
import { ltxFile, page } from "../support/ltx-file.ts"

class FakeSink implements LtxSink {
  readonly calls: string[] = []
  readonly outcomes = new Map<number, PromiseWithResolvers<void>>()

  write(file: number, database: string, bytes: Uint8Array, isLast: boolean, taken: () => void) {
    this.calls.push(`write ${file} ${database} ${bytes.length} ${isLast}`)
    taken()
  }

  applied(file: number): Promise<void> {
    const outcome = Promise.withResolvers<void>()
    this.outcomes.set(file, outcome)
    return outcome.promise
  }

  abort(file: number): void {
    this.calls.push(`abort ${file}`)
  }

  judge(file: number, database: string): void {
    this.calls.push(`judge ${file} ${database}`)
  }
}

class Fixture {
  readonly sink = new FakeSink()
  readonly clock = new FakeClock()
  readonly histories = new Set<string>()
  readonly lag = SharedLag.create(false)
  readonly listed = new Set<string>()
  readonly progress = new ReplicaProgress(this.sink, this.clock, this.lag, {
    hasHistory: (name) => this.histories.has(name),
    isListed: (name) => this.listed.has(name),
  })
  #nextFile = 1

  /** A file that arrives in two parts. */
  send(
    database: string,
    minTxid: bigint,
    maxTxid = minTxid,
  ): { done: Promise<void>; file: number } {
    const file = this.#nextFile++
    const pre = minTxid === 1n ? 0n : 1n << 63n
    const bytes = ltxFile({
      header: { minTxid, maxTxid, preApplyChecksum: pre, timestampMs: 1000 },
      pages: [page(1, 7)],
    })
    const done = this.progress.applied(file)
    this.progress.write(file, database, bytes.subarray(0, 120), false, () => {})
    this.progress.write(file, database, bytes.subarray(120), true, () => {})
    return { done, file }
  }

  counts(database: string) {
    return [...this.progress.received].find(([name]) => name === database)?.[1]
  }
}

describe("ReplicaProgress", () => {
  test("passes everything on", async () => {
    const fixture = new Fixture()
    let taken = 0
    const done = fixture.progress.applied(4)
    fixture.progress.judge(4, "a.db", { pos: { txid: 1n, checksum: 1n << 63n }, is: "other" })
    fixture.progress.write(4, "a.db", new Uint8Array(10), false, () => {
      taken += 1
    })
    fixture.progress.abort(4)
    fixture.sink.outcomes.get(4)?.resolve()
    await done
    expect(taken).toBe(1)
    expect(fixture.sink.calls).toEqual(["judge 4 a.db", "write 4 a.db 10 false", "abort 4"])
  })

  test("a file is missing from its first byte until it is applied", async () => {
    const fixture = new Fixture()
    const { progress } = fixture
    expect(progress.missing("a.db", 2n)).toEqual({ transactions: 0, bytes: 0 })
    const { done, file } = fixture.send("a.db", 3n)
    expect(progress.missing("a.db", 2n).transactions).toBe(1)
    expect(progress.missing("a.db", 2n).bytes).toBe(progress.receivedSize)
    expect(progress.missing("b.db", 2n)).toEqual({ transactions: 0, bytes: 0 })
    fixture.lag.setOffset(500, 0)
    fixture.clock.advance(1530)
    fixture.sink.outcomes.get(file)?.resolve()
    await done
    expect(progress.missing("a.db", 3n)).toEqual({ transactions: 0, bytes: 0 })
    expect(fixture.counts("a.db")).toMatchObject({ transactions: 1, refusals: 0, latencyMs: 30 })
    const samples = [...progress.applyTime.samples()]
    expect(samples.at(-2)?.value).toBeCloseTo(1.53)
  })

  test("what the primary says it has is missing, until a new connection", () => {
    const fixture = new Fixture()
    fixture.listed.add("a.db")
    fixture.progress.head("a.db", 100n)
    expect(fixture.progress.missing("a.db", 40n).transactions).toBe(60)
    expect(fixture.progress.missing("a.db", 100n).transactions).toBe(0)
    expect(fixture.progress.missing("a.db", 120n).transactions).toBe(0)
    fixture.progress.connected()
    expect(fixture.progress.missing("a.db", 40n).transactions).toBe(0)
  })

  test("names that are neither here nor listed nor on their way do not count", () => {
    const fixture = new Fixture()
    const { progress } = fixture
    fixture.histories.add("here.db")
    fixture.listed.add("listed.db")
    fixture.send("coming.db", 1n)
    for (let i = 0; i < 20_000; i++) progress.head(`${i}.db`, 100n)
    for (const name of ["here.db", "listed.db", "coming.db"]) progress.head(name, 100n)
    expect([...progress.received].map(([name]) => name).sort()).toEqual([
      "coming.db",
      "here.db",
      "listed.db",
    ])
    expect(progress.missing("coming.db", 40n).transactions).toBe(60)
  })

  test("more names than a node can have are an error, while those of the past make room", () => {
    const fixture = new Fixture()
    const { progress } = fixture
    for (let round = 0; round < 3; round++) {
      fixture.listed.clear()
      for (let i = 0; i < 16_384; i++) {
        fixture.listed.add(`${round}-${i}.db`)
        progress.head(`${round}-${i}.db`, 100n)
      }
    }
    expect([...progress.received]).toHaveLength(16_384)
    fixture.listed.add("more.db")
    expect(() => progress.head("more.db", 100n)).toThrow(
      "Cannot follow: the primary sends over 16384 databases",
    )
    expect(progress.missing("2-9.db", 40n).transactions).toBe(60)
  })

  test("a file that is refused or breaks off is no longer on its way", async () => {
    const fixture = new Fixture()
    const { done, file } = fixture.send("a.db", 3n)
    fixture.sink.outcomes.get(file)?.reject(new Error("it does not fit"))
    await expect(done).rejects.toThrow("it does not fit")
    expect(fixture.progress.missing("a.db", 2n).bytes).toBe(0)
    expect(fixture.counts("a.db")).toMatchObject({ transactions: 0, refusals: 1 })
    void fixture.progress.applied(9)
    fixture.progress.write(9, "a.db", new Uint8Array(50), false, () => {})
    expect(fixture.progress.missing("a.db", 2n).bytes).toBe(50)
    fixture.progress.abort(9)
    expect(fixture.progress.missing("a.db", 2n).bytes).toBe(0)
  })

  test("counts snapshots, and those that take the place of a history", () => {
    const fixture = new Fixture()
    fixture.send("a.db", 1n) // the first transaction, which everybody gets
    expect(fixture.counts("a.db")).toMatchObject({ snapshots: 0, replacements: 0 })
    fixture.send("a.db", 1n, 5n)
    expect(fixture.counts("a.db")).toMatchObject({ snapshots: 1, replacements: 0 })
    fixture.histories.add("a.db")
    fixture.send("a.db", 1n, 9n)
    expect(fixture.counts("a.db")).toMatchObject({ snapshots: 2, replacements: 1 })
  })
})
