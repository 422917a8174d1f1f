/** litefs info --watch, with nodes that tell what they should, and what they should not. */
import { expect, test } from "bun:test"
import { run } from "../../src/cli/main-command.ts"
import { widthOf } from "../../src/cli/terminal/screen.ts"
import { ClusterView } from "../../src/cli/watch/cluster-view.ts"
import { draw, drawLine } from "../../src/cli/watch/draw.ts"
import { FakeApi } from "../support/fake-api.ts"
import { FakeIo, WIDE } from "../support/fake-io.ts"
import { until } from "../support/until.ts"

const NODE = {
  ...{ id: "1", hostname: "one", version: "0.1.0", clusterId: "LFSC1", epoch: 1, role: "primary" },
  ...{ isReady: true, isConnected: true, startedMs: 0, mount: "/litefs", lagMs: 0 },
  ...{ transactions: 0, databases: 1, size: 4096, findings: [] as unknown[] },
}
const ROW = {
  ...{ name: "app.db", position: "0000000000000001/8000000000000000", size: 4096, pages: 1 },
  ...{ changedMs: 0, lagMs: 0, transactions: 0, bytes: 0, state: "here", problem: null },
}
const OTHER = {
  ...{ id: "2", hostname: "two", role: "replica", isThis: false, isConnected: true, url: null },
  ...{ sinceMs: 0, lagMs: null, transactions: 3, databases: 1, leftOut: [], leftOutCount: 0 },
}
const PICTURE = {
  wallMs: 60_000,
  node: NODE,
  nodes: [{ ...OTHER, hostname: "one", isThis: true, role: "primary" }, OTHER],
  rows: [ROW],
  matchingCount: 1,
  samples: [1, 2, 8].map((rate) => ({ wallMs: 0, rate, lagMs: 0, unsent: 0 })),
  events: [
    { id: 1, wallMs: 0, level: "info", msg: "mounted", fields: { dir: "/litefs" }, count: 1 },
  ],
}

function event(name: string, news: unknown): string {
  return `event: ${name}\ndata: ${JSON.stringify(news)}`
}

function viewOf(picture: unknown): ClusterView {
  const view = new ClusterView()
  view.take(event("picture", picture))
  return view
}

test("a picture, and what changes", () => {
  const view = viewOf(PICTURE)
  expect(draw(view, WIDE, undefined).join("\n")).toMatchInlineSnapshot(`
    "one  primary  up 1m  LiteFS 0.1.0  LFSC1  00:01:00Z
    ✓ all is well

    commits/s         8.0                                                           ▂▃█ max 8
    lag                0s                                                           ▁▁▁ max 0s
    not sent            0                                                           ▁▁▁ max 0

    NODE        ROLE     STATE          LAG  BEHIND  URL
    one (this)  primary  connected  unknown       3  -
    two         replica  connected        -       3  -

    DATABASE  POSITION                              SIZE  LAG  MISSING
    app.db    0000000000000001/8000000000000000  4.0 KiB   0s        0

    LATELY
    00:00:00Z  mounted dir=/litefs"
  `)
  view.take(event("change", { wallMs: 61_000, rows: [{ ...ROW, name: "b.db" }], gone: ["app.db"] }))
  expect([...view.rows.keys()]).toEqual(["b.db"])
  expect(drawLine(view, undefined)).toBe(
    "1970-01-01T00:01:01.000Z  one primary  lag 0s  0 missing  8.0 commits/s  1 database  1 replica  all is well",
  )
})

test("a replica that has lost its primary, and what that has told before", () => {
  const told = { ...OTHER, hostname: "three", asOfMs: 35_000 }
  const nodes = [
    { ...OTHER, role: "primary", isConnected: false, transactions: null },
    { ...OTHER, hostname: "one", isThis: true, lagMs: 25_000 },
    ...[told, { ...told, hostname: "four", isConnected: false }],
    { ...OTHER, hostname: "five", silentMs: 8000 },
  ]
  const node = { ...NODE, role: "replica", isConnected: false, knowsReplicas: false }
  const lines = draw(viewOf({ ...PICTURE, node, nodes }), WIDE, undefined)
  expect(lines.slice(7, 14).join("\n")).toMatchInlineSnapshot(`
    "NODE        ROLE     STATE              LAG  BEHIND  URL
    two         primary  away                 -       -  -
    one (this)  replica  not connected      25s       3  -
    three       replica  connected 25s ago    -       3  -
    four        replica  away 25s ago         -       3  -
    five        replica  silent 8s            -       3  -
    the primary does not tell of its other replicas"
  `)
})

