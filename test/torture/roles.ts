/**
 * Forced promotions of nodes whose primary is stopped, cut off, or well, under clients of every node that open, read,
 * write and close. What the old primaries took meanwhile is theirs alone, and snapshots take it over.
 *
 * After each round there is one primary, and every connection of every node, old and new, reads what it reads.
 */
import { mkdtempSync, readFileSync, statSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { NodeInfo } from "../../src/http/status/info.ts"
import { pos, run, sqlite3 } from "../support/client.ts"
import { FaultProxy } from "../support/fault-proxy.ts"
import { LongClient } from "../support/long-client.ts"
import { freePort, MEMORY, Scope, type TestNode } from "../support/node.ts"
import { infoOf } from "../support/node-api.ts"
import type { Random } from "../support/random.ts"
import { until } from "../support/until.ts"
import { promote } from "./handoffs.ts"
import type { Mode } from "./model.ts"
import { RoleClient } from "./role-client.ts"
import type { Result } from "./round.ts"

const NODES = 3
const CLIENTS = 2 // of each node
const LIMIT_MS = 30_000
const DATABASE = "a.db"

export interface RolesOptions {
  readonly random: Random
  readonly mode: Exclude<Mode, "mixed">
  readonly rounds: number
  /** `kills` are rounds. */
  readonly result: Result
}

const SCHEMA = `
  create table a(id integer primary key, writer integer, n integer, padding);
  create table b(id integer primary key, writer integer, n integer);
`
export const DIGEST = `select count(*), coalesce(sum(n), 0), coalesce(max(id), 0), coalesce(sum(length(padding)), 0),
  (select count(*) from b), (select coalesce(sum(n), 0) from b) from a`

export async function roles({ random, mode, rounds, result }: RolesOptions): Promise<void> {
  await using scope = new Scope(MEMORY)
  const trouble = await Trouble.start(scope, random, mode)
  try {
    for (let round = 0; round < rounds; round++) {
      await trouble.round()
      result.kills += 1
    }
    await trouble.end()
    result.acknowledged += trouble.acknowledgedCount
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    const kept = await trouble.keep()
    throw new Error(`${message}\nafter: ${trouble.done.slice(-20).join(", ")}\nkept in ${kept}`)
  } finally {
    await trouble.stop()
  }
}

class Trouble {
  /** What was done, for the report of a failure. */
  readonly done: string[] = []
  readonly #scope: Scope
  readonly #random: Random
  readonly #nodes: readonly TestNode[]
  readonly #links: readonly FaultProxy[]
  readonly #clients: readonly RoleClient[]
  readonly #long = new Map<TestNode, LongClient>()
  readonly #ending = new AbortController()
  #primary: TestNode
  #rounds = 0

  static async start(scope: Scope, random: Random, mode: string): Promise<Trouble> {
    const ports = await Promise.all(Array.from({ length: NODES }, freePort))
    const links = await Promise.all(ports.map((port) => FaultProxy.start(port)))
    scope.defer(async () => {
      await Promise.all(links.map((link) => link[Symbol.asyncDispose]()))
    })
    const nodes: TestNode[] = []
    for (const [index, port] of ports.entries()) {
      const others = links.filter((_, other) => other !== index)
      const peers = others.flatMap(({ url }) => ["--peer", url])
      const flags = ["--candidate", "--advertise-url", links[index]?.url ?? "", ...peers]
      const follows = index === 0 ? undefined : links[0]
      nodes.push(await scope.node({ port, flags, ...(follows && { follows }) }))
    }
    sqlite3(nodes[0] as TestNode, DATABASE, `pragma journal_mode = ${mode}; ${SCHEMA}`)
    const trouble = new Trouble(scope, random, nodes, links)
    await trouble.#settle()
    for (const node of nodes) await trouble.#reached(node, pos(trouble.#primary, DATABASE))
    for (const client of trouble.#clients) client.start()
    void trouble.#exportAlways()
    return trouble
  }

  private constructor(
    scope: Scope,
    random: Random,
    nodes: readonly TestNode[],
    links: readonly FaultProxy[],
  ) {
    this.#scope = scope
    this.#random = random
    this.#nodes = nodes
    this.#links = links
    this.#primary = nodes[0] as TestNode
    this.#clients = nodes.flatMap((node, index) =>
      Array.from({ length: CLIENTS }, (_, client) => {
        return new RoleClient(scope, node, {
          path: join(node.mount, DATABASE),
          writer: index * CLIENTS + client,
          seed: random.below(0x7fffffff),
          digest: DIGEST,
        })
      }),
    )
  }

  get acknowledgedCount(): number {
    return this.#clients.reduce((sum, { acknowledged }) => sum + acknowledged, 0)
  }

  async round(): Promise<void> {
    const random = this.#random
    this.#rounds += 1
    await this.#pause(60)
    const ill = new Map<TestNode, () => void>()
    let old = this.#primary
    for (let left = random.pick([1, 1, 2]); left > 0; left--) {
      this.#makeIll(old, ill)
      await this.#pause(60)
      const well = this.#nodes.filter((node) => node !== old && !ill.has(node))
      if (well.length === 0) break
      const [target, other] = random.below(2) === 0 ? well : well.toReversed()
      if (target === undefined) break
      const isBoth = other !== undefined && random.below(6) === 0
      this.done.push(`force ${this.#name(target)}${isBoth ? ` and ${this.#name(other)}` : ""}`)
      await Promise.all((isBoth ? [target, other] : [target]).map((node) => this.#force(node)))
      old = target
      await this.#pause(60)
    }
    for (const [node, heal] of random.below(2) === 0 ? ill : [...ill].toReversed()) {
      this.done.push(`heal ${this.#name(node)}`)
      heal()
      await this.#pause(40)
    }
    await this.#settle()
    await this.#compare()
  }

  /** Another one may have become the primary meanwhile, of a newer epoch: then this one is refused. */
  async #force(node: TestNode): Promise<void> {
    try {
      await promote(node, "?force=true")
    } catch (error) {
      if (!/another node has become the primary/.test(String(error))) throw error
    }
  }

  #makeIll(node: TestNode, ill: Map<TestNode, () => void>): void {
    const kind = this.#random.pick(["stop", "cut", "cut then stop", "well"] as const)
    this.done.push(`${kind} ${this.#name(node)}`)
    const link = this.#links[this.#nodes.indexOf(node)] as FaultProxy
    const cut = () => {
      link.refuse()
      link.cut()
    }
    const stop = () => node.signal("SIGSTOP")
    if (kind === "well") return
    if (kind === "stop") stop()
    else cut()
    const later = kind === "cut then stop" ? setTimeout(stop, this.#random.below(60)) : undefined
    ill.set(node, () => {
      clearTimeout(later)
      link.heal()
      node.signal("SIGCONT")
    })
  }

  /** One primary, which all others follow. */
  async #settle(): Promise<void> {
    let infos: NodeInfo[] = []
    const isSettled = async () => {
      infos = await Promise.all(this.#nodes.map(infoOf))
      const primaries = this.#nodes.filter((_, index) => infos[index]?.isPrimary)
      const following = infos.filter(({ role, isConnected }) => role === "replica" && isConnected)
      const epochs = new Set(infos.map(({ lease }) => lease?.epoch))
      if (primaries.length === 1) this.#primary = primaries[0] as TestNode
      return primaries.length === 1 && following.length === NODES - 1 && epochs.size === 1
    }
    const context = () => JSON.stringify(infos)
    await until("a primary that all follow", isSettled, { limitMs: LIMIT_MS, everyMs: 10, context })
  }

  async #compare(): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.pause()))
    sqlite3(
      this.#primary,
      DATABASE,
      "insert into a(writer, n) values(-1, 0); insert into b(writer, n) values(-1, 0)",
    )
    const wanted = JSON.parse(`[${sqlite3(this.#primary, DATABASE, DIGEST).replaceAll("|", ",")}]`)
    const position = pos(this.#primary, DATABASE)
    const seen = (where: string, what: unknown) =>
      expectSeen(`${where}, at ${position}`, what, wanted)
    for (const node of this.#nodes) {
      await this.#reached(node, position)
      const found = sqlite3(node, DATABASE, DIGEST).replaceAll("|", ",")
      seen(`a new connection of ${this.#name(node)}`, JSON.parse(`[${found}]`))
      const long = this.#long.get(node)
      if (long !== undefined)
        seen(`a long client of ${this.#name(node)}`, (await long.rows(DIGEST))[0])
      if (node !== this.#primary) this.#checkShared(node)
      if (this.#rounds % 5 === 0) {
        const check = sqlite3(node, DATABASE, "pragma integrity_check")
        if (check !== "ok") throw new Error(`${this.#name(node)}: ${check}`)
      }
    }
    for (const client of this.#clients) {
      const what = await client.look()
      if (what !== "") seen(`an open connection of ${client.name}`, JSON.parse(what))
    }
    await this.#changeLong()
    // Where all close after every act, the last one to close takes the WAL away, again and again.
    for (const node of this.#nodes) {
      const closing = this.#random.pick([1, 1, 4, 100])
      for (const client of this.#clients) if (client.node === node) client.go(closing)
    }
  }

  /** A replica that has frames in its WAL keeps clients from taking it away. */
  #checkShared(node: TestNode): void {
    if (statSync(join(node.data, "dbs", DATABASE, "wal"), { throwIfNoEntry: false })?.size) {
      const inode = run(["stat", "-c", "%i", join(node.mount, DATABASE)]).trim()
      const mounts = readFileSync("/proc/self/mountinfo", "utf8").split("\n")
      const [, , device = ""] =
        mounts.find((line) => line.includes(` ${node.mount} `))?.split(" ") ?? []
      const [major, minor] = device
        .split(":")
        .map((word) => Number(word).toString(16).padStart(2, "0"))
      const locks = readFileSync("/proc/locks", "utf8").split("\n")
      const isShared = (line: string) =>
        line.includes("OFDLCK") &&
        line.includes(` ${major}:${minor}:${inode} `) &&
        / 1073741826 /.test(line)
      if (!locks.some(isShared)) {
        throw new Error(
          `${this.#name(node)} does not share ${device}:${inode}:\n${locks.join("\n")}`,
        )
      }
    }
  }

  /** Where there is one, clients that close are never the last. */
  async #changeLong(): Promise<void> {
    const node = this.#random.pick(this.#nodes)
    const long = this.#long.get(node)
    if (long === undefined && this.#random.below(4) > 0) return
    this.#long.delete(node)
    if (long !== undefined) return long.close()
    const client = new LongClient(this.#scope, node, DATABASE)
    this.#long.set(node, client)
    await client.rows(DIGEST)
  }

  async #reached(node: TestNode, position: string): Promise<void> {
    const context = () => `it is at ${positionOf(node)}`
    const isThere = () => positionOf(node) === position
    const what = `${this.#name(node)} is at ${position}`
    await until(what, isThere, { limitMs: LIMIT_MS, everyMs: 3, context })
  }

  /** All clients end, and what the nodes have is the same, byte for byte. */
  async end(): Promise<void> {
    for (const client of this.#clients) await client.end()
    for (const long of this.#long.values()) await long.close()
    const position = pos(this.#primary, DATABASE)
    const wanted = await exported(this.#primary)
    for (const node of this.#nodes) {
      await this.#reached(node, position)
      if (Buffer.compare(await exported(node), wanted) === 0) continue
      throw new Error(`${this.#name(node)} does not have the bytes that the primary has`)
    }
  }

  /** Whoever asks for a database while it changes hands must not be in the way. */
  async #exportAlways(): Promise<void> {
    const { signal } = this.#ending
    for (let turn = 0; !signal.aborted; turn++) {
      const limit = AbortSignal.any([signal, AbortSignal.timeout(500)])
      await exported(this.#nodes[turn % NODES] as TestNode, limit).catch(() => {})
      await Bun.sleep(30)
    }
  }

  /** So that everything that was started can end. */
  async stop(): Promise<void> {
    this.#ending.abort()
    for (const link of this.#links) link.heal()
    for (const node of this.#nodes) node.signal("SIGCONT")
    for (const client of this.#clients) await client.kill()
  }

  /** After a failure: what the nodes had. */
  async keep(): Promise<string> {
    await this.stop()
    const kept = mkdtempSync(join(tmpdir(), "litefs-torture-roles-"))
    for (const [index, node] of this.#nodes.entries()) {
      await Bun.write(join(kept, `node-${index}.log`), node.output)
      await node.end()
      const copied = Bun.spawnSync(["cp", "-r", node.data, join(kept, `node-${index}`)])
      if (copied.exitCode !== 0) throw new Error(copied.stderr.toString())
    }
    return kept
  }

  #name(node: TestNode): string {
    return `node-${this.#nodes.indexOf(node)}`
  }

  #pause(ms: number): Promise<void> {
    return Bun.sleep(this.#random.below(ms))
  }
}

/** What a connection reads is what the primary reads. */
export function expectSeen(where: string, what: unknown, wanted: unknown): void {
  const [text, ours] = [JSON.stringify(what), JSON.stringify(wanted)]
  if (text !== ours) throw new Error(`${where} reads ${text}, the primary ${ours}`)
}

/** Empty when the database is not there yet. */
function positionOf(node: TestNode): string {
  try {
    return pos(node, DATABASE)
  } catch {
    return ""
  }
}

async function exported(node: TestNode, signal = AbortSignal.timeout(LIMIT_MS)): Promise<Buffer> {
  const response = await fetch(`${node.url}/export?name=${DATABASE}`, { keepalive: false, signal })
  if (response.status !== 200)
    throw new Error(`export: ${response.status} ${await response.text()}`)
  return Buffer.from(await response.arrayBuffer())
}
