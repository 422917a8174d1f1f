/** Peers that connect and do nothing, or read nothing: a running node goes on, for its clients and for its replicas. */
import { describe, expect, test } from "bun:test"
import { readdirSync, readFileSync } from "node:fs"
import { connect } from "node:net"
import { join } from "node:path"
import { caughtUp, run, sqlite3 } from "../support/client.ts"
import { canMount, MEMORY, Scope, type TestNode } from "../support/node.ts"
import { healthOf } from "../support/node-api.ts"
import { RawSocket } from "../support/raw-socket.ts"
import { until } from "../support/until.ts"

const HEAD = "HTTP/1.1\r\nHost: 127.0.0.1\r\n"
const STREAM = `POST /stream ${HEAD}Content-Length: 4\r\n\r\n\0\0\0\0`
const ROWS = 20 // of a megabyte
const MIB = 1024 * 1024
/** When 256 that read nothing want a snapshot each, 32 have theirs for some 6 s, and a replica may be the last. */
const SNAPSHOT_MS_MAX = 60_000

/** A connection that has sent something, and reads nothing of what comes. */
async function unread(scope: Scope, { port }: TestNode, text: string): Promise<RawSocket> {
  const socket = connect({ port, host: "127.0.0.1" })
  const raw = new RawSocket(socket)
  scope.defer(() => raw.destroy())
  socket.pause()
  socket.write(Buffer.from(text, "latin1"))
  await new Promise<void>((resolve, reject) => {
    socket.once("connect", () => resolve())
    socket.once("error", reject)
  })
  return raw
}

async function many(count: number, open: () => Promise<RawSocket>): Promise<RawSocket[]> {
  const sockets: RawSocket[] = []
  while (sockets.length < count) sockets.push(await open())
  return sockets
}

function grow(node: TestNode, database: string): void {
  const rows = `with recursive n(i) as (select 1 union all select i + 1 from n where i < ${ROWS})`
  sqlite3(
    node,
    database,
    `pragma journal_mode = wal; create table t(x); ${rows} insert into t select randomblob(1000000) from n`,
  )
  sqlite3(node, database, "pragma wal_checkpoint(truncate)")
}

/** Milliseconds that a command takes. */
function timed(command: () => void): number {
  const startMs = performance.now()
  command()
  return performance.now() - startMs
}

function statusSize({ pid }: TestNode, field: string): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8")
  return Number(new RegExp(`^${field}:\\s*(\\d+) kB`, "m").exec(status)?.[1]) * 1024
}

/** Bytes that the process has had written to files. */
function writtenSize({ pid }: TestNode): number {
  const io = readFileSync(`/proc/${pid}/io`, "utf8")
  return Number(/^wchar: (\d+)$/m.exec(io)?.[1])
}

/** Descriptors of the table in which connections are. */
function openCount({ pid }: TestNode): number {
  return readdirSync(`/proc/${pid}/fd`).length
}

/** Processor time of the first thread, milliseconds. */
function mainMs({ pid }: TestNode): number {
  const stat = readFileSync(`/proc/${pid}/task/${pid}/stat`, "utf8")
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ")
  return (Number(fields[11]) + Number(fields[12])) * 10
}

