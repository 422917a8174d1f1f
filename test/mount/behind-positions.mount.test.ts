/** `--capture behind`: whoever asks for a position hears of one that has everything which clients have committed. */
import { expect } from "bun:test"
import { LongClient } from "../support/long-client.ts"
import { passingTest as test } from "../support/mount-test.ts"
import { Scope, type TestNode } from "../support/node.ts"
import { type Site, site, writeThenRead } from "../support/proxied-site.ts"
import { Random } from "../support/random.ts"

const BEHIND = ["--capture", "behind"]

async function txid(node: TestNode): Promise<number> {
  const { databases } = (await (await fetch(`${node.url}/info`)).json()) as {
    databases: readonly { position: string }[]
  }
  return Number.parseInt(databases[0]?.position ?? "0", 16)
}

async function walWrites(node: TestNode): Promise<number> {
  const text = await (await fetch(`${node.url}/metrics`)).text()
  return Number(/litefs_db_wal_write_count\{db="app.db"\} (\d+)/.exec(text)?.[1] ?? 0)
}

test("/info has a commit as soon as its client knows of it", async () => {
  await using scope = new Scope()
  const node = await scope.node({ flags: BEHIND })
  const client = new LongClient(scope, node, "a.db")
  await client.exec("pragma journal_mode = wal; pragma synchronous = normal; create table a(x)")
  let before = await txid(node)
  for (let n = 0; n < 300; n++) {
    await client.exec("insert into a values(1)")
    const now = await txid(node)
    expect(now).toBeGreaterThan(before)
    before = now
  }
})

test("1,000 pairs of a write through a proxy and a read through any other find what was written", async () => {
  await using scope = new Scope()
  const primary: Site = await site(scope, undefined, BEHIND)
  const sites = [primary, await site(scope, primary), await site(scope, primary)]
  expect(await writeThenRead(sites, new Random(15), 1000)).toEqual([])
  expect(await walWrites(primary.node)).toBeLessThan(100) // the application's commits passed
}, 120_000)
