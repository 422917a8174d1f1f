/** What clients have written through any proxy they read through any other: 10,000 pairs on three nodes. */
import { Scope } from "../support/node.ts"
import { threeSites, writeThenRead } from "../support/proxied-site.ts"
import type { Random } from "../support/random.ts"
import type { Mode } from "./model.ts"

export interface ProxyPairsOptions {
  readonly random: Random
  readonly mode: Exclude<Mode, "mixed">
  readonly pairs: number
}

export async function proxyPairs({ random, mode, pairs }: ProxyPairsOptions): Promise<void> {
  await using scope = new Scope()
  const sites = await threeSites(scope, [], mode)
  const missing = await writeThenRead(sites, random, pairs)
  if (missing.length > 0) {
    const some = missing.slice(0, 5).join("\n")
    throw new Error(`${missing.length} of ${pairs} reads did not find what was written:\n${some}`)
  }
}
