import { expect, test } from "bun:test"
import { EventEmitter } from "node:events"
import type { IncomingMessage, ServerResponse } from "node:http"
import { BodyWriter, PATIENCE_MS } from "../../src/http/server/body-writer.ts"
import { CONNECTION_COUNT_MAX } from "../../src/http/server/connections.ts"
import { Crowd, ROUTE_COUNT_MAX } from "../../src/http/server/crowd.ts"
import { FakeClock } from "../support/fake-clock.ts"
import { LogLines } from "../support/log-lines.ts"

const requestOf = (remoteAddress: string) =>
  ({ headers: { "litefs-hostname": "b" }, socket: { remoteAddress } }) as unknown as IncomingMessage

const REQUEST = requestOf("10.0.0.7")

test("Crowd.enter() takes so many requests of a route, and one more when one has ended", () => {
  using log = new LogLines()
  const clock = new FakeClock()
  const crowd = new Crowd(clock, { "/a": 2 })
  const enter = (path: string) => {
    const response = new EventEmitter()
    crowd.enter(path, REQUEST, response as ServerResponse)
    return response
  }
  const responses = [enter("/a"), enter("/a")]
  for (let i = 0; i < 3; i++) {
    expect(() => enter("/a")).toThrow(
      "Cannot serve /a: there are 2 such requests, and no more are taken at a time, try again later",
    )
  }
  enter("/b")
  expect(log.lines).toHaveLength(1)
  expect(log.text).toContain("from=10.0.0.7 node=b")
  clock.advance(60_000)
  responses[0]?.emit("close")
  enter("/a")
  expect(() => enter("/a")).toThrow("no more are taken")
  expect(log.lines).toHaveLength(2)
})

/** A response whose reader takes what the test says. */
class SlowResponse extends EventEmitter {
  writableNeedDrain = false
  isDestroyed = false

  write(): void {
    this.writableNeedDrain = true
  }

  take(): void {
    this.writableNeedDrain = false
    this.emit("drain")
  }

  destroy(): void {
    this.isDestroyed = true
    this.emit("close")
  }

  get asResponse(): ServerResponse {
    return this as unknown as ServerResponse
  }
}

test("Crowd.enter() gives the place of one that is not read to who comes, and of no other", async () => {
  const clock = new FakeClock()
  const crowd = new Crowd(clock, { "/a": 3 })
  const options = { clock, stallMs: 60_000, onCut: () => {} }
  const responses = [1, 2, 3].map(() => new SlowResponse())
  const [read, unread, crawling] = responses as [SlowResponse, SlowResponse, SlowResponse]
  const writers = responses.map((response) => {
    crowd.enter("/a", REQUEST, response.asResponse)
    return new BodyWriter(response.asResponse, undefined, options)
  })
  const enter = () => {
    const response = new SlowResponse()
    expect(crowd.enter("/a", REQUEST, response.asResponse)).toBe(true)
    return response
  }
  const part = new Uint8Array(1000)
  for (const writer of writers) void writer.write(part)
  const take = async (index: number) => {
    responses[index]?.take()
    for (let turn = 0; turn < 5; turn++) await Promise.resolve()
    void writers[index]?.write(part)
  }
  clock.advance(PATIENCE_MS - 1000)
  expect(enter).toThrow("no more are taken")
  await take(0)
  await take(2) // a little, and late
  clock.advance(500)
  read.take()
  for (let turn = 0; turn < 5; turn++) await Promise.resolve()
  clock.advance(500)
  enter()
  expect(responses.map(({ isDestroyed }) => isDestroyed)).toEqual([false, true, false])
  enter()
  expect(crawling.isDestroyed).toBe(true)
  clock.advance(PATIENCE_MS * 10)
  expect(enter).toThrow("no more are taken")
  expect([read.isDestroyed, unread.isDestroyed]).toEqual([false, true])
})

test("Crowd.enter() has streams of the address that has most give way, and no others", () => {
  using log = new LogLines()
  const crowd = new Crowd(new FakeClock(), { "/stream": 4, "/export": 1 })
  const enter = (path: string, from: string) => {
    const response = new SlowResponse()
    crowd.enter(path, requestOf(from), response.asResponse)
    return response
  }
  const many = [1, 2, 3, 4].map(() => enter("/stream", "a"))
  const states = () => many.map(({ isDestroyed }) => isDestroyed)
  expect(() => enter("/stream", "a")).toThrow("no more are taken")
  const b = enter("/stream", "b")
  expect(states()).toEqual([false, false, false, true])
  enter("/stream", "b")
  expect(states()).toEqual([false, false, true, true])
  for (const from of ["a", "b"]) {
    expect(() => enter("/stream", from)).toThrow("no more are taken") // two and two
  }
  enter("/stream", "c")
  expect([b.isDestroyed, ...states()]).toEqual([false, false, true, true, true])
  enter("/export", "a")
  expect(() => enter("/export", "b")).toThrow("no more are taken")
  expect(log.lines.map((line) => /path=\S+ from=\S+/.exec(line)?.[0])).toEqual([
    "path=/stream from=a",
    "path=/export from=b",
  ])
})

test("there are more connections than places of their own", () => {
  const places = Object.values(ROUTE_COUNT_MAX).reduce((sum, count) => sum + count)
  expect(places).toBeLessThan(CONNECTION_COUNT_MAX - 256)
})
