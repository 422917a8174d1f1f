/** What clients of three nodes' proxies see while the role of primary moves, or the primary fails: README's table. */
import { expect, test } from "bun:test"
import { canMount, Scope } from "../support/node.ts"
import { type Site, threeSites } from "../support/proxied-site.ts"
import { ProxyLoad } from "../support/proxy-load.ts"
import { testRandom } from "../support/random.ts"
import { promote } from "../torture/handoffs.ts"

const random = testRandom()

test.skipIf(!canMount).each(["wal", "delete"] as const)(
  "%s mode: the role moves back and forth under 8 clients of all proxies, and none sees anything of it",
  async (mode) => {
    await using scope = new Scope()
    const sites = await threeSites(scope, ["--candidate"], mode)
    const load = new ProxyLoad(sites, random)
    let [primary]: Site[] = sites
    for (let count = 0; count < 6; count++) {
      await load.more(random.between(10, 60))
      primary = random.pick(sites.filter((site) => site !== primary))
      await promote(primary.node)
    }
    await load.more(50)
    await load.stop()
    console.log(`${mode}: ${load.describe()}, longest ${load.longestMs} ms`)
    expect(load.problems).toEqual([])
    await load.check(primary as Site, sites)
  },
  120_000,
)
