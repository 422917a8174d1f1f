/** The API of this node: the routes of all parts together, and what every answer says of the node. */
import type { HaltLocks } from "../../cluster/locks/halt-locks.ts"
import type { Handoffs } from "../../cluster/role/handoffs.ts"
import { LEASE_PATH } from "../../cluster/role/lease.ts"
import type { Member } from "../../cluster/role/member.ts"
import { haltRoutes } from "../../http/roles/halt.ts"
import { roleRoutes } from "../../http/roles/roles.ts"
import { ApiServer } from "../../http/server/server.ts"
import type { TlsFiles } from "../../http/server/tls-files.ts"
import type { StatusApi } from "../../http/status/status-api.ts"
import { systemClock } from "../../lib/clock.ts"
import { logger } from "../../lib/log.ts"
import type { LiteFSOptions } from "../../litefs-options.ts"
import { isLoopback } from "../../sys/net/loopback.ts"
import { PROXY_HEADER } from "../../wire/protocol.ts"
import type { OtherNodes } from "../membership/other-nodes.ts"
import { isGuarded, type ThisNode } from "../membership/this-node.ts"
import type { ServedDatabases } from "./served-databases.ts"

const log = logger("litefs")

/** Paths that only nodes use among themselves. On other paths nobody is taken for a node. */
const NODE_PATHS = new Set([LEASE_PATH, "/stream", "/handoff", "/halt", "/tx"])

export interface ApiContext {
  readonly node: ThisNode
  readonly others: OtherNodes
  readonly member: Member
  readonly api: StatusApi
  readonly handoffs: Handoffs
  readonly served: ServedDatabases
  readonly locks: HaltLocks
  /** For large bodies of requests. */
  spoolPath(number: number): string
  /** Nothing can be lent before. */
  readonly mounted: Promise<void>
  readonly authToken: string | undefined
  readonly tls: TlsFiles | undefined
  /** URL of this node's proxy, or its port; undefined when it has none. */
  readonly proxyUrl: string | undefined
}

export function apiServer(context: ApiContext): ApiServer {
  const { node, others, member, api, handoffs, served, locks, authToken, tls } = context
  const { proxyUrl, mounted } = context
  const clock = systemClock
  return new ApiServer(
    {
      ...api.routes,
      ...roleRoutes({
        ...{ member, handoffs, clock },
      }),
      ...haltRoutes({
        ...{ locks, clock, id: node.id, mounted },
        spoolPath: (number) => context.spoolPath(number),
      }),
      ...served.routes,
    },
    {
      headers: {
        ...node.headers,
        ...(proxyUrl === undefined ? {} : { [PROXY_HEADER]: proxyUrl }),
      },
      changingHeaders: () => node.answerHeaders,
      ...{ authToken, tls, clock },
      isOwnName: (name) => node.isOwnName(name),
      onRequest: (headers, path, from) => {
        if (NODE_PATHS.has(path)) others.check.hearRequest(headers, from)
      },
    },
  )
}

export function warnIfOpenToAll(options: LiteFSOptions, port: number): void {
  if (!isOpenToAll(options)) return
  log.warn("anybody who reaches the API can read and replace databases, set --auth-token-file", {
    http: `${options.httpAddr.host}:${port}`,
  })
}

/** Whether other machines reach the API and need to show nothing. */
function isOpenToAll(options: LiteFSOptions): boolean {
  return !isGuarded(options) && !isLoopback(options.httpAddr.host)
}