test("the worst comes first, with what to run", () => {
  const findings = [
    {
      level: "bad",
      text: "The disk is full",
      cause: "no room",
      steps: [{ why: "See", command: "df -h" }],
    },
    { level: "note", text: "else" },
  ]
  const lines = draw(viewOf({ ...PICTURE, node: { ...NODE, findings } }), WIDE, undefined)
  expect(lines.slice(1, 4)).toEqual([
    "✗ The disk is full  (and 1 more)",
    "    no room",
    "    See: df -h",
  ])
  expect(draw(viewOf(PICTURE), WIDE, "Cannot reach it")[1]).toBe("✗ trying again: Cannot reach it")
})

test.each([
  [1, 1],
  [10, 3],
  [20, 5],
  [40, 10],
  [200, 50],
])("fits into %d x %d, with many databases of long names", (columns, rows) => {
  const many = Array.from({ length: 200 }, (_, index) => ({
    ...ROW,
    name: `${index}-${"日".repeat(80)}`,
  }))
  const view = viewOf({ ...PICTURE, rows: many, matchingCount: 5000 })
  for (const hasColors of [false, true]) {
    const lines = draw(view, { ...WIDE, columns, rows, hasColors }, undefined)
    expect(lines.length).toBeLessThanOrEqual(rows)
    for (const line of lines) expect(widthOf(line)).toBeLessThanOrEqual(columns)
  }
})

test("what another says does not command the terminal", () => {
  const evil = "a\x1b[2J\x07\nb\u202e"
  const picture = {
    ...PICTURE,
    node: {
      ...NODE,
      hostname: evil,
      version: evil,
      findings: [{ level: "bad", text: evil, cause: evil, steps: [{ why: evil, command: evil }] }],
    },
    nodes: [{ ...OTHER, hostname: evil, url: evil }],
    rows: [{ ...ROW, name: evil, position: evil }],
    events: [{ ...PICTURE.events[0], msg: evil, fields: { a: evil } }],
  }
  const view = viewOf(picture)
  const text = [
    ...draw(view, WIDE, evil),
    ...draw(view, WIDE, undefined),
    drawLine(view, undefined),
  ].join("")
  expect(text).not.toMatch(/\p{Cc}|\u202e/u)
})

test("what is not of a node is an error", () => {
  expect(() => new ClusterView().take("event: picture\ndata: {")).toThrow("Cannot understand")
  expect(() => new ClusterView().take(event("picture", {}))).toThrow("Cannot understand")
})

test("a node that is not there, or refuses, ends it", async () => {
  const io = new FakeIo()
  expect(await run(["info", "--watch", "--url", "http://127.0.0.1:1"], io)).toBe(1)
  expect(io.err).toContain("Cannot reach LiteFS at http://127.0.0.1:1")
  await using api = await FakeApi.start((response) => {
    response.statusCode = 404
    response.end("404 page not found\n")
  })
  expect(await run(["info", "--watch", "--url", api.url], io)).toBe(1)
  expect(io.err).toContain("404 page not found")
  expect(await run(["info", "--watch", "--json"], io)).toBe(2)
})

test("draws on a screen of its own, says when the node is away, and gives the screen back", async () => {
  const io = new FakeIo()
  io.screens[1] = WIDE
  await using api = await FakeApi.start((response) => {
    response.writeHead(200, { "Content-Type": "text/event-stream" })
    response.end(`${event("picture", PICTURE)}\n\n`)
  })
  const code = run(["info", "--watch", "--url", api.url], io)
  await until("it says so", () => io.out.includes("✗ trying again: "))
  expect(io.out).toStartWith("\x1b[?1049h\x1b[?25l\x1b[Hone  primary")
  io.events.signal("SIGINT", true)
  expect(await code).toBe(0)
  expect(io.out).toEndWith("\x1b[?25h\x1b[?1049l")
})

test("prints lines where there is no terminal, and ends with the code of its signal", async () => {
  const io = new FakeIo()
  await using api = await FakeApi.start((response) => {
    response.writeHead(200, { "Content-Type": "text/event-stream" })
    response.write(`${event("picture", PICTURE)}\n\n${event("change", { wallMs: 61_000 })}\n\n`)
  })
  const code = run(["info", "--watch", "--url", api.url], io)
  await until("a line is there", () => io.out.includes("all is well"))
  io.events.signal("SIGTERM")
  expect(await code).toBe(143)
  expect(io.out).toBe(
    "1970-01-01T00:01:00.000Z  one primary  lag 0s  0 missing  8.0 commits/s  1 database  1 replica  all is well\n",
  )
})
