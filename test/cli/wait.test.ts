import { describe, expect, test } from "bun:test"
import type { ServerResponse } from "node:http"
import { run } from "../../src/cli/main-command.ts"
import { until } from "../../src/cli/node/waiting.ts"
import { systemClock } from "../../src/lib/clock.ts"
import { Gate } from "../../src/lib/gate.ts"
import { FakeApi } from "../support/fake-api.ts"
import { FakeClock } from "../support/fake-clock.ts"
import { FakeIo } from "../support/fake-io.ts"
import { freePort } from "../support/node.ts"

/** The real time, and a word when somebody has begun to wait for it. */
class WatchedClock extends FakeClock {
  readonly #news = new Gate()
  #count = 0

  override wallMs = systemClock.wallMs
  override monotonicMs = systemClock.monotonicMs

  override after(delayMs: number, callback: () => void): () => void {
    this.#count += 1
    this.#news.open()
    return systemClock.after(delayMs, callback)
  }

  /** Resolves when so many timers have been started. */
  async started(count: number): Promise<void> {
    while (this.#count < count) await this.#news.wait()
  }
}

class WaitIo extends FakeIo {
  override readonly clock = new WatchedClock()
}

async function litefs(...args: string[]) {
  return outcome(new WaitIo(), ...args)
}

async function outcome(io: WaitIo, ...args: string[]) {
  const code = await run(["wait", ...args], io)
  return { code, out: io.out, err: io.err }
}

/** The first attempt has a limit, and the pause after it is the second timer. */
const FIRST_PAUSE = 2

const OK = { code: 0, out: expect.stringMatching(/^http:.* (is|has|answers)\b.*\n$/s), err: "" }

function answer(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status)
  response.end(JSON.stringify(body))
}

/** A node whose answers are given one after the other; the last one again and again. */
function nodeOf(...answers: readonly [status: number, reason?: string][]): Promise<FakeApi> {
  let count = 0
  return FakeApi.start((response) => {
    const [status, reason] = answers[Math.min(count++, answers.length - 1)] ?? [500]
    answer(response, status, { reason })
  })
}

function queryOf(api: FakeApi, index = 0): Record<string, string> {
  const url = new URL(api.requests[index]?.url ?? "", api.url)
  expect(url.pathname).toBe("/health")
  const names = [...new Set(url.searchParams.keys())]
  return Object.fromEntries(names.map((name) => [name, url.searchParams.getAll(name).join("&")]))
}

