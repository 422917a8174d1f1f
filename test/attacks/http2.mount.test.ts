/** Peers that speak HTTP/2 to hurt: a running node goes on, for its clients and for its replicas. */
import { describe, expect, test } from "bun:test"
import { readFileSync } from "node:fs"
import { connect, type Socket } from "node:net"
import { caughtUp, sqlite3 } from "../support/client.ts"
import {
  ask,
  data,
  Flag,
  FrameType,
  frame,
  HELLO,
  PREFACE,
  ping,
  reset,
  settings,
  update,
} from "../support/http2-frames.ts"
import { canMount, MEMORY, Scope, type TestNode } from "../support/node.ts"
import { healthOf } from "../support/node-api.ts"
import { rounds } from "../support/random.ts"
import { until } from "../support/until.ts"

const MIB = 1024 * 1024
const CONNECTION_COUNT = 20
/** In the long form 3 s. */
const FLOOD_MS = rounds(1500, 3000)

const times = (count: number, make: (index: number) => Uint8Array) =>
  Buffer.concat(Array.from({ length: count }, (_, index) => make(index)))

const open = { method: "POST", isOpen: true } as const

/** What each connection says, again and again when it is broken. */
const FLOODS: Readonly<Record<string, Uint8Array>> = {
  pings: Buffer.concat([HELLO, times(20_000, ping)]),
  settings: Buffer.concat([HELLO, times(20_000, () => settings([4, 100]))]),
  "requests that are taken back": Buffer.concat([
    HELLO,
    times(10_000, (n) => Buffer.concat([ask(2 * n + 1, "/info"), reset(2 * n + 1)])),
  ]),
  "requests that nobody answers": Buffer.concat([
    HELLO,
    times(10_000, (n) => ask(2 * n + 1, "/halt", open)),
  ]),
  continuations: Buffer.concat([
    HELLO,
    frame(FrameType.HEADERS, Flag.END_STREAM, 1),
    times(20_000, () => frame(FrameType.CONTINUATION, 0, 1, new Uint8Array(100))),
  ]),
  "updates of windows": Buffer.concat([
    HELLO,
    ask(1, "/events"),
    times(50_000, () => update(1, 1)),
  ]),
  "empty data": Buffer.concat([HELLO, ask(1, "/import", open), times(50_000, () => data(1, 0))]),
  prefaces: Buffer.concat([PREFACE, times(10_000, () => PREFACE)]),
  nothing: Buffer.alloc(0),
  garbage: Buffer.concat([HELLO, Buffer.alloc(100_000, 0xff)]),
}

function resident({ pid }: TestNode): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8")
  return Number(/^VmRSS:\s*(\d+) kB/m.exec(status)?.[1]) * 1024
}

/** Says it over so many connections, anew over each that is broken, until it is told to end; reads what comes. */
async function flood(scope: Scope, { port }: TestNode, text: Uint8Array): Promise<() => void> {
  const sockets = new Set<Socket>()
  let isOver = false
  const end = () => {
    isOver = true
    for (const socket of sockets) socket.destroy()
  }
  scope.defer(end)
  const attack = () => {
    if (isOver) return
    const socket = connect({ port, host: "127.0.0.1" })
    sockets.add(socket)
    socket.on("error", () => {})
    socket.on("close", () => {
      sockets.delete(socket)
      setTimeout(attack, 20)
    })
    socket.resume()
    socket.write(text)
  }
  for (let count = 0; count < CONNECTION_COUNT; count++) attack()
  await Bun.sleep(FLOOD_MS)
  return end
}

describe.skipIf(!canMount)("HTTP/2", () => {
  test.each(Object.keys(FLOODS))(
    "a flood of %s costs little memory and no node",
    async (what) => {
      await using scope = new Scope(MEMORY)
      const primary = await scope.node()
      const replica = await scope.node({ follows: primary })
      sqlite3(primary, "a.db", "create table t(x)")
      const before = resident(primary)
      const end = await flood(scope, primary, FLOODS[what] as Uint8Array)
      expect((await healthOf(primary)).status).toBe(200)
      sqlite3(primary, "a.db", "insert into t values (1)")
      await caughtUp(primary, replica, "a.db")
      // What it has read is garbage, which goes a little later, above all on a busy machine.
      expect(resident(primary) - before).toBeLessThan(500 * MIB)
      end()
      const isBack = () => resident(primary) - before < 150 * MIB
      await until("the memory is back", isBack, { limitMs: 30_000, everyMs: 200 })
      expect(primary.output.split("\n").length).toBeLessThan(100)
    },
    60_000,
  )

  test("streams and snapshots that nobody reads take little memory, and no place of a replica's", async () => {
    await using scope = new Scope(MEMORY)
    const primary = await scope.node()
    const rows = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 20)"
    sqlite3(
      primary,
      "a.db",
      `create table t(x); ${rows} insert into t select randomblob(1000000) from n`,
    )
    const before = resident(primary)
    const positions = Buffer.concat([
      HELLO,
      settings([4, 0x7fff_ffff]),
      update(0, 0x7fff_0000),
      times(32, (n) => Buffer.concat([ask(2 * n + 1, "/stream", open), data(2 * n + 1, 4, true)])),
      times(16, (n) => ask(2 * n + 65, "/export?name=a.db")),
    ])
    for (let count = 0; count < 8; count++) {
      const socket = connect({ port: primary.port, host: "127.0.0.1" })
      scope.defer(() => void socket.destroy())
      socket.on("error", () => {})
      socket.pause()
      socket.write(positions)
    }
    await Bun.sleep(3000)
    expect(resident(primary) - before).toBeLessThan(256 * MIB)
    sqlite3(primary, "a.db", "insert into t values (1)")
    await Bun.sleep(3000)
    const replica = await scope.node({ follows: primary })
    await caughtUp(primary, replica, "a.db", 60_000)
  }, 120_000)
})
