import { afterEach, expect, test } from "bun:test"
import { type AddressInfo, connect, createServer, type Socket } from "node:net"
import { FaultProxy } from "./fault-proxy.ts"

const ends: (() => unknown)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})

/** A node that sends `size` bytes to whoever has sent it one, and a proxy in front of it. */
async function proxyOf(size: number): Promise<FaultProxy> {
  const sockets = new Set<Socket>()
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket)
    socket.on("error", () => {})
    socket.once("data", () => socket.end(new Uint8Array(size).fill(7)))
  })
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done))
  ends.push(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const proxy = await FaultProxy.start((server.address() as AddressInfo).port)
  ends.push(() => proxy[Symbol.asyncDispose]())
  return proxy
}

interface Outcome {
  readonly size: number
  readonly how: "end" | "break"
}

/** Asks through the proxy. `onData` is called for what comes. */
function ask(proxy: FaultProxy, onData = (_size: number) => {}): Promise<Outcome> {
  const socket = connect({ port: proxy.port, host: "127.0.0.1", allowHalfOpen: true })
  ends.push(() => socket.destroy())
  let size = 0
  let how: Outcome["how"] = "break"
  socket.on("error", () => {})
  socket.on("data", (bytes) => {
    size += bytes.length
    onData(size)
  })
  socket.on("end", () => {
    how = "end"
    socket.end()
  })
  socket.write("x")
  return new Promise((done) => socket.on("close", () => done({ size, how })))
}

test("FaultProxy passes everything on, and the end", async () => {
  const proxy = await proxyOf(3_000_000)
  expect(await ask(proxy)).toEqual({ size: 3_000_000, how: "end" })
  expect([proxy.downSize, proxy.connectionCount]).toEqual([3_000_000, 1])
})

test.each([0, 1, 999, 70_000])("FaultProxy truncates one connection at byte %d", async (byte) => {
  const proxy = await proxyOf(100_000)
  proxy.plan({ byte, how: "truncate" })
  expect(await ask(proxy)).toEqual({ size: byte, how: "end" })
  expect((await ask(proxy)).size).toBe(100_000)
})

test("FaultProxy cuts a connection at a byte", async () => {
  const proxy = await proxyOf(100_000)
  proxy.plan({ byte: 50_000, how: "cut" })
  expect((await ask(proxy)).size).toBeLessThanOrEqual(50_000)
  expect((await ask(proxy)).size).toBe(100_000)
})

test("FaultProxy holds a connection at a byte until it is cut", async () => {
  const proxy = await proxyOf(100_000)
  proxy.plan({ byte: 500, how: "hold" })
  const held = Promise.withResolvers<void>()
  const outcome = ask(proxy, (size) => size === 500 && held.resolve())
  await held.promise
  proxy.cut()
  expect((await outcome).size).toBe(500)
})

test("FaultProxy holds everything back until it is healed", async () => {
  const proxy = await proxyOf(100_000)
  proxy.hold()
  let received = 0
  const outcome = ask(proxy, (size) => {
    received = size
  })
  await Bun.sleep(50)
  expect(received).toBe(0)
  proxy.heal()
  expect(await outcome).toEqual({ size: 100_000, how: "end" })
})

test("FaultProxy throttles and delays", async () => {
  const proxy = await proxyOf(1000)
  proxy.bytesPerSecond = 4000
  proxy.delayMs = 20
  const startMs = performance.now()
  expect(await ask(proxy)).toEqual({ size: 1000, how: "end" })
  expect(performance.now() - startMs).toBeGreaterThan(200)
})

test("FaultProxy refuses connections", async () => {
  const proxy = await proxyOf(10)
  proxy.refuse()
  expect((await ask(proxy)).size).toBe(0)
  proxy.heal()
  expect((await ask(proxy)).size).toBe(10)
})
