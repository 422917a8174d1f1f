/**
 * Failovers with `--sync-replicas 1`: the primary of three nodes is killed under load, an operator makes the replica
 * that has most the primary by force, and the killed node comes back. Between failovers replicas are killed and
 * suspended, too. No row is lost that a writer was told is committed.
 *
 * A writer whose daemon is killed cannot know what has become of its commit, so a row may be there twice.
 */
import { sqlite3 } from "../support/client.ts"
import { freePort, Scope, type TestNode } from "../support/node.ts"
import { becomes, infoOf } from "../support/node-api.ts"
import type { Random } from "../support/random.ts"
import { until } from "../support/until.ts"
import { checkThere, promote, SCHEMA, Writer } from "./handoffs.ts"
import type { Mode } from "./model.ts"
import type { Result } from "./round.ts"

const WRITERS = 3
const NODES = 3
const LIMIT_MS = 60_000
const FLAGS = ["--candidate", "--sync-replicas", "1", "--sync-commit-timeout", "2s"]
const DATABASE = "a.db"

export interface FailoversOptions {
  readonly random: Random
  readonly mode: Exclude<Mode, "mixed">
  readonly failovers: number
  /** Without acknowledgements, to see that rows are lost then. */
  readonly flags?: readonly string[]
  readonly result: Result & { readonly gapsMs: number[] }
}

class Failovers {
  readonly #scope: Scope
  readonly #random: Random
  readonly #flags: readonly string[]
  readonly #suspended = new Set<TestNode>()
  readonly #writers: Writer[] = []
  #nodes: TestNode[] = []
  #primary: TestNode

  private constructor(scope: Scope, random: Random, flags: readonly string[], primary: TestNode) {
    this.#scope = scope
    this.#random = random
    this.#flags = flags
    this.#primary = primary
    this.#nodes = [primary]
  }

  static async start(scope: Scope, options: FailoversOptions): Promise<Failovers> {
    const { random, mode, flags = FLAGS } = options
    const ports: number[] = []
    for (let count = 0; count < NODES; count++) ports.push(await freePort())
    const peers = ports.flatMap((port) => ["--peer", `http://127.0.0.1:${port}`])
    const all = [...flags, ...peers]
    const start = (port: number | undefined, follows?: TestNode) =>
      scope.node({ flags: all, ...(port && { port }), ...(follows && { follows }) })
    const primary = await start(ports[0])
    const failovers = new Failovers(scope, random, all, primary)
    for (const port of ports.slice(1)) failovers.#nodes.push(await start(port, primary))
    await failovers.#followed()
    sqlite3(primary, DATABASE, `pragma journal_mode = ${mode}; ${SCHEMA}`)
    for (let writer = 0; writer < WRITERS; writer++) {
      failovers.#writers.push(new Writer(scope, failovers.#nodes, writer))
    }
    return failovers
  }

  get acknowledged(): number {
    return this.#writers.reduce((sum, { acks }) => sum + acks.length, 0)
  }

  /** Resolves with the time in which nobody took writes, milliseconds. */
  async round(): Promise<number> {
    const random = this.#random
    await this.#goOn(random.between(1, 40))
    if (random.between(0, 3) === 0) await this.#disturb()
    const killed = this.#primary
    const startMs = Date.now()
    await killed.stop("SIGKILL")
    this.#resume()
    const told = this.#writers.map(({ number, acks }) => ({ number, acks: acks.slice() }))
    const next = await this.#withMost(this.#nodes.filter((node) => node !== killed))
    await promote(next, "?force=true")
    await becomes(next, "primary")
    this.#primary = next
    try {
      for (const each of told) checkThere(each, (sql) => sqlite3(next, DATABASE, sql))
    } catch (error) {
      throw new Error(`${error}\n${this.#logs(killed)}`)
    }
    const first = this.acknowledged
    await this.#until("a commit after the failover", () => this.acknowledged > first)
    const gapMs = Date.now() - startMs
    await this.#again(killed)
    return gapMs
  }

  async end(): Promise<void> {
    this.#resume()
    for (const writer of this.#writers) await writer.stop()
    for (const writer of this.#writers) {
      checkThere(writer, (sql) => sqlite3(this.#primary, DATABASE, sql))
    }
  }

  /** A replica is killed, or suspended for a while. */
  async #disturb(): Promise<void> {
    const replica = this.#random.pick(this.#nodes.filter((node) => node !== this.#primary))
    if (this.#random.between(0, 1) === 0) {
      await replica.stop("SIGKILL")
      await this.#again(replica)
    } else {
      replica.signal("SIGSTOP")
      this.#suspended.add(replica)
    }
    await this.#goOn(this.#random.between(1, 10))
  }

  #resume(): void {
    for (const replica of this.#suspended) replica.signal("SIGCONT")
    this.#suspended.clear()
  }

  async #again(node: TestNode): Promise<void> {
    const follows = node.port === this.#nodes[0]?.port ? {} : { follows: this.#primary }
    const back = await this.#scope.again(node, { flags: this.#flags, ...follows })
    this.#nodes = this.#nodes.map((each) => (each === node ? back : each))
    await this.#followed()
  }

  /** The replica that lacks least, as `litefs info` tells it. */
  async #withMost(nodes: readonly TestNode[]): Promise<TestNode> {
    const txids = await Promise.all(
      nodes.map(async (node) => {
        const { databases } = await infoOf(node)
        const { durable, position = "0" } = databases.find(({ name }) => name === DATABASE) ?? {}
        return BigInt(`0x${(durable ?? position).split("/")[0]}`)
      }),
    )
    let most = 0
    for (const [index, txid] of txids.entries()) if (txid > (txids[most] as bigint)) most = index
    return nodes[most] as TestNode
  }

  async #followed(): Promise<void> {
    const count = this.#nodes.length - 1 - this.#suspended.size
    const isSo = async () => (await infoOf(this.#primary)).replicas.length >= count
    await this.#until("all replicas follow", isSo)
  }

  async #goOn(count: number): Promise<void> {
    const before = this.acknowledged
    await this.#until("the writers go on", () => this.acknowledged >= before + count)
  }

  async #until(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
    const look = () => {
      const problem = this.#writers.find((writer) => writer.problem !== undefined)?.problem
      if (problem !== undefined) throw new Error(`${problem}\n${this.#logs()}`)
      return isSo()
    }
    await until(what, look, { limitMs: LIMIT_MS, everyMs: 2, context: () => this.#logs() })
  }

  #logs(...more: readonly TestNode[]): string {
    return [...more, ...this.#nodes].map(({ output }) => output.slice(-4000)).join("\n---\n")
  }
}

export async function failovers(options: FailoversOptions): Promise<void> {
  await using scope = new Scope()
  const cluster = await Failovers.start(scope, options)
  for (let done = 0; done < options.failovers; done++) {
    options.result.gapsMs.push(await cluster.round())
    options.result.kills += 1
  }
  await cluster.end()
  options.result.acknowledged += cluster.acknowledged
}
