import { describe, expect, test } from "bun:test"
import { run } from "../../src/cli/main-command.ts"
import { infoReport } from "../../src/cli/node/info-report.ts"
import type { NodeInfo } from "../../src/http/status/info.ts"
import { FakeApi } from "../support/fake-api.ts"
import { FakeIo } from "../support/fake-io.ts"
import { TemporaryDirectory } from "../support/temporary-directory.ts"

const START_MS = Date.parse("2026-11-23T10:00:00.000Z")

const PRIMARY: NodeInfo = {
  clusterID: "LFSC0000000000000001",
  isPrimary: true,
  candidate: true,
  path: "/var/lib/litefs",
  primary: { hostname: "one", advertiseURL: "http://one:20202" },
  id: "00000000000000AB",
  hostname: "one",
  version: "9.8.7",
  mount: "/litefs",
  role: "primary",
  isReady: true,
  isConnected: true,
  startedAt: "2026-11-23T08:57:30.400Z",
  lag: { ms: 0, transactions: 0, bytes: 0 },
  databases: [
    {
      name: "app.db",
      position: "000000000000abcd/fedcba9876543210",
      pageSize: 4096,
      pageCount: 3000,
      size: 12_288_000,
      journalMode: "wal",
      timestamp: "2026-11-23T09:59:58.209Z",
      lag: { ms: 0, transactions: 0, bytes: 0 },
      state: "here",
    },
    {
      name: "old.db",
      position: "0000000000000002/8000000000000000",
      pageSize: 512,
      pageCount: 0,
      size: 0,
      journalMode: null,
      timestamp: null,
      lag: { ms: 0, transactions: 0, bytes: 0 },
      state: "here",
    },
  ],
  replicas: [
    {
      id: "00000000000000CD",
      hostname: "two",
      connectedAt: "2026-11-23T09:59:00.000Z",
      lag: { transactions: 12 },
      databases: [{ name: "app.db", position: "000000000000abcc/fedcba9876543210" }],
      leftOut: [],
    },
  ],
}

async function litefs(...args: string[]) {
  const io = new FakeIo()
  io.clock.advance(START_MS)
  const code = await run(["info", ...args], io)
  return { code, out: io.out, err: io.err }
}

async function infoOf(info: object, ...args: string[]) {
  await using api = await FakeApi.start((response) => response.end(JSON.stringify(info)))
  const result = await litefs("--url", api.url, ...args)
  expect(api.requests).toMatchObject([{ method: "GET", url: "/info" }])
  return result
}

