/** What a client hears of the databases here, with a response of the application that uses them. */
import type { ProxyContext } from "./context.ts"
import type { Origin } from "./forwarded.ts"
import { setCookie } from "./position-token.ts"
import type { Route } from "./route.ts"
import type { TrackedDatabases } from "./tracked-databases.ts"

/** `positions` are those of the time when the request came; undefined when they do not concern it. */
export function positionFields(
  { tracked, cluster }: ProxyContext,
  route: Route,
  origin: Origin,
  positions: TrackedDatabases["positions"] | undefined,
): [name: string, value: string][] {
  if (positions === undefined) return []
  // A token of something that a failover has lost is useless.
  const isLost = cluster.isPrimary && route.isBehind
  const isNews = isLost || tracked.hasAdvanced(positions)
  if (!isNews && !route.tellsPosition) return []
  const token = tracked.token()
  if (token === "") return []
  if (route.tellsPosition) return [["Litefs-Position", token]]
  return [
    ["Litefs-Position", token],
    ["Set-Cookie", setCookie(token, origin.isSecure)],
  ]
}
