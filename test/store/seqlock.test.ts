import { describe, expect, test } from "bun:test"
import { RecentTransactions } from "../../src/store/ltx/recent-transactions.ts"
import { Positions } from "../../src/store/positions.ts"
import { CHANGED, readGuarded, tryReadGuarded, writeGuarded } from "../../src/store/seqlock.ts"
import { stateOf } from "../support/position-writer.ts"
import { fileOf } from "../support/recent-writer.ts"

function words(): Int32Array {
  return new Int32Array(new SharedArrayBuffer(64))
}

describe("writeGuarded()", () => {
  test("lets readers go on when the write fails", () => {
    const shared = words()
    const write = () => {
      throw new Error("it cannot be")
    }
    expect(() => writeGuarded(shared, 0, write)).toThrow("it cannot be")
    expect(readGuarded(shared, 0, () => "seen")).toBe("seen")
  })

  test("keeps readers from what it has not done", () => {
    const shared = words()
    let during: unknown
    writeGuarded(shared, 0, () => {
      during = tryReadGuarded(shared, 0, () => "half of it")
    })
    expect(during).toBe(CHANGED)
  })
})

test("readGuarded() reads again what has changed meanwhile", () => {
  const shared = words()
  let reads = 0
  const seen = readGuarded(shared, 0, () => {
    reads += 1
    const value = shared[1]
    if (reads === 1) writeGuarded(shared, 0, () => Atomics.store(shared, 1, 5))
    return value
  })
  expect([seen, reads]).toEqual([5, 2])
})

test("Positions.write() of what is no state changes nothing, and no reader waits for it", () => {
  const positions = Positions.create()
  const slot = positions.add("a.db")
  positions.write(slot, stateOf(1), undefined)
  const state = { ...stateOf(2), timestampMs: Number.NaN }
  expect(() => positions.write(slot, state, undefined)).toThrow(RangeError)
  expect(positions.read(slot)).toMatchObject(stateOf(1))
})

test("RecentTransactions never gives a reader half of what another thread adds", async () => {
  const recent = RecentTransactions.create()
  const last = 60_000
  const worker = new Worker(new URL("../support/recent-writer.ts", import.meta.url).href)
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  worker.onmessage = () => resolve()
  worker.onerror = (event) => reject(new Error(event.message))
  let isDone = false
  const done = promise.finally(() => {
    isDone = true
  })
  const latest = new Int32Array(new SharedArrayBuffer(4))
  worker.postMessage({ memory: recent.memory, latest: latest.buffer, last })
  let seen = 0
  while (!isDone) {
    for (let i = 0; i < 500; i++) {
      // The oldest that is there, which is written over next.
      const txid = Math.max(1, Atomics.load(latest, 0) - 31)
      const file = recent.find(7, BigInt(txid))
      if (file === undefined) continue
      if (Buffer.compare(file, fileOf(txid)) !== 0) throw new Error(`${txid} is not what was added`)
      seen += 1
    }
    await Bun.sleep(0)
  }
  await done
  worker.terminate()
  expect(seen).toBeGreaterThan(10)
  expect(recent.find(7, BigInt(last))).toEqual(fileOf(last))
})
