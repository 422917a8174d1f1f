/** Nodes on a bad link: the short form of `scripts/torture --only links` (twice as long with
 * LITEFS_ALL_FAULTS), and what a slow replica costs. */
import { expect } from "bun:test"
import { readFileSync } from "node:fs"
import { connect, type Socket } from "node:net"
import { encodePositionMap } from "../../src/wire/position-map.ts"
import {
  caughtUp,
  expectSame,
  nodeCommand,
  output,
  pos,
  sqlite3,
  start,
} from "../support/client.ts"
import { FaultProxy } from "../support/fault-proxy.ts"
import { test } from "../support/mount-test.ts"
import { Scope, type TestNode } from "../support/node.ts"
import { pair } from "../support/pair.ts"
import { rounds, testRandom } from "../support/random.ts"
import { linkFaults } from "../torture/link-faults.ts"

const random = testRandom()

test.each(random.someOf(["wal", "delete"] as const))(
  "in %s mode a replica on a link that breaks loses nothing, whoever is killed or paused",
  async (mode) => {
    const result = { kills: 0, acknowledged: 0, unended: 0 }
    await linkFaults({ random, mode, faults: rounds(4, 8), mayBeLong: false, result })
    expect(result.acknowledged).toBeGreaterThan(0)
  },
  120_000,
)

test("a replica converges over a link that is cut at any byte", async () => {
  await using scope = new Scope()
  const primary = await scope.node()
  const proxy = await FaultProxy.start(primary.port)
  scope.defer(() => proxy[Symbol.asyncDispose]())
  const replica = await scope.node({ follows: proxy })
  sqlite3(primary, "a.db", "create table t(x)")
  await caughtUp(primary, replica, "a.db")
  for (let round = 0; round < 6; round++) {
    proxy.plan({ byte: random.below(30_000), how: random.pick(["cut", "truncate"]) })
    proxy.cut()
    const rows = "with recursive s(k) as (select 1 union all select k + 1 from s where k < 9)"
    for (let n = 0; n < 4; n++) {
      sqlite3(primary, "a.db", `${rows} insert into t select randomblob(900) from s`)
    }
    await caughtUp(primary, replica, "a.db")
  }
  await expectSame(primary, replica, "a.db")
}, 60_000)

test("a replica notices that its primary is paused, and goes on when it is not", async () => {
  await using scope = await pair({ sql: "create table t(x)" })
  const { primary, replica } = scope
  primary.signal("SIGSTOP")
  try {
    await replica.logged(/not connected to the primary.*no sign of life for 5 s/)
  } finally {
    primary.signal("SIGCONT")
  }
  sqlite3(primary, "a.db", "insert into t values(1)")
  await expectSame(primary, replica, "a.db")
}, 60_000)

/** A replica that takes so many bytes a second and applies nothing. */
class SlowReplica implements Disposable {
  readonly socket: Socket
  receivedSize = 0
  readonly #timer: Timer

  constructor(primary: TestNode, database: string, bytesPerSecond: number) {
    const [txid, checksum] = pos(primary, database).split("/")
    const known = { txid: BigInt(`0x${txid}`), checksum: BigInt(`0x${checksum}`) }
    const body = encodePositionMap(new Map([[database, known]]))
    this.socket = connect(primary.port, "127.0.0.1")
    this.socket.on("error", () => {})
    this.socket.write(
      `POST /stream HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${body.length}\r\n\r\n`,
    )
    this.socket.write(body)
    this.socket.on("data", (bytes) => {
      this.receivedSize += bytes.length
      this.socket.pause()
    })
    this.#timer = setInterval(() => this.socket.resume(), 65_536_000 / bytesPerSecond)
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
    this.socket.destroy()
  }
}

function residentMiB(node: TestNode): number {
  const status = readFileSync(`/proc/${node.pid}/status`, "utf8")
  return Number(/VmRSS:\s*(\d+)/.exec(status)?.[1]) / 1024
}

/** Beside this process, which has to go on reading. */
async function writeMiB(node: TestNode, mib: number): Promise<void> {
  const program = `
    const insert = db("a.db").prepare("insert or replace into t values (?, randomblob(500000))")
    for (let n = 0; n < ${mib * 2}; n++) insert.run(n % 8)`
  await output(start(nodeCommand(node, program), { limitMs: 60_000 }))
}

test("a replica that is far too slow costs its primary no memory", async () => {
  await using scope = new Scope()
  const primary = await scope.node()
  sqlite3(primary, "a.db", "pragma journal_mode = wal; create table t(id integer primary key, x)")
  await writeMiB(primary, 40) // buffers that it keeps are there now
  using slow = new SlowReplica(primary, "a.db", 50_000)
  await primary.logged(/msg="replica connected"/)
  const before = residentMiB(primary)
  await writeMiB(primary, 150)
  expect(residentMiB(primary) - before).toBeLessThan(60)
  expect(slow.receivedSize).toBeLessThan(20_000_000) // it was slow indeed
  expect(slow.receivedSize).toBeGreaterThan(0)
}, 120_000)