describe("litefs info", () => {
  test("shows a primary, its databases and its replicas", async () => {
    const { code, out, err } = await infoOf(PRIMARY)
    expect({ code, err }).toEqual({ code: 0, err: "" })
    expect(out).toMatchInlineSnapshot(`
      "node     one, LiteFS 9.8.7, up 1h2m29s
      role     primary
      state    ready
      mount    /litefs
      data     /var/lib/litefs
      cluster  LFSC0000000000000001

      DATABASE  POSITION                           JOURNAL  PAGES  PAGE SIZE      SIZE  CHANGED
      app.db    000000000000abcd/fedcba9876543210  wal       3000       4096  11.7 MiB  2026-11-23T09:59:58.209Z
      old.db    0000000000000002/8000000000000000  dropped      0        512       0 B  never

      REPLICA  ID                CONNECTED  DATABASES  NOT SENT
      two      00000000000000CD         1m          1        12
      "
    `)
  })

  test("says which replica is silent: it may lack what it was sent", async () => {
    const [two] = PRIMARY.replicas
    const { out } = await infoOf({ ...PRIMARY, replicas: [{ ...two, silentMs: 8210 }] })
    expect(out).toEndWith("12\nsilent: two, for 8.21s: what it was sent may not be there\n")
  })

  test("does not say that nothing is missing before a primary has told", async () => {
    const [app] = PRIMARY.databases
    const lag = { ms: null, transactions: 0, bytes: 0 }
    const replica = { ...PRIMARY, isPrimary: false, role: "replica", replicas: [] }
    const { out } = await infoOf({ ...replica, isConnected: false, databases: [{ ...app, lag }] })
    expect(out).toMatch(/LAG +MISSING\napp\.db .* unknown +unknown\n/)
  })

  test("a file that nobody has written to is empty, and was not dropped", async () => {
    const [app, old] = PRIMARY.databases
    const position = "0000000000000000/0000000000000000"
    const { out } = await infoOf({ ...PRIMARY, databases: [app, { ...old, position }] })
    expect(out).toMatch(/^old\.db +0{16}\/0{16} +empty /m)
    expect(out).not.toContain("dropped")
  })

  test("shows a replica, and how far it is behind", async () => {
    const lag = { ms: 204.4, transactions: 1, bytes: 300 }
    const [app] = PRIMARY.databases
    const { out } = await infoOf({
      ...PRIMARY,
      isPrimary: false,
      role: "replica",
      hostname: "two",
      lag,
      databases: [{ ...app, lag }],
      replicas: [],
    })
    expect(out).toMatchInlineSnapshot(`
      "node     two, LiteFS 9.8.7, up 1h2m29s
      role     replica of one at http://one:20202
      state    ready, lag 204ms, 1 transaction missing
      mount    /litefs
      data     /var/lib/litefs
      cluster  LFSC0000000000000001

      DATABASE  POSITION                           JOURNAL  PAGES  PAGE SIZE      SIZE  CHANGED                     LAG  MISSING
      app.db    000000000000abcd/fedcba9876543210  wal       3000       4096  11.7 MiB  2026-11-23T09:59:58.209Z  204ms        1
      "
    `)
  })

  test("shows the lease in a store", async () => {
    const store = {
      type: "etcd",
      store: "etcd://a/app",
      isHeld: true,
      leftMs: 6500,
      holder: "one",
      epoch: 3,
    }
    const held = await infoOf({ ...PRIMARY, leaseStore: store })
    expect(held.out).toContain("lease    held by this node, epoch 3, 6.5s left, in etcd://a/app\n")
    const leaseStore = { ...store, isHeld: false, leftMs: 0, holder: null, epoch: null }
    const lapsed = await infoOf({ ...PRIMARY, isPrimary: false, leaseStore })
    expect(lapsed.out).toContain("role     primary, takes no writes: it does not hold the lease\n")
    expect(lapsed.out).toContain("lease    held by nobody that is known, in etcd://a/app\n")
  })

  test("says of a database that only this replica has that it is not on the primary", async () => {
    const databases = PRIMARY.databases.map((each) => ({ ...each, notOnPrimary: true as const }))
    const { out } = await infoOf({ ...PRIMARY, isPrimary: false, role: "replica", databases })
    expect(out).toMatch(/^app\.db .* not on the primary +-$/m)
  })

  test("shows that histories are kept", async () => {
    expect((await infoOf({ ...PRIMARY, divergedCount: 2 })).out).toContain(
      "kept     2 histories that the primary does not have: litefs diverged list\n",
    )
    expect((await infoOf(PRIMARY)).out).not.toContain("kept")
  })

  test("shows a replica that has not found its primary", async () => {
    const { out } = await infoOf({
      ...PRIMARY,
      isPrimary: false,
      isReady: false,
      isConnected: false,
      primary: { hostname: "", advertiseURL: "http://one:20202" },
      lag: { ms: null, transactions: 0, bytes: 0 },
      databases: [],
      replicas: [],
    })
    expect(out).toContain("role     replica, not connected to the primary at http://one:20202\n")
    expect(out).toContain("state    not in sync with the primary yet\n")
    const primary = { id: "00000000000000CD", hostname: "two", url: "http://two:20202" }
    const waiting = { ...PRIMARY, isPrimary: false, isReady: false, isConnected: false }
    const stuck = await infoOf({ ...waiting, role: "replica", lease: { epoch: 2, primary } })
    expect(stuck.out).toMatch(/^state .* yet; if "two" is gone for good: litefs promote --force$/m)
  })

  test.each([
    [
      "the primary at http://one:20202 has sent what it should not: bad checksum",
      "replica of the primary at http://one:20202, which has sent what it should not",
    ],
    [
      "cannot take what the primary sends: no space left on device",
      "replica of the primary at http://one:20202, cannot take what it sends",
    ],
    [
      "not connected to the primary: the port is closed",
      "replica, not connected to the primary at http://one:20202",
    ],
  ])("says between two connections what the problem is: %s", async (problem, role) => {
    const lastProblem = { problem, since: "2026-11-23T09:00:00.000Z" }
    const of = (more: object) =>
      infoOf({
        ...{ ...PRIMARY, isPrimary: false, isConnected: false, replicas: [] },
        primary: { hostname: "", advertiseURL: "http://one:20202" },
        ...{ lastProblem: { ...lastProblem, ...more } },
      })
    expect((await of({})).out).toContain(`role     ${role}\n`)
    const ended = (await of({ until: "2026-11-23T09:01:00.000Z" })).out
    expect(ended).toContain("role     replica, not connected to the primary at http://one:20202\n")
    expect(ended).toContain(`earlier  ${problem} (from `)
  })

  test("--json prints what the node says, byte for byte", async () => {
    const text = '{\n  "isPrimary": true,\n  "new": "\\u003c"\n}\n'
    await using api = await FakeApi.start((response) => response.end(text))
    expect(await litefs("--url", api.url, "--json")).toEqual({ code: 0, out: text, err: "" })
  })

  test("fails when there is no node, or something else that answers", async () => {
    expect(await litefs("--url", "http://127.0.0.1:1")).toMatchObject({
      code: 1,
      out: "",
      err: expect.stringMatching(/^ERROR: Cannot reach LiteFS at http:\/\/127.0.0.1:1: .+\n$/),
    })
    expect(await infoOf({ clusterID: "LFSC" })).toMatchObject({
      code: 1,
      err: expect.stringContaining("its /info is not that of this version"),
    })
  })

  test("shows the control characters of names, and does not send them to the terminal", async () => {
    const [database] = PRIMARY.databases as [NodeInfo["databases"][number]]
    const databases = [{ ...database, name: "\x1b[2J\x9b1A\x7f", position: "a\nb" }]
    const { out } = await infoOf({ ...PRIMARY, hostname: "\x1b]0;x\x07", databases })
    expect(out).not.toMatch(/[^\P{Cc}\n]/u)
    expect(out).toContain("\\u001b]0;x\\u0007")
    expect(out).toContain("\\u001b[2J\\u009b1A\\u007f  a\\nb")
  })

  test("a stray word is an error", async () => {
    expect(await litefs("a.db")).toMatchObject({ code: 2, out: "" })
  })
})