describe.skipIf(!canMount)("a crowd", () => {
  test("of streams that nobody reads costs writers little, and replicas no place", async () => {
    await using scope = new Scope(MEMORY)
    const primary = await scope.node()
    grow(primary, "a.db")
    const update = () => sqlite3(primary, "a.db", "update t set x = randomblob(1000000)")
    let before = writtenSize(primary)
    update()
    const writtenAlone = writtenSize(primary) - before
    const residentBefore = statusSize(primary, "VmRSS")
    await many(256, () => unread(scope, primary, STREAM))
    await Bun.sleep(2000)
    before = writtenSize(primary)
    const tookMs = timed(update)
    // A page is kept for all of them once: not 256 times, and not for each that has a snapshot.
    expect(writtenSize(primary) - before).toBeLessThan(writtenAlone + 3 * ROWS * MIB)
    expect(tookMs).toBeLessThan(10_000)
    expect(statusSize(primary, "VmRSS") - residentBefore).toBeLessThan(256 * MIB)
    await Bun.sleep(4000)
    const replica = await scope.node({ follows: primary })
    await caughtUp(primary, replica, "a.db", SNAPSHOT_MS_MAX)
    await primary.logged(/ended a stream that is not read.*others want its place/)
  }, 120_000)

  test.each(["TCP", "a Unix socket"])(
    "of readers that take nothing is ended, one line each: %s",
    async (transport) => {
      await using scope = new Scope(MEMORY)
      const primary = await scope.node()
      grow(primary, "a.db")
      const path = join(primary.data, "api.sock")
      const socket =
        transport === "TCP"
          ? (await unread(scope, primary, STREAM)).socket
          : connect(path, () => socket.write(STREAM))
      socket.on("error", () => {})
      socket.pause()
      await primary.logged(/"ended a stream that is not read".*takes nothing for 30000 ms/, 45_000)
      await primary.logged(/replica disconnected/)
      expect(primary.output.match(/takes nothing/g)).toHaveLength(1)
      socket.destroy()
    },
    90_000,
  )

  test("of streams from one address leaves places for others, though it reads them", async () => {
    await using scope = new Scope(MEMORY)
    const primary = await scope.node()
    sqlite3(primary, "a.db", "create table t(x)")
    const streams = await many(256, async () => {
      const { port } = primary
      const raw = new RawSocket(connect({ port, host: "127.0.0.1", localAddress: "127.0.0.3" }))
      scope.defer(() => raw.destroy())
      await raw.write(STREAM).until("\r\n\r\n")
      return raw
    })
    expect(streams.filter(({ text }) => text.startsWith("HTTP/1.1 200"))).toHaveLength(256)
    const replica = await scope.node({ follows: primary })
    await caughtUp(primary, replica, "a.db")
    const ended = streams.filter(({ isClosed, hasEnded }) => isClosed || hasEnded)
    expect(ended).toHaveLength(1)
  }, 60_000)

  test.each([
    ["half a head", "GET /"],
    ["one answer", `GET /info ${HEAD}\r\n`],
  ])(
    "of idle connections gives way to replicas: %s",
    async (_, text) => {
      await using scope = new Scope(MEMORY)
      const primary = await scope.node()
      sqlite3(primary, "a.db", "create table t(x)")
      const stream = await unread(scope, primary, STREAM)
      await primary.logged(/replica connected/)
      const idle = await many(2100, () => unread(scope, primary, text))
      const replica = await scope.node({ follows: primary })
      await caughtUp(primary, replica, "a.db")
      await primary.logged(/breaks connections that do nothing.*countMax=2048/)
      expect(stream.isClosed).toBe(false)
      idle.at(-1)?.destroy()
    },
    120_000,
  )

  test("at the limit of descriptors takes no time, and /health says what is wrong", async () => {
    await using scope = new Scope(MEMORY)
    const primary = await scope.node()
    sqlite3(primary, "a.db", "create table t(x)")
    const free = 40
    const limit = Math.max(...readdirSync(`/proc/${primary.pid}/fd`).map(Number)) + 1 + free
    run(["prlimit", "--pid", String(primary.pid), `--nofile=${limit}:`])

    // Idle ones give way: there is room for others at any time.
    await many(3 * free, () => unread(scope, primary, "GET /"))
    expect((await healthOf(primary)).status).toBe(200)
    await primary.logged(/breaks connections that do nothing.*no more files can be opened/)

    // Streams do not, and are as many as there are descriptors.
    const streams = await many(2 * free, () => unread(scope, primary, STREAM))
    await Bun.sleep(1500)
    const before = mainMs(primary)
    const late = await many(20, () => unread(scope, primary, "GET /"))
    await Bun.sleep(3000)
    expect(mainMs(primary) - before).toBeLessThan(1500)
    sqlite3(primary, "a.db", "insert into t values(1)")
    await primary.logged(/no more files can be opened, raise the limit/)

    for (const socket of [...streams, ...late]) socket.destroy()
    await until("all is well", async () => (await healthOf(primary)).status === 200, {
      everyMs: 200,
    })
    expect(openCount(primary)).toBeLessThan(limit - 8)
  }, 120_000)
})
