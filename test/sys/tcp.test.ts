import { expect, test } from "bun:test"
import { TcpConnection, type TcpHandler, TcpListener } from "../../src/sys/net/tcp.ts"

/** What has happened on a connection, and a way to wait for it. */
class Recorder implements TcpHandler {
  readonly events: string[] = []
  size = 0
  readonly closing = Promise.withResolvers<void>()
  onData: (bytes: Uint8Array) => void = () => {}

  data(bytes: Uint8Array): void {
    this.size += bytes.length
    this.onData(bytes)
  }

  drained(): void {}

  ended(): void {
    this.events.push("ended")
  }

  closed(): void {
    this.events.push("closed")
    this.closing.resolve()
  }
}

async function pair(): Promise<[TcpConnection, TcpConnection, TcpListener]> {
  const accepted = Promise.withResolvers<TcpConnection>()
  const listener = new TcpListener({ host: "127.0.0.1", port: 0 }, accepted.resolve)
  const client = await TcpConnection.connect({ host: "127.0.0.1", port: listener.port })
  return [client, await accepted.promise, listener]
}

test("a connection keeps what the kernel does not take, and ends when all is sent", async () => {
  const [client, server, listener] = await pair()
  const [atClient, atServer] = [new Recorder(), new Recorder()]
  client.handler = atClient
  server.handler = atServer
  const size = 64 << 20
  client.pause()
  server.write(new Uint8Array(size))
  server.end()
  expect(server.isCongested).toBe(true)
  expect(server.waitingSize).toBeGreaterThan(0)
  server.write(new Uint8Array(1)) // after the end: dropped
  client.resume()
  atClient.onData = () => {
    if (atClient.size === size) client.end()
  }
  await Promise.all([atClient.closing.promise, atServer.closing.promise])
  expect(atClient.size).toBe(size)
  expect(atServer.events).toEqual(["ended", "closed"])
  expect(atClient.events).toEqual(["ended", "closed"])
  expect(server.waitingSize).toBe(0)
  listener.close()
})

test("a connection that is destroyed has no end, on either side", async () => {
  const [client, server, listener] = await pair()
  const [atClient, atServer] = [new Recorder(), new Recorder()]
  client.handler = atClient
  server.handler = atServer
  server.destroy()
  await Promise.all([atClient.closing.promise, atServer.closing.promise])
  expect([atClient.events, atServer.events]).toEqual([["closed"], ["closed"]])
  client.write(new Uint8Array(1))
  client.destroy()
  listener.close()
})

test("a connection that nobody accepts is refused, and so is a port that is in use", async () => {
  const [client, , listener] = await pair()
  const { port } = listener
  expect(() => new TcpListener({ host: "127.0.0.1", port }, () => {})).toThrow(
    `Cannot listen on 127.0.0.1:${port}: the port is in use, choose another address`,
  )
  const there = () => new TcpListener({ host: "no.such.invalid", port }, () => {}, "choose x")
  expect(there).toThrow(`Cannot listen on no.such.invalid:${port}: nobody knows the name, choose x`)
  client.destroy()
  listener.close()
  const problem = await TcpConnection.connect({ host: "127.0.0.1", port }).catch((error) => error)
  expect(problem.code).toBe("ECONNREFUSED")
})

test("a listener for every interface is there for IPv4 as well", async () => {
  const accepted = Promise.withResolvers<TcpConnection>()
  const listener = new TcpListener({ host: "", port: 0 }, accepted.resolve)
  const client = await TcpConnection.connect({ host: "127.0.0.1", port: listener.port })
  expect((await accepted.promise).remoteAddress).toBe("127.0.0.1")
  client.destroy()
  listener.close()
})