describe("every command that calls a node", () => {
  test.each([
    ["info", []],
    ["wait", ["--synced"]],
    ["promote", []],
    ["import", ["--name", "a.db", import.meta.path]],
    ["export", ["--name", "a.db", "-"]],
  ])("finds it in the file of --config: %s", async (name, words) => {
    await using api = await FakeApi.start((response) => response.writeHead(400).end("no\n"))
    using directory = new TemporaryDirectory()
    const path = directory.write("l.yml", `http: {addr: ":${new URL(api.url).port}"}\n`)
    const io = new FakeIo()
    expect(await run([name, "--config", path, ...words], io)).not.toBe(0)
    expect(io.err).toContain("no")
    expect(api.requests.length).toBeGreaterThan(0)

    const missing = new FakeIo()
    expect(await run([name, "--config", "/no/such.yml", ...words], missing)).toBe(1)
    expect(missing.err).toContain(`Cannot run litefs ${name}: --config is "/no/such.yml"`)
  })
})

test("litefs info says of ten left-out databases why, and of the others how many", () => {
  const [database] = PRIMARY.databases as [NodeInfo["databases"][number]]
  const databases = Array.from({ length: 50 }, (_, index) => {
    return { ...database, name: `${index}.db`, state: "left-out" as const, problem: "it is a pipe" }
  })
  const report = infoReport({ ...PRIMARY, databases }, START_MS)
  const lines = report.split("\n").filter((line) => line.startsWith("left out: "))
  expect(lines).toHaveLength(11)
  expect(lines.at(-1)).toBe("left out: 40 more, --json says why")
  for (const { name } of databases) expect(report).toMatch(RegExp(`^${name} `, "m"))
})
