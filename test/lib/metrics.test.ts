import { expect, test } from "bun:test"
import { Histogram } from "../../src/lib/histogram.ts"
import { formatMetrics, type MetricFamily, single } from "../../src/lib/metrics.ts"
import { Turns } from "../../src/lib/turns.ts"
import { FakeClock } from "../support/fake-clock.ts"

function textOf(families: readonly MetricFamily[]): Promise<string> {
  return formatMetrics(families, new Turns(new FakeClock()))
}

test("formatMetrics writes help, type and samples of each family", async () => {
  const text = await textOf([
    single("gauge", "up", "Whether it is up.", () => 1),
    {
      name: "requests",
      type: "counter",
      help: "Requests.",
      samples: () => [
        { labels: { op: "read", db: "a.db" }, value: 2 ** 53 },
        { labels: { op: "write" }, value: 0.5 },
      ],
    },
  ])
  expect(text).toBe(`# HELP up Whether it is up.
# TYPE up gauge
up 1
# HELP requests Requests.
# TYPE requests counter
requests{op="read",db="a.db"} 9007199254740992
requests{op="write"} 0.5
`)
})

test("formatMetrics escapes what a database may be called", async () => {
  const samples = () => [{ labels: { db: 'a"b\\c\nd.db' }, value: 1 }]
  const text = await textOf([{ name: "x", type: "gauge", help: "one\\two\nthree", samples }])
  expect(text).toBe('# HELP x one\\\\two\\nthree\n# TYPE x gauge\nx{db="a\\"b\\\\c\\nd.db"} 1\n')
})

test("formatMetrics writes numbers as Prometheus reads them, and no family without a sample", async () => {
  const values = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN, 1e-7, -3]
  const family = { name: "x", type: "gauge", help: "X." } as const
  const none = single("gauge", "y", "Y.", () => undefined)
  const text = await textOf([
    { ...family, samples: () => values.map((value) => ({ value })) },
    none,
  ])
  expect(text.split("\n").slice(2)).toEqual(["x +Inf", "x -Inf", "x NaN", "x 1e-7", "x -3", ""])
})

test("formatMetrics lets others have their turns", async () => {
  const clock = new FakeClock()
  let turnCount = 0
  const samples = () => {
    return Array.from({ length: 9 }, (_, value) => ({
      get value() {
        clock.advance(1)
        return value
      },
    }))
  }
  const turns = new Turns(clock)
  turns.next = async () => {
    turnCount += 1
    turns.begin()
  }
  await formatMetrics([{ name: "x", type: "gauge", help: "X.", samples }], turns)
  expect(turnCount).toBe(1)
})

test("Histogram counts each duration in its bucket and all above", () => {
  const histogram = new Histogram()
  for (const ms of [0, 0.1, 0.2, 3, 10_000, 60_000]) histogram.observe(ms)
  const samples = [...histogram.samples()]
  const bucket = (le: string) =>
    samples.find(({ suffix, labels }) => suffix === "_bucket" && labels?.le === le)?.value
  expect(bucket("0.0001")).toBe(2) // a bound is part of its bucket
  expect(bucket("0.00025")).toBe(3)
  expect(bucket("0.0025")).toBe(3)
  expect(bucket("0.005")).toBe(4)
  expect(bucket("10")).toBe(5)
  expect(bucket("+Inf")).toBe(6)
  const [sum, count] = samples.slice(-2)
  expect(count).toEqual({ suffix: "_count", value: 6 })
  expect(sum?.value).toBeCloseTo(70.0033)
})
