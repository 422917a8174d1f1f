/** What litefs mount tells of a replica that catches up, and of itself at its start. */
import { expect, test } from "bun:test"
import type { Arriving, NodeSummary } from "../../src/cli/command/supervisor-state.ts"
import { reportArrivals } from "../../src/cli/mount/arrivals.ts"
import { showSummary } from "../../src/cli/mount/summary.ts"
import type { LiteFSOptions } from "../../src/litefs-options.ts"
import { FakeIo, WIDE } from "../support/fake-io.ts"
import { FakeNode } from "../support/fake-node.ts"
import { LogLines } from "../support/log-lines.ts"

const MIB = 1024 * 1024
const NONE: Arriving = { isReady: false, snapshots: [], appliedCount: 0, missingCount: 0 }

class ArrivingNode extends FakeNode {
  now: Arriving = NONE
  arriving = () => this.now
}

test("lines of the log every 10 s, for what takes as long", () => {
  using log = new LogLines()
  const [io, node] = [new FakeIo(), new ArrivingNode()]
  const end = reportArrivals(node, io)
  const after10s = (now: Partial<Arriving>) => {
    node.now = { ...NONE, ...now }
    io.clock.advance(10_000)
    return log.lines.splice(0)
  }
  const snapshot = (size: number) => ({
    snapshots: [{ database: "app.db", size: size * MIB, sizeMax: 100 * MIB }],
  })
  expect(after10s(snapshot(10))).toEqual([]) // it may have begun just now
  expect(after10s(snapshot(30)).join()).toContain(
    'msg="receiving a whole database" db=app.db received="30.0 MiB" atMost="100.0 MiB" rate="2.0 MiB/s" left=35s',
  )
  expect(after10s({ missingCount: 500, appliedCount: 100 })).toEqual([])
  expect(after10s({ missingCount: 300, appliedCount: 300, isReady: true }).join()).toContain(
    'msg="catching up" missing=300 rate="20 transactions/s" left=15s',
  )
  expect(after10s({})).toEqual([])
  end()
  expect(after10s(snapshot(1))).toEqual([])
  expect(io.err).toBe("")
})

test("a bar at a terminal until the node is in sync, which is taken away", () => {
  const [io, node] = [new FakeIo(), new ArrivingNode()]
  io.screens[2] = WIDE
  const end = reportArrivals(node, io)
  node.now = { ...NONE, missingCount: 300, appliedCount: 100 }
  io.clock.advance(250)
  expect(io.err).toContain(" 25 %  catching up: 100 transactions of 400 transactions, ")
  node.now = { ...node.now, isReady: true }
  io.clock.advance(250)
  expect(io.err).toEndWith("\r\u001b[K")
  const said = io.err
  io.clock.advance(5000)
  expect(io.err).toBe(said)
  end()
})

test("the summary fits, names some databases, and shows no escapes of their names", () => {
  const node = new FakeNode()
  const summary: NodeSummary = {
    ...{ version: "0.1.0", role: "replica", primaryUrl: "http://10.0.0.1:20202" },
    databases: Array.from({ length: 30 }, (_, index) => ({
      ...{
        name: index === 0 ? "a\u001b[2J\n\u202e" : `${index}.db`,
        position: "0000000000000001/8000000000000000",
      },
      ...{ size: 4096, problem: index === 1 ? "rotten" : undefined },
    })),
  }
  const options = {
    ...{ fuseDir: "/litefs", dataDir: "/data", httpAddr: { host: "", port: 0 } },
    proxy: { address: { host: "", port: 8080 }, target: { host: "localhost", port: 3000 } },
  } as LiteFSOptions
  const shown = (columns: number) => {
    const io = new FakeIo()
    io.screens[2] = { ...WIDE, columns }
    showSummary(Object.assign(node, { summary: () => summary }), options, io)
    return io.err
  }
  const text = shown(100)
  expect(text).toStartWith(
    "LiteFS 0.1.0, a replica of http://10.0.0.1:20202\n  mount  /litefs, of /data\n",
  )
  expect(text).toContain(
    "  proxy  localhost:8080 for localhost:3000\n  30 databases\n    a\\u001b[2J\\n\\u202e  0000",
  )
  expect(text).toContain("left out")
  expect(text).toEndWith("    and 20 more\n")
  for (const line of shown(20).split("\n")) expect(line.length).toBeLessThanOrEqual(20)
  const io = new FakeIo()
  showSummary(node, options, io)
  expect(io.err).toBe("") // no terminal
})
