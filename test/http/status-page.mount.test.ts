/**
 * The status page of real nodes in a real browser. With LITEFS_SHOTS=DIR it leaves pictures there, for somebody to look
 * at.
 */
import { test as anyTest, expect } from "bun:test"
import { mkdirSync } from "node:fs"
import { join } from "node:path"
import type { ReplicaStream } from "../../src/http/streams/replica-stream.ts"
import { Browser, hasChromium } from "../support/browser.ts"
import { caughtUp, sqlite3 } from "../support/client.ts"
import { diverge } from "../support/diverge.ts"
import { canMount, Scope, type TestNode } from "../support/node.ts"
import { becomes, infoOf } from "../support/node-api.ts"
import { PageNode, TOKEN } from "../support/page-node.ts"
import { posOf } from "../support/status-node.ts"

const test = anyTest.skipIf(!canMount || !hasChromium)
const LIMIT_MS = 240_000
const HOSTILE = "<img src=x onerror=alert(1)>.db"

/** A picture of a small screen, on which nothing is cut off; in all looks when somebody is to look at them. */
async function shots(scope: Scope, browser: Browser, name: string): Promise<void> {
  const { LITEFS_SHOTS } = process.env
  const directory = LITEFS_SHOTS ?? join(scope.directory, "shots")
  mkdirSync(directory, { recursive: true })
  for (const scheme of LITEFS_SHOTS === undefined ? [] : (["light", "dark"] as const)) {
    await browser.shot(join(directory, `${name}-${scheme}.png`), { scheme })
  }
  const narrow = { width: 380, height: 760 }
  await browser.shot(join(directory, `${name}-narrow.png`), narrow)
  const widths = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
  expect(await browser.evaluate(widths)).toEqual([380, 380])
  await browser.shot(join(directory, `${name}-light.png`))
}

function write(node: TestNode, database: string, rows: number): void {
  sqlite3(
    node,
    database,
    `pragma journal_mode = wal; create table if not exists t(x); insert into t select randomblob(900) from generate_series(1, ${rows})`,
  )
}

test(
  "the status page shows three nodes to who has the token, and a handoff as it happens",
  async () => {
    await using scope = new Scope()
    const access = ["--auth-token", TOKEN, "--candidate"]
    const primary = await scope.node({ flags: access })
    write(primary, "app.db", 2000)
    write(primary, "sessions.db", 20)
    sqlite3(primary, HOSTILE, "create table t(x)")
    const [first, second] = [
      await scope.node({ follows: primary, flags: access }),
      await scope.node({ follows: primary, flags: access }),
    ]
    for (const node of [first, second]) await caughtUp(primary, node, "app.db")

    const browser = await Browser.open(scope)
    await browser.open(primary.url)
    await browser.see("body", /^LiteFS\s+This node asks for its token/)
    expect(await browser.evaluate("document.body.innerText")).not.toContain("node-")
    await shots(scope, browser, "question")
    await browser.fill("#token", "another")
    await browser.press("#token", "Enter")
    await browser.see("#refusal", /another token/)
    expect(await browser.problems()).toEqual(unauthorized(2))

    await browser.fill("#token", TOKEN)
    await browser.press("#token", "Enter")
    await browser.see("#words", /All is well: this node is the primary, and its 2 replicas follow/)
    expect(await browser.count("#nodes > li")).toBe(3)
    expect((await browser.texts("td.name")).toSorted()).toEqual(
      [HOSTILE, "app.db", "sessions.db"].toSorted(),
    )
    const writer = setInterval(() => write(primary, "app.db", 3), 300)
    scope.defer(() => clearInterval(writer))
    await browser.see("#plot-rate .now", /[1-9]/)
    await Bun.sleep(process.env.LITEFS_SHOTS === undefined ? 0 : 40_000)
    await shots(scope, browser, "primary")
    await browser.fill("#filter", "SESS")
    await browser.see("#count", /^1 of 3$/)
    expect(await browser.texts("td.name")).toEqual(["sessions.db"])
    await browser.fill("#filter", "")
    await browser.see("#count", /^3, /)

    // From a replica, while the role moves to it.
    const other = await Browser.open(scope)
    await other.open(first.url)
    await other.fill("#token", TOKEN)
    await other.press("#token", "Enter")
    await other.see("#words", /All is well: this replica has everything that its primary/)
    // The primary tells it of the third one.
    await other.see("#nodes", everyNode(3))
    await shots(scope, other, "replica")
    clearInterval(writer)
    const promoted = await fetch(`${first.url}/promote`, {
      method: "POST",
      headers: { Authorization: `Bearer ${TOKEN}` },
    })
    expect(promoted.status).toBe(200)
    await other.see("#words", /All is well: this node is the primary, and its 2 replicas follow/)
    await other.see("#events", /this node is the primary/)
    await browser.see("#words", /All is well: this replica has everything that its primary/)
    await browser.see("#events", /handed the role of primary over/)
    await browser.see("#nodes", everyNode(3))
    await shots(scope, browser, "handed-over")

    // A node that goes, and one that cannot be reached.
    await second.stop()
    await other.see("#words", /The replica "node-\d+" is no longer connected/)
    await shots(scope, other, "away")
    const away = /The replica "node-\d+" is no longer connected to the primary/
    await browser.see("#words", away)
    await shots(scope, browser, "away-from-replica")
    await first.stop("SIGKILL")
    await other.see("#words", /"node-\d+" does not answer/)
    await browser.see("#words", /not connected to its primary/)
    await browser.see("#nodes", /was not connected\s+as the primary said \d+ s ago/)
    await shots(scope, browser, "lost")
    const again = await scope.again(first, { follows: primary, flags: access })
    await other.see("#role", /primary|replica/)
    await other.see("#live", /^live$/)
    expect(again.isRunning).toBe(true)
    expect((await browser.problems()).filter(isDefect)).toEqual([])
    expect((await other.problems()).filter(isDefect)).toEqual([])
  },
  LIMIT_MS,
)

