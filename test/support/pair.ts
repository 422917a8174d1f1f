/** A primary and a replica that follows it, both mounted, which end with the test. */
import { caughtUp, sqlite3 } from "./client.ts"
import { type NodeOptions, Scope, type TestNode } from "./node.ts"
import { infoOf } from "./node-api.ts"
import { until } from "./until.ts"

export interface PairOptions {
  /** Of both nodes, beside their own. */
  readonly flags?: readonly string[]
  readonly primary?: NodeOptions
  readonly replica?: NodeOptions
  /** The journal mode of "a.db", which there is when this or `sql` is given. */
  readonly mode?: string
  /** What "a.db" is made with. The replica has it then. */
  readonly sql?: string
  /** Where the directories of the nodes are. */
  readonly parent?: string
}

/** Also the scope of whatever else the test starts. */
export class Pair extends Scope {
  readonly #nodes: { primary?: TestNode; replica?: TestNode } = {}

  async start(options: PairOptions): Promise<void> {
    const { flags = [], mode, sql = "" } = options
    const primary = await this.node(withFlags(options.primary, flags))
    this.#nodes.primary = primary
    const replica = await this.node({ follows: primary, ...withFlags(options.replica, flags) })
    this.#nodes.replica = replica
    const setup = mode === undefined ? sql : `pragma journal_mode = ${mode}; ${sql}`
    if (setup === "") return
    // On a busy machine the replica would acknowledge the first commit later than that waits.
    if ([...flags, ...(options.primary?.flags ?? [])].includes("--sync-replicas")) {
      const isHeard = async () => ((await infoOf(primary)).sync?.acknowledging ?? 0) > 0
      await until("the replica acknowledges", isHeard)
    }
    sqlite3(primary, "a.db", setup)
    await caughtUp(primary, replica, "a.db")
  }

  get primary(): TestNode {
    return this.#nodes.primary as TestNode
  }

  get replica(): TestNode {
    return this.#nodes.replica as TestNode
  }
}

/** `await using scope = await pair({ mode: "wal", sql: "create table t(x)" })`. Leaves nothing when it fails. */
export async function pair(options: PairOptions = {}): Promise<Pair> {
  const scope = new Pair(options.parent)
  try {
    await scope.start(options)
    return scope
  } catch (error) {
    await scope[Symbol.asyncDispose]()
    throw error
  }
}

function withFlags(options: NodeOptions = {}, flags: readonly string[]): NodeOptions {
  return flags.length === 0 ? options : { ...options, flags: [...flags, ...(options.flags ?? [])] }
}