describe("litefs wait", () => {
  test.each([
    [["--synced"], { synced: "1" }],
    [["--db", "a b.db"], { db: "a b.db" }],
    [["--db", "a.db", "--db=b.db"], { db: "a.db&b.db" }],
    [["--pos", "a.db=1", "--pos", "b.db=2"], { pos: "a.db=1&b.db=2" }],
    [["--primary"], { role: "primary" }],
    [["--pos", "a b.db=12"], { pos: "a b.db=12" }],
    [["--synced", "--primary", "--pos", "a.db=1"], { synced: "1", role: "primary", pos: "a.db=1" }],
  ])("%p is asked of the node, which holds the question back", async (args, query) => {
    await using api = await nodeOf([200])
    expect(await litefs("--url", api.url, ...args)).toEqual(OK)
    const { wait, ...others } = queryOf(api)
    expect(others).toEqual(query as typeof others)
    expect(Number(wait)).toBe(3000) // to hear of the reason; later questions are held back for longer
    expect(api.requests).toHaveLength(1)
  })

  test("asks again while it is not so, and fails with the node's reason when the time is over", async () => {
    await using ready = await nodeOf([503, "not mounted yet"], [503, "not mounted yet"], [200])
    expect(await litefs("--url", ready.url, "--synced")).toEqual(OK)
    expect(ready.requests).toHaveLength(3)

    await using never = await nodeOf([503, "the lag is 9 ms"])
    expect(await litefs("--url", never.url, "--synced", "--timeout", "120ms")).toEqual({
      code: 1,
      out: "",
      err: "ERROR: Cannot wait over 120ms: the lag is 9 ms\n",
    })
    expect(Number(queryOf(never).wait)).toBeLessThanOrEqual(120)
    expect(never.requests.length).toBeLessThan(5)
  })

  test("says why it waits after some seconds, and when that is something else", async () => {
    const clock = new FakeClock()
    const problems = ["a", "a", "Cannot b", "Cannot b", "c", undefined]
    const holds: number[] = []
    const told: [ms: number, problem: string][] = []
    const check = async (leftMs: number) => {
      holds.push(leftMs)
      clock.advance(Math.min(leftMs, 20_000))
      return problems.shift()
    }
    let isOver = false
    const waiting = until({ check, outcome: "is so" }, clock, 600_000, (problem) => {
      told.push([Math.floor(clock.monotonicMs() / 1000), problem])
    }).finally(() => {
      isOver = true
    })
    while (!isOver) {
      for (let i = 0; i < 10; i++) await Promise.resolve()
      clock.advance(1000)
    }
    expect(await waiting).toBeUndefined()
    expect(told.map(([, problem]) => problem)).toEqual(["a", "cannot b", "c"])
    expect(told[0]?.[0]).toBe(3)
    expect(holds[0]).toBe(3000)
    expect(holds[1]).toBeGreaterThan(500_000)
  })

  test("stderr has it, and stdout the outcome alone", async () => {
    await using api = await nodeOf([503, "the lag is 9 ms"], [200])
    const io = new WaitIo()
    let passedMs = 0
    io.clock.monotonicMs = () => {
      passedMs += 2000
      return systemClock.monotonicMs() + passedMs
    }
    const { code, out, err } = await outcome(io, "--url", api.url, "--synced")
    expect({ code, err }).toEqual({ code: 0, err: "waiting: the lag is 9 ms\n" })
    expect(out).toMatch(/is in sync\n$/)
  })

  test("--timeout 0 looks once", async () => {
    await using api = await nodeOf([503, "no"])
    expect((await litefs("--url", api.url, "--primary", "--timeout", "0")).code).toBe(1)
    await using other = await nodeOf([200])
    expect(await litefs("--url", other.url, "--primary", "--timeout", "0")).toEqual(OK)
    expect([api.requests.length, other.requests.length]).toEqual([1, 1])
  })

  test("waits for a node that is not up yet", async () => {
    const port = await freePort()
    const io = new WaitIo()
    const waiting = outcome(io, "--url", `http://127.0.0.1:${port}`, "--synced")
    await io.clock.started(FIRST_PAUSE)
    await using _ = await FakeApi.start((response) => answer(response, 200, {}), port)
    expect(await waiting).toEqual(OK)
  })

  test("says once that it cannot, when nobody is there", async () => {
    const url = `http://127.0.0.1:${await freePort()}`
    const { code, err } = await litefs("--url", url, "--synced", "--timeout", "10ms")
    expect(code).toBe(1)
    expect(err).toStartWith(`ERROR: Cannot wait over 10ms: cannot reach LiteFS at ${url}: `)
  })

  test("gives up on a node that accepts connections and never answers", async () => {
    await using api = await FakeApi.start(() => {})
    const { code, err } = await litefs("--url", api.url, "--synced", "--timeout", "50ms")
    expect(code).toBe(1)
    expect(err).toBe(`ERROR: Cannot wait over 50ms: ${api.url} does not answer\n`)
  })

  test("says at once what no time will mend", async () => {
    await using other = await nodeOf([404])
    expect((await litefs("--url", other.url, "--synced")).code).toBe(1)
    await using strict = await FakeApi.start((response) => {
      response.writeHead(400)
      response.end("Cannot use pos=a.db=x: DB=TXID expected\n")
    })
    expect(await litefs("--url", strict.url, "--pos", "a.db=x")).toEqual({
      code: 2,
      out: "",
      err: "ERROR: Cannot use pos=a.db=x: DB=TXID expected\n",
    })
    expect([other.requests.length, strict.requests.length]).toEqual([1, 1])
  })

  test("--http waits until a server answers, whatever it says", async () => {
    await using broken = await FakeApi.start((response) => {
      response.writeHead(302, { Location: "http://127.0.0.1:1/" })
      response.end()
    })
    const { port } = new URL(broken.url)
    for (const address of [
      `:${port}`,
      `127.0.0.1:${port}`,
      `localhost:${port}`,
      `${broken.url}/x`,
    ]) {
      expect(await litefs("--http", address)).toEqual(OK)
    }
    expect(broken.requests.at(-1)?.url).toBe("/x")

    const free = await freePort()
    const io = new WaitIo()
    const waiting = outcome(io, "--http", `:${free}`)
    await io.clock.started(FIRST_PAUSE)
    await using _ = await FakeApi.start((response) => answer(response, 500, {}), free)
    expect(await waiting).toEqual(OK)
  })

  test("--http fails when nothing answers in time", async () => {
    const port = await freePort()
    expect(await litefs("--http", `:${port}`, "--timeout", "60ms")).toEqual({
      code: 1,
      out: "",
      err: `ERROR: Cannot wait over 60ms: nothing answers at http://127.0.0.1:${port}/\n`,
    })
  })

  test("node and server have the time together", async () => {
    await using api = await nodeOf([200])
    const port = await freePort()
    const args = ["--url", api.url, "--synced", "--http", `:${port}`, "--timeout", "60ms"]
    expect((await litefs(...args)).err).toContain("nothing answers")
    expect(api.requests).toHaveLength(1)
  })

  test.each([
    [[], "nothing to wait for"],
    [
      ["--pos", "a.db"],
      '--pos is "a.db", it should be DB=TXID, like "app.db=$(cat /litefs/app.db-pos)"',
    ],
    [["--db", "a.db", "--db", "b/c"], '--db is "b/c": it contains'],
    [["--pos", "=5"], "it should be DB=TXID"],
    [["--timeout", "5", "--synced"], '--timeout is "5", it should be a duration'],
    [["--timeout=-5s", "--synced"], "it should be a duration"],
    [["--http", "a b"], "it should be HOST:PORT, :PORT or a URL"],
    [["--http", ":99999"], "it should be HOST:PORT, :PORT or a URL"],
    [["--synced", "now"], '"now" is not a flag'],
    [["--synced", "--url", "ftp://x"], '--url is "ftp://x"'],
  ])("%p is wrong", async (args, problem) => {
    const { code, out, err } = await litefs(...args)
    expect({ code, out }).toEqual({ code: 2, out: "" })
    expect(err).toContain(problem)
  })
})
