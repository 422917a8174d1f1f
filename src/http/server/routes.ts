/**
 * What the API has: each route with what it is for and the parameters that it takes. The parts of the API can serve no
 * other route, and refuse other parameters; docs/reference.md is made of this table.
 */
import { checkQuery } from "./query.ts"
import type { Handler } from "./server.ts"

export interface RouteForm {
  readonly about: string
  /** By name. */
  readonly query?: Readonly<Record<string, string>>
  /** Those of them that may be given several times. */
  readonly several?: readonly string[]
  /** HEAD is answered, too. */
  readonly hasHead?: true
  /** Nodes use it among themselves. */
  readonly isOfNodes?: true
}

const DB = { name: "the database" }
const LOCK_ID = { id: "of the lock, 16 hexadecimal digits" }

export const ROUTES = {
  "GET /": { about: "in a browser: the status page" },
  "GET /info": {
    about:
      "JSON: the original's keys, then `id`, `version`, `role`, `lease`, `leaseStore`, `isReady`, `lag`, `lastProblem`, `divergedCount`, `databases`, `replicas`",
    hasHead: true,
  },
  "GET /health": {
    about:
      "200, or 503 with the reason, also when no more files can be opened, and `lastProblem`. Without a parameter: mounted, and once in sync",
    query: {
      "max-lag-ms": "not further behind than this, in milliseconds",
      "max-lag-tx": "not further behind than so many transactions, in all databases together",
      role: "`primary` or `replica`",
      pos: "`DB=TXID`: the database has that transaction",
      synced:
        "connected, and all is here that the primary had 3 s ago, or with `wait` when it was asked: what a readiness probe wants",
      db: "this database is here",
      wait: "milliseconds, a minute at most: answer 503 only if it has not become so by then",
    },
    several: ["pos", "db"],
    hasHead: true,
  },
  "GET /metrics": { about: "for Prometheus: the metrics below", hasHead: true },
  "GET /events": {
    about:
      "a line of JSON per transaction and per change of the primary, as in the original, without an end",
  },
  "GET /watch": {
    about:
      "what the status page and `litefs info --watch` show, as server-sent events (`src/http/page/watch-feed.ts`)",
    query: { filter: "only databases with this text in their names" },
  },
  "GET /export": {
    about: "the database as a file; its position is in the header `Litefs-Position`",
    query: DB,
  },
  "POST /import": {
    about:
      "on the primary: the body, a SQLite database file, takes the place of the database or makes it",
    query: { ...DB, verify: "`false`: without SQLite's integrity check" },
  },
  "POST /promote": {
    about:
      "on a candidate: take the role of primary over; 200 when it is done, 409 when it may not",
    query: { force: "`true`: without asking the primary, which is gone" },
  },
  "POST /handoff": {
    about: "on the primary: give the role to a connected candidate",
    query: { nodeID: "its `id` in `/info`", token: "between nodes: that of an offer" },
  },
  "POST /halt": {
    about:
      "on the primary: lends the write lock of a database, or renews it; 409 when another has it",
    query: {
      ...{ ...DB, ...LOCK_ID },
      ttl: "milliseconds for which it is lent without a renewal, 30000",
      wait: "milliseconds to wait for others, 10000",
    },
  },
  "DELETE /halt": { about: "gives it back", query: { ...DB, ...LOCK_ID } },
  "POST /tx": {
    about:
      "from the holder of the lock: a transaction, as an LTX file; 200 when it is durable, 409 when it does not follow on",
    query: { ...DB, lockID: LOCK_ID.id },
  },
  "POST /synced": {
    about:
      "from the holder of the lock: 200 when as many replicas as `--sync-replicas` says have its last transaction, 503 when they have not after 5 s",
    query: { ...DB, ...LOCK_ID, pos: "of that, `TXID/checksum`" },
  },
  "POST /stream": {
    about: "the replication stream; the body is the replica's position map",
    query: { filter: "the names of `--databases`" },
    isOfNodes: true,
  },
  "POST /acknowledge": {
    about: "a replica tells what it has durably, as long as its stream lasts",
    query: { stream: "the token of that stream" },
    isOfNodes: true,
  },
  "GET /nodes": {
    about: "the primary tells of its replicas, for the pages of the others",
    isOfNodes: true,
  },
  "POST /lease": { about: "two nodes hear the lease record of each other", isOfNodes: true },
} as const satisfies Readonly<Record<string, RouteForm>>

export type RouteName = keyof typeof ROUTES

type PathOf<Name> = Name extends `${string} ${infer Path}` ? Path : never
type MethodOf<Path extends string> =
  | (RouteName extends infer Name
      ? Name extends `${infer Method} ${Path}`
        ? Method
        : never
      : never)
  | "HEAD"

/** Routes of the table, with what serves them. */
export type ApiRoutes = {
  readonly [Path in PathOf<RouteName>]?: { readonly [Method in MethodOf<Path>]?: Handler }
}

/** Throws for a parameter that the route does not have, or that is given twice but may not be. */
export function checkRouteQuery(url: URL, name: RouteName): void {
  const { query = {}, several = [] }: RouteForm = ROUTES[name]
  const once = Object.keys(query).filter((parameter) => !several.includes(parameter))
  checkQuery(url, once, several)
}
