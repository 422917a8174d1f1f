import { describe, expect, test } from "bun:test"
import { EchoFilter } from "../../src/cluster/locks/echo-filter.ts"
import type { LtxSink } from "../../src/cluster/replica/incoming-stream.ts"
import { ltxFile, page } from "../support/ltx-file.ts"

const BASE = 1n << 63n

function transaction(minTxid: bigint, pre: bigint, maxTxid = minTxid): Uint8Array {
  return ltxFile({
    header: { minTxid, maxTxid, preApplyChecksum: BASE | pre },
    pages: [page(1, Number(minTxid))],
    postApplyChecksum: BASE | (pre + 1n),
  })
}

class Fixture {
  readonly log: string[] = []
  readonly borrowed = new Set<string>()
  readonly returned = Promise.withResolvers<void>()
  readonly filter: EchoFilter
  taken = 0

  constructor() {
    const sink: LtxSink = {
      write: (file, database, _bytes, isLast, taken) => {
        this.log.push(`write ${file} ${database}${isLast ? " last" : ""}`)
        taken()
      },
      applied: async (file) => void this.log.push(`applied? ${file}`),
      abort: (file) => this.log.push(`abort ${file}`),
      judge: (file) => this.log.push(`judge ${file}`),
    }
    this.filter = new EchoFilter({
      sink,
      isBorrowed: (database) => this.borrowed.has(database),
      lost: (database) => {
        this.log.push(`lost ${database}`)
        return this.returned.promise
      },
    })
  }

  async receive(file: number, database: string, bytes: Uint8Array): Promise<boolean> {
    const applied = this.filter.applied(file)
    this.filter.write(file, database, bytes.subarray(0, 120), false, () => this.taken++)
    this.filter.write(file, database, bytes.subarray(120), true, () => this.taken++)
    return Promise.race([applied.then(() => true), Bun.sleep(5).then(() => false)])
  }
}

describe("EchoFilter", () => {
  test("passes on what it has not sent, and says when it is applied", async () => {
    const fixture = new Fixture()
    expect(await fixture.receive(1, "a.db", transaction(5n, 4n))).toBe(true)
    expect(fixture.log).toEqual(["applied? 1", "write 1 a.db", "write 1 a.db last"])
    expect(fixture.taken).toBe(2)
  })

  test("drops what this node has sent, once, whether or not the lock is still borrowed", async () => {
    const fixture = new Fixture()
    const ltx = transaction(5n, 4n)
    fixture.filter.sent("a.db", ltx)
    expect(await fixture.receive(1, "a.db", ltx)).toBe(true)
    expect(fixture.log).toEqual([])
    expect(fixture.taken).toBe(2)
    await fixture.receive(2, "a.db", ltx)
    expect(fixture.log).toContain("write 2 a.db last")
  })

  test("drops a file of several transactions when all of them are ours", async () => {
    const fixture = new Fixture()
    for (const txid of [5n, 6n, 7n]) fixture.filter.sent("a.db", transaction(txid, txid - 1n))
    expect(await fixture.receive(1, "a.db", transaction(5n, 4n, 7n))).toBe(true)
    expect(fixture.log).toEqual([])
  })

  test("keeps what others have written until the database has changed hands, in order", async () => {
    const fixture = new Fixture()
    fixture.borrowed.add("a.db")
    fixture.filter.sent("a.db", transaction(5n, 4n))
    expect(await fixture.receive(1, "a.db", transaction(5n, 40n))).toBe(false)
    expect(await fixture.receive(2, "b.db", transaction(9n, 8n))).toBe(true)
    fixture.borrowed.delete("a.db")
    expect(await fixture.receive(3, "a.db", transaction(6n, 5n))).toBe(false)
    expect(fixture.log).toEqual(["lost a.db", "applied? 2", "write 2 b.db", "write 2 b.db last"])
    fixture.returned.resolve()
    await Bun.sleep(1)
    expect(fixture.log.slice(4)).toEqual([
      "applied? 1",
      "write 1 a.db",
      "write 1 a.db last",
      "applied? 3",
      "write 3 a.db",
      "write 3 a.db last",
    ])
  })

  test("forgets what it has sent when the primary is told anew where this node is", async () => {
    const fixture = new Fixture()
    const ltx = transaction(5n, 4n)
    fixture.filter.sent("a.db", ltx)
    fixture.filter.connected()
    await fixture.receive(1, "a.db", ltx)
    expect(fixture.log).toContain("write 1 a.db last")
  })
})
