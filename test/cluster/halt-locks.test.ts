import { describe, expect, test } from "bun:test"
import { HaltLocks } from "../../src/cluster/locks/halt-locks.ts"
import { LitefsError } from "../../src/lib/errors.ts"
import type { Pos } from "../../src/ltx/pos.ts"
import { FakeClock } from "../support/fake-clock.ts"
import { ltxFile, page } from "../support/ltx-file.ts"
import { sent } from "../support/sent-transaction.ts"

const BASE = 1n << 63n

function posOf(txid: bigint): Pos {
  return { txid, checksum: BASE | txid }
}

/** A transaction on position `txid - 1` that leads to position `txid`. */
function transaction(txid: bigint, before = posOf(txid - 1n)): Uint8Array {
  return ltxFile({
    header: { minTxid: before.txid + 1n, preApplyChecksum: before.checksum },
    pages: [page(1, 1)],
    postApplyChecksum: posOf(txid).checksum,
  })
}

class Fixture {
  readonly clock = new FakeClock()
  readonly log: string[] = []
  isPrimary = true
  pos = posOf(4n)
  lending: Promise<void> = Promise.resolve()
  applying: Promise<void> = Promise.resolve()
  readonly locks = new HaltLocks({
    clock: this.clock,
    checkPrimary: () => {
      if (!this.isPrimary) throw new LitefsError("no-primary", "lease expired")
    },
    position: () => this.pos,
    lend: async (database) => {
      this.log.push(`lend ${database}`)
      await this.lending
      return async () => void this.log.push(`take back ${database}`)
    },
    apply: async () => {
      await this.applying
      this.pos = posOf(this.pos.txid + 1n)
      this.log.push(`apply ${this.pos.txid}`)
    },
  })

  acquire(id: bigint, waitMs = 1000) {
    return this.locks.acquire("a.db", { id, node: `node-${id}`, ttlMs: 5000, waitMs })
  }
}

/** Lets promises that are settled run their course. */
async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await Promise.resolve()
}

