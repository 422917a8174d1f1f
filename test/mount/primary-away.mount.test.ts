/** Replicas that ask each other for the primary while it is away: none of them says that it is the other. */
import { expect, test } from "bun:test"
import { NamedCluster } from "../support/named-cluster.ts"
import { canMount } from "../support/node.ts"
import { infoOf } from "../support/node-api.ts"
import { until } from "../support/until.ts"

test.skipIf(!canMount)(
  "replicas name the primary that they know, also while they ask others",
  async () => {
    await using cluster = await NamedCluster.create("ABC")
    await cluster.start("A", { peers: ["B", "C"] })
    cluster.create("A")
    await cluster.start("B", { follows: "A", peers: ["C"] })
    await cluster.start("C", { follows: "A", peers: ["B"] })
    const urlOf = (name: string) => cluster.node(name).url
    const named = () =>
      Promise.all(
        ["B", "C"].map(async (name) => (await infoOf(cluster.node(name))).primary.advertiseURL),
      )
    const [a, b] = [urlOf("A"), urlOf("B")]
    await until("both follow A", async () => (await named()).every((url) => url === a))
    await cluster.stop("A", "SIGKILL")
    const seen = new Set<string | undefined>()
    for (let looks = 0; looks < 50; looks++) {
      for (const url of await named()) seen.add(url)
      await Bun.sleep(100)
    }
    expect([...seen]).toEqual([a])

    await cluster.force("B")
    await until("C follows B", async () => {
      const { isConnected, primary } = await infoOf(cluster.node("C"))
      return isConnected && primary.advertiseURL === b
    })
    expect((await infoOf(cluster.node("B"))).primary.advertiseURL).toBe(b)
  },
  60_000,
)
