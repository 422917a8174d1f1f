/** A new version of an application comes to three nodes, one after the other, while clients use it. */
import { expect } from "bun:test"
import { join } from "node:path"
import { sqlite3 } from "../support/client.ts"
import { test } from "../support/mount-test.ts"
import { freePort, PROGRAM, Scope, type TestNode } from "../support/node.ts"
import { infoOf } from "../support/node-api.ts"
import { APP } from "../support/proxied-site.ts"
import { ProxyLoad } from "../support/proxy-load.ts"
import { testRandom } from "../support/random.ts"

const random = testRandom()
const MIGRATION = join(import.meta.dir, "../support/proxy-migration.mjs")

interface Deployed {
  readonly node: TestNode
  readonly url: string
  readonly proxyPort: number
}

/** As a container's entry point does it: the new version first makes its node the primary, and migrates there. */
async function deploy(
  scope: Scope,
  version: 1 | 2,
  { before, follows }: { before?: Deployed; follows?: Deployed } = {},
): Promise<Deployed> {
  const proxyPort = before?.proxyPort ?? (await freePort())
  const appPort = await freePort()
  const migration = [...PROGRAM, "run", "--promote", "--", "node", MIGRATION].join(" ")
  const node = await scope.spawn({
    ...(before && { directory: before.node.directory, port: before.node.port }),
    ...(follows && { follows: follows.node }),
    flags: [
      ...["--candidate", "--proxy-addr", `127.0.0.1:${proxyPort}`],
      ...["--proxy-target", `:${appPort}`, "--proxy-db", "app.db"],
      ...["--proxy-primary-redirect-timeout", "40s"], // for a machine that has much else to do
      ...(version === 2 ? ["--exec", migration] : []),
    ],
    env: { PORT: String(appPort), JOURNAL_MODE: "wal", APP_VERSION: String(version) },
    command: ["node", APP],
  })
  await node.logged(/app listens/)
  return { node, url: `http://127.0.0.1:${proxyPort}`, proxyPort }
}

test("a new version migrates and takes over on three nodes, and no client of a node that runs sees anything of it", async () => {
  await using scope = new Scope()
  const first = await deploy(scope, 1)
  const others = [
    await deploy(scope, 1, { follows: first }),
    await deploy(scope, 1, { follows: first }),
  ]
  const load = new ProxyLoad([first, ...others], random)
  await load.more(50)
  const deployed: Deployed[] = []
  for (const before of [first, ...others]) {
    await load.withdraw(before) // as a load balancer does before a node is stopped
    expect(await before.node.stop()).toEqual({ code: 143, signal: null })
    await load.more(20)
    const follows = before === first ? undefined : first
    const after = await deploy(scope, 2, { before, ...(follows && { follows }) })
    expect((await infoOf(after.node)).role).toBe("primary")
    deployed.push(after)
    load.sites = [...load.sites, after]
    await load.more(50)
  }
  await load.stop()
  console.log(`deployed: ${load.describe()}`)
  expect(load.problems).toEqual([])
  const [primary] = deployed.toReversed() as [Deployed]
  await load.check(primary, deployed)
  const found = deployed.map(({ node }) => {
    const migrations = node.output.match(/migrated (now|before)/g)
    const schema = sqlite3(
      node,
      "app.db",
      "pragma user_version; select count(*) from items where size is null",
    )
    return [migrations, schema]
  })
  expect(found).toEqual([
    [["migrated now"], "2\n0"],
    [["migrated before"], "2\n0"],
    [["migrated before"], "2\n0"],
  ])
}, 120_000)
