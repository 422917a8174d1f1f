/** What clients of three nodes' proxies see while the role of primary moves, or the primary fails: the table in docs/guide.md. */
import { expect, test } from "bun:test"
import { canMount, Scope } from "../support/node.ts"
import { ProxyClient, type Site, site, threeSites } from "../support/proxied-site.ts"
import { ProxyLoad } from "../support/proxy-load.ts"
import { testRandom } from "../support/random.ts"
import { until } from "../support/until.ts"
import { promote } from "../torture/handoffs.ts"

const random = testRandom()

/** On a machine that has much else to do a handoff may take longer than a write waits by default. */
const PATIENT = ["--proxy-primary-redirect-timeout", "40s"]

test.skipIf(!canMount).each(random.someOf(["wal", "delete"] as const))(
  "%s mode: the role moves back and forth under 8 clients of all proxies, and none sees anything of it",
  async (mode) => {
    await using scope = new Scope()
    const sites = await threeSites(scope, ["--candidate", ...PATIENT], mode)
    const load = new ProxyLoad(sites, random)
    let [primary]: Site[] = sites
    for (let count = 0; count < 4; count++) {
      await load.more(random.between(10, 60))
      primary = random.pick(sites.filter((site) => site !== primary))
      await promote(primary.node)
    }
    await load.more(50)
    await load.stop()
    console.log(`${mode}: ${load.describe()}`)
    expect(load.problems).toEqual([])
    await load.check(primary as Site, sites)
  },
  120_000,
)

/** What may become of requests while the primary is away: the row of that table. */
function outcomes(load: ProxyLoad): string[] {
  return [...new Set(load.problems.map(({ what, status }) => `${what} ${status}`))].sort()
}

test.skipIf(!canMount)(
  "the primary is killed under 8 clients and comes back: what was under way there may have failed, the rest waits",
  async () => {
    await using scope = new Scope()
    const [first, ...replicas] = await threeSites(scope, PATIENT)
    const load = new ProxyLoad(replicas, random)
    await load.more(random.between(30, 60))
    await Promise.all([first.node.stop("SIGKILL"), first.app.kill()])
    const goneMs = performance.now()
    await first.node.end()
    const { directory, port } = first.node
    const again = { directory, port, proxyPort: first.proxyPort }
    const primary = await site(scope, undefined, PATIENT, again)
    await load.more(30)
    await load.stop()
    console.log(`killed: ${load.describe()}`)
    expect(outcomes(load).filter((outcome) => outcome !== "POST 502")).toEqual([])
    // A process closes one socket after the other: until the last, each may take a request and break it, so a client
    // may fail more than once. Whatever is asked when all are closed waits, and succeeds.
    expect(load.problems.filter(({ startMs }) => startMs > goneMs)).toEqual([])
    await load.check(primary, replicas)
  },
  120_000,
)

test.skipIf(!canMount)(
  "the primary is cut off under 8 clients: reads of what is here go on, the others end in time, and all is well later",
  async () => {
    await using scope = new Scope()
    const flags = ["--proxy-primary-redirect-timeout", "1s", "--proxy-read-timeout", "1s"]
    const [primary, ...replicas] = await threeSites(scope, flags)
    const load = new ProxyLoad(replicas, random)
    await load.more(30)
    const reader = new ProxyClient(true)
    const [replica] = replicas as [Site, Site]
    const { text: id } = await reader.ask(`${replica.url}/items`, {
      method: "POST",
      body: "before",
    })
    const read = () => reader.ask(`${replica.url}/items/${id}`)
    expect(await read()).toEqual({ status: 200, text: "before" })
    primary.node.signal("SIGSTOP")
    await until("writes are refused", async () => {
      expect(await read()).toEqual({ status: 200, text: "before" })
      return outcomes(load).includes("POST 503")
    })
    primary.node.signal("SIGCONT")
    await load.more(50)
    const { length } = load.problems
    await load.more(50)
    await load.stop()
    console.log(`cut off: ${load.describe()}`)
    expect(load.problems).toHaveLength(length)
    const allowed = ["GET 504", "POST 502", "POST 503"]
    expect(outcomes(load).filter((outcome) => !allowed.includes(outcome))).toEqual([])
    await load.check(primary, replicas)
  },
  120_000,
)
