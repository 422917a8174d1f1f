/** A handoff leaves a primary that others reach; and nodes that are started at the same moment can hand over. */
import { expect } from "bun:test"
import { existsSync } from "node:fs"
import { join } from "node:path"
import { caughtUp, sqlite3 } from "../support/client.ts"
import { test } from "../support/mount-test.ts"
import { freePort, Scope, type TestNode } from "../support/node.ts"
import { becomes, infoOf } from "../support/node-api.ts"
import { rounds } from "../support/random.ts"

const STAYS = "--no-handoff-on-exit"

async function promote(node: TestNode, query = ""): Promise<string> {
  const signal = AbortSignal.timeout(20_000)
  const response = await fetch(`${node.url}/promote${query}`, { method: "POST", signal })
  return `${response.status} ${await response.text()}`
}

test("a primary and a replica that are started at once with empty directories are of one cluster, again and again", async () => {
  for (let round = 0; round < rounds(4, 10); round++) {
    await using scope = new Scope()
    const [port, other] = [await freePort(), await freePort()]
    const [url, otherUrl] = [port, other].map((each) => `http://127.0.0.1:${each}`) as [
      string,
      string,
    ]
    const flags = ["--candidate", "--peer", url]
    const replica = await scope.spawn({ port: other, follows: { url }, flags })
    // The primary asks its peer while it starts, and the replica connects meanwhile.
    const primary = await scope.spawn({ port, flags: [STAYS, "--peer", otherUrl] })
    await Promise.all([replica, primary].map((node) => node.logged(/msg=mounted/)))
    sqlite3(primary, "a.db", "create table t(x)")
    await caughtUp(primary, replica, "a.db")
    expect([round, existsSync(join(replica.data, "clusterid"))]).toEqual([round, true])
    expect((await infoOf(replica)).clusterID).toBe((await infoOf(primary)).clusterID as string)
    expect(await promote(replica)).toBe("200 ")
  }
}, 120_000)

test("a primary hands over to no candidate that it cannot reach, neither when asked nor when it stops, but to another", async () => {
  await using scope = new Scope()
  const primary = await scope.node({ flags: ["--log-level", "info"] })
  sqlite3(primary, "a.db", "create table t(x)")
  const URLS = [
    [primary.url.replace("127.0.0.1", "localhost"), "the primary itself answers there"],
    ["http://127.0.0.1:1", "listens at 127.0.0.1:1 (ECONNREFUSED)"],
    ["http://nowhere.invalid:20202", ""], // as long as no name server answers, that is not known
  ] as const
  const hidden: TestNode[] = []
  for (const [url, why] of URLS) {
    const flags = ["--candidate", "--advertise-url", url]
    const node = await scope.node({ follows: primary, flags })
    hidden.push(node)
    await caughtUp(primary, node, "a.db")
    const problem = `Cannot hand over to node-${node.port}: it cannot be reached at ${url} (`
    const answer = await promote(node)
    expect(answer).toStartWith(`503 ${problem}`)
    expect(answer).toContain(why)
    expect(answer).toContain("), give it --http-addr and --advertise-url that other nodes reach\n")
    await node.logged(/level=warn .*cannot become the primary.*Cannot hand over to/)
    await primary.logged(/level=warn .*cannot hand the role of primary over.*cannot be reached/)
    expect((await infoOf(primary)).isPrimary).toBe(true)
    sqlite3(primary, "a.db", "insert into t values (1)")
  }
  const good = await scope.node({ follows: primary, flags: ["--candidate", STAYS] })
  for (const node of [good, ...hidden]) await caughtUp(primary, node, "a.db")
  await primary.stop()
  await becomes(good, "primary")
  expect(sqlite3(good, "a.db", "insert into t values (1); select count(*) from t").trim()).toBe("4")
  await good.stop("SIGKILL")
  const [first] = hidden as [TestNode]
  expect(await promote(first, "?force=true")).toMatch(
    /^200 This node is the primary from here on.*\nOther nodes may not be able to follow it: it cannot be reached at /s,
  )
  await first.logged(/level=warn .*other nodes may not be able to reach this node/)
}, 60_000)

test("a candidate on a loopback address warns when its primary is elsewhere", async () => {
  await using scope = new Scope()
  const flags = ["--candidate", "--skip-sync"]
  const hidden = await scope.node({ follows: { url: "http://192.0.2.1:20202" }, flags })
  await hidden.logged(
    /level=warn .*this candidate cannot become the primary.*a loopback address leads every machine to itself.*give it --http-addr/,
  )
  const beside = await scope.node({ follows: hidden, flags })
  await Bun.sleep(300)
  expect(beside.output).not.toContain("cannot become the primary")
})