test(
  "the status page shows a replica that lags, and one that has diverged",
  async () => {
    await using scope = new Scope()
    const { primary, replica } = await diverge(scope, {
      setup: "create table t(x)",
      ours: "insert into t values(1)",
      theirs: "insert into t values(2); insert into t values(3)",
    })
    const leading = await scope.again(primary)
    const following = await scope.again(replica, { follows: leading })
    await caughtUp(leading, following, "a.db")
    const browser = await Browser.open(scope)
    await browser.open(following.url)
    await browser.see("#words", /All is well: this replica has everything/)
    await browser.see("#others", /has kept a history that the primary does not have/)
    await browser.see("#events", /diverged from the primary/)
    await shots(scope, browser, "diverged")

    leading.signal("SIGSTOP")
    scope.defer(() => leading.signal("SIGCONT"))
    await browser.see("#words", /behind its primary|not connected/)
    await Bun.sleep(process.env.LITEFS_SHOTS === undefined ? 0 : 15_000)
    await shots(scope, browser, "lagging")
    leading.signal("SIGCONT")
    await browser.see("#words", /All is well/)
    expect((await infoOf(following)).isConnected).toBe(true)
    await becomes(following, "replica")
    expect((await browser.problems()).filter(isDefect)).toEqual([])
  },
  LIMIT_MS,
)

test(
  "the status page has room for many databases, and for names that somebody made up",
  async () => {
    await using scope = new Scope()
    await using served = await PageNode.start()
    const { node } = served
    for (let number = 1; number <= 10_000; number++) {
      const state = { pos: posOf(number), timestampMs: node.nowMs, pageSize: 4096, commit: number }
      node.positions.write(node.positions.add(`tenant-${number}.db`), state, posOf(number))
    }
    node.api.status.markReady()
    const markup = "<svg onload=alert(1)>"
    node.remarked.set(markup, { isArriving: false, problem: "<script>alert(2)</script>" })
    const url = "javascript:alert(3)"
    const replica = { id: "00000000000000CD", name: markup, connectedMs: node.nowMs, url }
    const stream = { replica, leftOut: new Set([markup]), sent: new Map(), isWanted: () => false }
    node.streams.add(stream as unknown as ReplicaStream)
    const browser = await Browser.open(scope)
    await browser.open(served.url)
    await browser.fill("#token", TOKEN)
    await browser.press("#token", "Enter")
    await browser.see("#count", /^200 of 10,001: those with a problem/)
    expect((await browser.texts("td.name")).slice(0, 2)).toEqual([markup, "tenant-10000.db"])
    expect(await browser.texts("td.state .why")).toEqual(["<script>alert(2)</script>"])
    await browser.see("#words", /1 database is left out: "<svg onload=alert\(1\)>"/)
    expect(await browser.count("#nodes a, script:not(:last-child), svg[onload]")).toBe(0)
    await shots(scope, browser, "many")
    expect(await browser.count("#rows > tr")).toBe(25)
    await browser.press("#all", "Enter")
    await browser.see("td.name", /tenant-9802\.db/)
    expect(await browser.count("#rows > tr")).toBe(200)
    await browser.fill("#filter", "tenant-77")
    await browser.see("#count", /^111 of 10,001$/)
    expect(await browser.count("#rows > tr")).toBe(111)
    await browser.fill("#filter", "nobody")
    await browser.see("#none", /No database has this in its name/)
    expect((await browser.problems()).filter(isDefect)).toEqual([])
  },
  LIMIT_MS,
)

/** The nodes when so many are there, and well. */
function everyNode(count: number): RegExp {
  const well = String.raw`(?:(?<!not )connected|takes writes|has everything|\d+ transactions? missing)`
  return new RegExp(`^${String.raw`[\s\S]*?node-\d+[\s\S]*?${well}`.repeat(count)}`)
}

function unauthorized(count: number): string[] {
  const said = "Failed to load resource: the server responded with a status of 401 (Unauthorized)"
  return Array.from({ length: count }, () => said)
}

/** A browser logs what it cannot load. */
function isDefect(problem: string): boolean {
  return !/^Failed to load resource: /.test(problem)
}
