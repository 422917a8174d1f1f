/** A primary and a replica that can be killed and started again, in a directory that a failure leaves behind. */
import { spawnSync } from "node:child_process"
import { mkdirSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { mountsAt } from "../../src/sys/mount.ts"
import { FaultProxy } from "../support/fault-proxy.ts"
import { freePort, TestNode } from "../support/node.ts"
import { until } from "../support/until.ts"
import { Client, StuckError, within } from "./client.ts"

const LIMIT_MS = 30_000
/** For a large database that a crash has left, and a busy machine. */
const START_LIMIT_MS = 120_000

export interface PairOptions {
  /** Whether the replica reaches the primary through a proxy that can break the link. */
  readonly isLinked?: boolean
}

export class Pair {
  readonly directory: string
  readonly #ports: readonly [number, number]
  /** Between the two, when they were started with one. */
  readonly link: FaultProxy | undefined
  #logs = ""
  primary: TestNode
  replica: TestNode

  static async start(name: string, { isLinked = false }: PairOptions = {}): Promise<Pair> {
    const ports = [await freePort(), await freePort()] as const
    const pair = new Pair(name, ports, isLinked ? await FaultProxy.start(ports[0]) : undefined)
    try {
      await pair.ready()
      return pair
    } catch (error) {
      await pair.close()
      throw error
    }
  }

  private constructor(
    name: string,
    ports: readonly [number, number],
    link: FaultProxy | undefined,
  ) {
    this.link = link
    this.directory = mkdtempSync(join(tmpdir(), `litefs-torture-${name}-`))
    this.#ports = ports
    for (const node of ["primary", "replica"]) {
      mkdirSync(join(this.#directory(node), "mnt"), { recursive: true })
    }
    this.primary = this.#startPrimary()
    this.replica = this.#startReplica()
  }

  async ready(): Promise<void> {
    for (const node of [this.primary, this.replica]) {
      await node.logged(/msg=mounted/, START_LIMIT_MS)
    }
    for (const { node, stuck } of this.#stuck.splice(0)) {
      if (!(await within(5000, node.exited))) throw stuck
    }
  }

  /**
   * Kills the daemon, as a crash does. It is started again by restart…(). One that was killed while a thread of
   * its own waited for its mount cannot end until somebody aborts that; the next start has to, see ready().
   */
  async kill(node: TestNode): Promise<void> {
    node.signal("SIGKILL")
    if (await within(5000, node.exited)) return
    const stuck = new StuckError(`daemon of ${node.directory}`, node.pid)
    console.warn(`the next start has to end it: ${stuck.message}`)
    this.#stuck.push({ node, stuck })
  }

  restartPrimary(): void {
    this.#keepLog(this.primary)
    this.primary = this.#startPrimary()
  }

  restartReplica(): void {
    this.#keepLog(this.replica)
    this.replica = this.#startReplica()
  }

  /** The log of both nodes, over all restarts. */
  get logs(): string {
    return `${this.#logs}--- primary\n${this.primary.output}--- replica\n${this.replica.output}`
  }

  /** Waits until the replica is where the primary is, and returns that position. */
  async settled(database: string): Promise<string> {
    let [ours, theirs] = ["", ""]
    const look = async () => {
      ours = await this.position(this.primary, database)
      theirs = await this.position(this.replica, database)
      return ours === theirs && ours !== "" && ours
    }
    const context = () => `it is at ${theirs}, the primary at ${ours}`
    return until("the replica is there", look, { limitMs: LIMIT_MS, everyMs: 20, context })
  }

  async position(node: TestNode, database: string): Promise<string> {
    const client = new Client("cat", ["cat", `${node.mount}/${database}-pos`])
    try {
      return (await client.output(10_000)).trim()
    } catch (error) {
      if (error instanceof StuckError || !client.stderr.includes("No such file")) throw error
      return ""
    }
  }

  /** Ends both and says whether that left nothing behind. */
  async close(): Promise<void> {
    for (const node of [this.replica, this.primary]) {
      if (node.isRunning) {
        node.signal("SIGCONT")
        node.signal("SIGTERM")
        if (!(await within(15_000, node.exited))) await this.kill(node)
      }
      detach(node.mount)
    }
    await this.link?.[Symbol.asyncDispose]()
  }

  remove(): void {
    // Never into a mount that would not go away.
    if (mountsAt(this.primary.mount).length + mountsAt(this.replica.mount).length > 0) return
    rmSync(this.directory, { recursive: true, force: true })
  }

  #startPrimary(): TestNode {
    const directory = this.#directory("primary")
    return new TestNode(directory, this.#ports[0], { directory })
  }

  #startReplica(): TestNode {
    const directory = this.#directory("replica")
    const url = this.link?.url ?? `http://127.0.0.1:${this.#ports[0]}`
    return new TestNode(directory, this.#ports[1], { directory, follows: { url } })
  }

  readonly #stuck: { readonly node: TestNode; readonly stuck: StuckError }[] = []

  #directory(name: string): string {
    return join(this.directory, name)
  }

  #keepLog(node: TestNode): void {
    this.#logs += `--- ${node.directory}, until it was killed\n${node.output}`
  }
}

function detach(mount: string): void {
  if (mountsAt(mount).length === 0) return
  spawnSync("umount", ["-f", "-l", mount], { stdio: "ignore", timeout: 5000 })
}

/** Runs with a pair that ends with the run; its directory is kept when the run fails. */
export async function inPair(
  name: string,
  run: (pair: Pair) => Promise<void>,
  options?: PairOptions,
): Promise<void> {
  const pair = await startPair(name, options)
  try {
    await run(pair)
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    await pair.close().catch(() => {})
    throw new Error(`${message}\nkept: ${pair.directory}\n${shorten(pair.logs)}`)
  }
  await pair.close()
  pair.remove()
}

function shorten(text: string): string {
  return text.length < 8000 ? text : `${text.slice(0, 4000)}\n…\n${text.slice(-4000)}`
}

/** A port that was free may be taken by another run in the meantime. */
async function startPair(name: string, options?: PairOptions): Promise<Pair> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await Pair.start(name, options)
    } catch (error) {
      if (attempt === 3 || !String(error).includes("the port is in use")) throw error
    }
  }
}