describe("HaltLocks", () => {
  test("lends to one node at a time, in order of arrival", async () => {
    const fixture = new Fixture()
    expect(await fixture.acquire(1n)).toMatchObject({ id: 1n, pos: posOf(4n), expiresMs: 5000 })
    const order: bigint[] = []
    const second = fixture.acquire(2n).then(({ id }) => order.push(id))
    const third = fixture.acquire(3n).then(({ id }) => order.push(id))
    await settle()
    expect(order).toEqual([])
    await fixture.locks.release("a.db", 1n)
    await second
    expect(fixture.locks.holder("a.db")).toBe("node-2")
    await fixture.locks.release("a.db", 2n)
    await third
    expect(order).toEqual([2n, 3n])
  })

  test("lends the locks of so many databases at a time, and renews those", async () => {
    const { locks } = new Fixture()
    const ask = (n: number) =>
      locks.acquire(`${n}.db`, { id: BigInt(n), node: "node-1", ttlMs: 5000, waitMs: 0 })
    for (let n = 0; n < 1024; n++) await ask(n)
    await expect(ask(1024)).rejects.toThrow("those of 1024 databases are lent")
    expect(await ask(7)).toMatchObject({ id: 7n })
    await locks.release("7.db", 7n)
    expect(await ask(1024)).toMatchObject({ id: 1024n })
  })

  test("refuses who has waited for too long, and says who has the lock", async () => {
    const fixture = new Fixture()
    await fixture.acquire(1n)
    const late = fixture.acquire(2n, 300)
    await settle()
    fixture.clock.advance(300)
    await expect(late).rejects.toThrow('Cannot lend the write lock of "a.db": "node-1" has it')
    await expect(fixture.acquire(3n, 0)).rejects.toThrow("has it")
  })

  test("takes a lock back that is not renewed; asking again and transactions renew it", async () => {
    const fixture = new Fixture()
    await fixture.acquire(1n)
    fixture.clock.advance(4000)
    await fixture.acquire(1n)
    fixture.clock.advance(4000)
    await fixture.locks.apply("a.db", 1n, sent(transaction(5n)))
    fixture.clock.advance(4000)
    expect(fixture.locks.holder("a.db")).toBe("node-1")
    fixture.clock.advance(1000)
    await settle()
    expect(fixture.locks.holder("a.db")).toBeUndefined()
    expect(fixture.log).toEqual(["lend a.db", "apply 5", "take back a.db"])
    await expect(fixture.locks.apply("a.db", 1n, sent(transaction(6n)))).rejects.toThrow(
      /does not hold/,
    )
  })

  test("applies what follows on the position, once, and nothing else", async () => {
    const fixture = new Fixture()
    await fixture.acquire(1n)
    await fixture.locks.apply("a.db", 1n, sent(transaction(5n)))
    await fixture.locks.apply("a.db", 1n, sent(transaction(5n))) // its answer was lost
    const { locks } = fixture
    await expect(locks.apply("a.db", 2n, sent(transaction(6n)))).rejects.toThrow(/does not hold/)
    await expect(locks.apply("b.db", 1n, sent(transaction(6n)))).rejects.toThrow(/does not hold/)
    await expect(locks.apply("a.db", 1n, sent(transaction(7n)))).rejects.toThrow(/follows on/)
    const other = transaction(6n, { txid: 5n, checksum: BASE | 99n })
    await expect(locks.apply("a.db", 1n, sent(other))).rejects.toThrow(/follows on/)
    const snapshot = ltxFile({ header: { minTxid: 1n, maxTxid: 6n }, pages: [page(1, 1)] })
    await expect(locks.apply("a.db", 1n, sent(snapshot))).rejects.toThrow(/more than one/)
    const first = ltxFile({ header: { minTxid: 1n, maxTxid: 1n }, pages: [page(1, 1)] })
    await expect(locks.apply("a.db", 1n, sent(first))).rejects.toThrow(/follows on/)
    await expect(locks.apply("a.db", 1n, sent(new Uint8Array(40)))).rejects.toThrow(/LTX header/)
    expect(fixture.log).toEqual(["lend a.db", "apply 5"])
  })

  test("tells of the acknowledgements of what its holder has made, and of nothing else", async () => {
    const fixture = new Fixture()
    const { locks } = fixture
    const check = (id: bigint, pos: Pos) => () => locks.checkTaken("a.db", id, pos)
    expect(check(1n, posOf(4n))).toThrow(/does not hold/) // of a loan by a primary before this one
    await fixture.acquire(1n)
    await locks.apply("a.db", 1n, sent(transaction(5n)))
    check(1n, posOf(5n))()
    expect(check(2n, posOf(5n))).toThrow(/does not hold/)
    expect(check(1n, posOf(4n))).toThrow(/is at 0000000000000005.*not at 0000000000000004/)
    expect(check(1n, { txid: 5n, checksum: BASE })).toThrow(/not at/)
    await locks.release("a.db", 1n)
    expect(check(1n, posOf(5n))).toThrow(/does not hold/)
  })

  test("a transaction that was applied is not acknowledged when this node is the primary no more", async () => {
    const fixture = new Fixture()
    await fixture.acquire(1n)
    const applying = Promise.withResolvers<void>()
    fixture.applying = applying.promise
    const applied = fixture.locks.apply("a.db", 1n, sent(transaction(5n)))
    await settle()
    fixture.isPrimary = false
    applying.resolve()
    await expect(applied).rejects.toThrow("lease expired")
  })

  test("a lock that is given back while a transaction is applied ends after it", async () => {
    const fixture = new Fixture()
    await fixture.acquire(1n)
    const applying = Promise.withResolvers<void>()
    fixture.applying = applying.promise
    const applied = fixture.locks.apply("a.db", 1n, sent(transaction(5n)))
    const released = fixture.locks.release("a.db", 1n)
    await settle()
    expect(fixture.log).toEqual(["lend a.db"])
    applying.resolve()
    await Promise.all([applied, released])
    expect(fixture.log).toEqual(["lend a.db", "apply 5", "take back a.db"])
  })

  test("nothing is lent while the primary hands over, which waits for what is lent", async () => {
    const fixture = new Fixture()
    await fixture.acquire(1n)
    const paused = fixture.locks.pause(1000)
    await expect(fixture.acquire(2n)).rejects.toThrow("handing over")
    await fixture.locks.apply("a.db", 1n, sent(transaction(5n)))
    await fixture.locks.release("a.db", 1n)
    await paused
    fixture.locks.resume()
    await fixture.acquire(2n)
    const refused = fixture.locks.pause(1000)
    fixture.clock.advance(1000)
    await expect(refused).rejects.toThrow('"node-2" has borrowed its write lock for over 1s')
  })

  test("a lock that could not be lent is free again", async () => {
    const fixture = new Fixture()
    fixture.lending = Promise.reject(new LitefsError("unavailable", "a client writes"))
    await expect(fixture.acquire(1n)).rejects.toMatchObject({ code: "no-lock" })
    fixture.lending = Promise.resolve()
    expect(await fixture.acquire(2n)).toMatchObject({ id: 2n })
  })

  test("a command of this node keeps other nodes waiting, and writes itself", async () => {
    const fixture = new Fixture()
    const own = { id: -1n, node: "here", ttlMs: 0, waitMs: 0 }
    await fixture.locks.acquireLocal("a.db", own)
    await expect(fixture.acquire(2n, 0)).rejects.toThrow('"here" has it')
    await fixture.locks.release("a.db", -1n)
    await fixture.acquire(2n, 0)
    expect(fixture.log).toEqual(["lend a.db"])
  })
})

test("HaltLocks lends new databases while not too many of them are empty", async () => {
  const positions = new Map<string, Pos>()
  const locks = new HaltLocks({
    clock: new FakeClock(),
    checkPrimary: () => {},
    position: (database) => positions.get(database),
    lend: async (database) => {
      if (!positions.has(database)) positions.set(database, { txid: 0n, checksum: 0n })
      return async () => {}
    },
    apply: async () => {},
  })
  const ask = async (name: string) => {
    await locks.acquire(name, { id: 1n, node: "n", ttlMs: 5000, waitMs: 0 })
    await locks.release(name, 1n)
  }
  for (let n = 0; n < 1024; n++) await ask(`${n}.db`)
  await expect(ask("more.db")).rejects.toThrow("1024 databases that were made so have no")
  expect(positions.has("more.db")).toBe(false)
  await ask("7.db") // it is there
  positions.set("7.db", posOf(1n)) // its first transaction
  positions.delete("8.db") // it was empty for too long
  await ask("more.db")
  await ask("8.db")
  await expect(ask("9999.db")).rejects.toThrow("1024 databases")
})
