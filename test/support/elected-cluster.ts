/** Nodes whose primary a store names, and clients of them in processes of their own. */
import { expect } from "bun:test"
import { spawnSync } from "node:child_process"
import { caughtUp, nodeCommand, type Running, sqlite3, sqlite3Command, start } from "./client.ts"
import { type Etcd, hasEtcd } from "./etcd.ts"
import { test as mountTest } from "./mount-test.ts"
import type { Scope, TestNode } from "./node.ts"
import { until } from "./until.ts"

/** Skipped where there is no etcd, or nothing can be mounted. */
export const test = hasEtcd ? mountTest : mountTest.skip

export const CANDIDATE = ["--candidate"]

export interface Info {
  readonly isPrimary: boolean
  readonly role: string
  readonly leaseStore?: {
    readonly isHeld: boolean
    readonly holder: string | null
    readonly leftMs: number
  }
  readonly lease?: { readonly epoch: number; readonly primary: { readonly hostname: string } }
}

export async function info(node: TestNode): Promise<Info | undefined> {
  try {
    const response = await fetch(`${node.url}/info`, { signal: AbortSignal.timeout(2000) })
    return (await response.json()) as Info
  } catch {
    return undefined
  }
}

/** The one of the nodes that is the primary. */
export async function primaryOf(nodes: readonly TestNode[], limitMs = 20_000): Promise<TestNode> {
  const look = async () => {
    const infos = await Promise.all(nodes.map(info))
    const primaries = nodes.filter((_, index) => infos[index]?.isPrimary === true)
    expect(primaries.length).toBeLessThan(2)
    return primaries[0] !== undefined && primaries[0]
  }
  const context = () => nodes.map(({ output }) => output).join("\n---\n")
  return until("a node is the primary", look, { limitMs, everyMs: 50, context })
}

/** A primary and a replica of it that have a row, both candidates. */
export async function pair(scope: Scope, etcd: Etcd, ttl = "3s") {
  const lease = etcd.url("litefs/test", ttl)
  const first = await scope.node({ lease, flags: CANDIDATE })
  const primary = await primaryOf([first])
  const replica = await scope.node({ lease, flags: CANDIDATE })
  await caughtUpWith(primary, replica)
  return { lease, primary, replica }
}

export async function caughtUpWith(primary: TestNode, replica: TestNode) {
  const sql = "create table if not exists t(x); insert into t values('before')"
  await until("it takes writes", () => tries(primary, sql).code === 0)
  await caughtUp(primary, replica, "a.db")
}

export function tries(node: TestNode, sql: string): { code: number | null; text: string } {
  const [program = "", ...args] = sqlite3Command(node, "a.db")
  const { status, stdout, stderr } = spawnSync(program, args, {
    ...{ input: sql, encoding: "utf8", timeout: 20_000 },
  })
  return { code: status, text: `${stdout}${stderr}`.trim() }
}

export const rows = (node: TestNode) => sqlite3(node, "a.db", "select group_concat(x) from t")

/** Its answer, when it says that this node holds the lease or not. */
export async function untilHeld(node: TestNode, isHeld: boolean): Promise<void> {
  const look = async () => (await info(node))?.leaseStore?.isHeld === isHeld
  const context = () => node.output
  await until(`the lease is ${isHeld ? "" : "not "}held`, look, { everyMs: 50, context })
}

export interface Acknowledged {
  readonly row: string
  /** By CLOCK_MONOTONIC, which all processes share, microseconds. */
  readonly us: number
}

/** A client that inserts rows one after the other, in a process of its own, until it is told to end. */
export class Writer {
  readonly #running: Running

  constructor(scope: Scope, node: TestNode, name: string) {
    const source = `
      import { setTimeout as sleep } from "node:timers/promises"
      let [d, count] = [undefined, 0]
      process.on("SIGTERM", () => process.exit(0))
      const endMs = Date.now() + 120_000
      while (Date.now() < endMs) {
        try {
          d ??= db("a.db", { timeout: 100 })
          const row = ${JSON.stringify(name)} + count++
          d.prepare("insert into t values(?)").run(row)
          console.log(row, String(process.hrtime.bigint() / 1000n))
        } catch {
          await sleep(5)
        }
        await sleep(1)
      }`
    this.#running = start(nodeCommand(node, source), { limitMs: 120_000 })
    scope.defer(() => this.#running.kill("SIGKILL"))
  }

  async end(): Promise<Acknowledged[]> {
    this.#running.kill("SIGTERM")
    const { stdout } = await this.#running.ended
    const lines = stdout
      .trim()
      .split("\n")
      .filter((line) => line !== "")
    return lines.map((line) => {
      const [row = "", us] = line.split(" ")
      return { row, us: Number(us) }
    })
  }
}
