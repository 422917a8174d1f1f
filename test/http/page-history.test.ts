import { describe, expect, test } from "bun:test"
import { History } from "../../src/http/page/history.ts"
import { RecentEvents } from "../../src/http/page/recent-events.ts"
import type { LogLine } from "../../src/lib/log.ts"
import { Positions } from "../../src/store/positions.ts"
import { posOf } from "../support/status-node.ts"

function write(positions: Positions, name: string, txid: number): void {
  const state = { pos: posOf(txid), timestampMs: 0, pageSize: 4096, commit: 1 }
  positions.write(positions.add(name), state, posOf(txid))
}

describe("History", () => {
  test("counts the transactions of all databases, a second", () => {
    const positions = Positions.create()
    write(positions, "a.db", 50)
    const history = new History(positions, 0)
    const add = (ms: number) => {
      history.add(ms, { wallMs: ms, lagMs: 0, unsent: null })
      return history.samples.at(-1)?.rate
    }
    expect(add(2000)).toBe(0) // what was there before was not made now
    write(positions, "a.db", 53)
    write(positions, "b.db", 1)
    expect(add(4000)).toBe(2)
    expect(add(6000)).toBe(0)
    write(positions, "b.db", 2)
    expect(add(6500)).toBe(2)
    write(positions, "c.db", 900) // it has arrived
    write(positions, "a.db", 7) // another history
    expect(add(8500)).toBe(0)
    write(positions, "a.db", 8)
    expect(add(10_500)).toBe(0.5)
  })

  test("counts more changes than the positions remember", () => {
    const positions = Positions.create()
    write(positions, "a.db", 1)
    const history = new History(positions, 0)
    for (let txid = 2; txid <= 10_001; txid++) write(positions, "a.db", txid)
    history.add(1000, { wallMs: 1000, lagMs: 0, unsent: null })
    expect(history.samples[0]?.rate).toBe(10_000)
  })

  test("does not take a database for one that lay in its place", () => {
    const positions = Positions.create()
    write(positions, "a.db", 5)
    const history = new History(positions, 0)
    positions.free(positions.find("a.db") as number)
    write(positions, "b.db", 900)
    history.add(1000, { wallMs: 1000, lagMs: 0, unsent: null })
    expect(history.samples[0]?.rate).toBe(0)
  })

  test("keeps five minutes", () => {
    const history = new History(Positions.create(), 0)
    for (let ms = 0; ms < 3_600_000; ms += 2000) {
      history.add(ms, { wallMs: ms, lagMs: 0, unsent: null })
    }
    expect(history.samples.length).toBe(151)
    for (let count = 0; count < 1000; count++) {
      history.add(0, { wallMs: 3_600_000, lagMs: 0, unsent: null })
    }
    expect(history.samples.length).toBeLessThan(200)
  })
})

describe("RecentEvents", () => {
  const line = (given: Partial<LogLine>): LogLine => {
    return { wallMs: 1, level: "info", tag: "member", msg: "something", fields: {}, ...given }
  }

  test("keeps errors when others come and go", () => {
    const events = new RecentEvents()
    events.add(line({ level: "error", msg: "the disk is full", fields: { path: "/data/db" } }))
    for (let count = 0; count < 5000; count++) events.add(line({ msg: `replica ${count}` }))
    const kept = events.since(0)
    expect(kept.length).toBe(101)
    expect(kept[0]).toMatchObject({ msg: "the disk is full", fields: { path: "db" } })
    events.close()
  })

  test("counts what comes again right away", () => {
    const events = new RecentEvents()
    events.add(line({ wallMs: 1 }))
    const seen = events.changeCount
    events.add(line({ wallMs: 9 }))
    expect(events.since(seen)).toMatchObject([{ id: 1, wallMs: 9, count: 2 }])
    expect(events.since(events.changeCount)).toEqual([])
    events.close()
  })

  test("leaves out the requests of the proxy, and cuts what is long", () => {
    const events = new RecentEvents()
    events.add(line({ tag: "proxy", msg: "request" }))
    events.add(line({ tag: "proxy", level: "warn", fields: { url: "x".repeat(5000) } }))
    expect(events.since(0).map(({ fields }) => fields.url?.length)).toEqual([300])
    events.close()
  })
})
