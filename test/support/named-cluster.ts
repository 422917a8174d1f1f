/**
 * Real nodes with names, for tables: what is started, what fails, and what has become of every row that a primary
 * has acknowledged.
 */
import { expect } from "bun:test"
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { join } from "node:path"
import { failureOf, run, sqlite3, sqlite3Command } from "./client.ts"
import { freePort, PROGRAM, Scope, type TestNode } from "./node.ts"
import { infoOf } from "./node-api.ts"
import { until } from "./until.ts"

const LIMIT_MS = 20_000

export interface StartOptions {
  /** `--primary-url`; `--primary` without one. */
  readonly follows?: string
  /** `--peer` */
  readonly peers?: readonly string[]
  readonly flags?: readonly string[]
  readonly command?: readonly string[]
}

interface Place {
  readonly directory: string
  readonly port: number
  node: TestNode | undefined
}

/** What is to be true in the end. Nodes are named by letters, rows by the words that were written. */
export interface Outcome {
  readonly primaries: readonly string[]
  /** What clients of the node read, in the order of the words. Nodes that are not named do not run. */
  readonly reads: Readonly<Record<string, string>>
  /** What nodes have kept of histories that lost; nothing where none is named. */
  readonly kept?: Readonly<Record<string, string>>
  readonly says?: readonly (readonly [node: string, pattern: RegExp])[]
}

export class NamedCluster implements AsyncDisposable {
  readonly #scope = new Scope()
  readonly #places = new Map<string, Place>()
  readonly #acknowledged: string[] = []

  static async create(names: string): Promise<NamedCluster> {
    const cluster = new NamedCluster()
    for (const name of names) {
      const directory = join(cluster.#scope.directory, name)
      mkdirSync(join(directory, "mnt"), { recursive: true })
      cluster.#places.set(name, { directory, port: await freePort(), node: undefined })
    }
    return cluster
  }

  node(name: string): TestNode {
    const { node } = this.#place(name)
    if (node === undefined) throw new Error(`${name} was not started`)
    return node
  }

  /** Resolves when it is mounted. */
  async start(name: string, options: StartOptions = {}): Promise<TestNode> {
    const node = await this.#spawn(name, options)
    await node.logged(/msg=mounted/)
    return node
  }

  /** Resolves with what it says when it has not started. */
  async refused(name: string, options: StartOptions = {}): Promise<string> {
    const node = await this.#spawn(name, options)
    const { code } = await node.exited
    const output = await node.wholeOutput
    expect([code, output]).toEqual([1, expect.stringContaining("ERROR: ")])
    this.#place(name).node = undefined
    return output
  }

  async stop(name: string, signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    await this.node(name).stop(signal)
    this.#place(name).node = undefined
  }

  /** Writes a row, which counts as acknowledged. */
  write(name: string, word: string): void {
    sqlite3(this.node(name), "a.db", `insert into t values('${word}')`)
    this.#acknowledged.push(word)
  }

  /** The table, on the primary. */
  create(name: string): void {
    sqlite3(this.node(name), "a.db", "pragma journal_mode = wal; create table t(x)")
  }

  async force(name: string): Promise<string> {
    return this.#promote(name, "?force=true")
  }

  async promote(name: string): Promise<string> {
    return this.#promote(name, "")
  }

  idOf(name: string): string {
    return JSON.parse(readFileSync(join(this.#place(name).directory, "data/lease.json"), "utf8")).id
  }

  /** Its data directory is lost. */
  wipe(name: string): void {
    rmSync(join(this.#place(name).directory, "data"), { recursive: true })
  }

  removeLease(name: string): void {
    rmSync(join(this.#place(name).directory, "data/lease.json"))
  }

  /** The data directory of one becomes that of the other. */
  copy(from: string, to: string): void {
    const target = join(this.#place(to).directory, "data")
    rmSync(target, { recursive: true, force: true })
    cpSync(join(this.#place(from).directory, "data"), target, { recursive: true })
  }

  /** Resolves when clients of the node read these words. */
  async reads(name: string, words: string): Promise<void> {
    await becomes(
      words,
      () => this.#read(name),
      () => `${name}:\n${this.node(name).output}`,
    )
  }

  /** Everything of the outcome, and that every acknowledged row is where somebody finds it. */
  async check({ primaries, reads, kept = {}, says = [] }: Outcome): Promise<void> {
    const running = [...this.#places].flatMap(([name, { node }]) => (node ? [name] : []))
    expect(running).toEqual(Object.keys(reads).sort())
    const logs = () => running.map((name) => `${name}:\n${this.node(name).output}`).join("\n")
    await becomes(primaries.join(","), () => this.#primaries(running), logs)
    for (const [name, words] of Object.entries(reads)) await this.reads(name, words)
    for (const [name, pattern] of says) await this.node(name).logged(pattern)
    for (const [name, { directory }] of this.#places) {
      expect([name, keptIn(directory)]).toEqual([name, kept[name] ?? ""])
    }
    const found = new Set([...Object.values(reads), ...Object.values(kept)].join(",").split(","))
    expect(this.#acknowledged.filter((word) => !found.has(word))).toEqual([])
    for (const name of running) {
      if (primaries.includes(name) || reads[name] === "nothing") continue
      const problem = failureOf(sqlite3Command(this.node(name), "a.db"), "insert into t values(0)")
      expect(problem).toMatch(/readonly database|disk I\/O error/) // the latter in WAL mode, as root
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#scope[Symbol.asyncDispose]()
  }

  #place(name: string): Place {
    const place = this.#places.get(name)
    if (place === undefined) throw new Error(`there is no ${name}`)
    return place
  }

  #urlOf(name: string): string {
    return `http://127.0.0.1:${this.#place(name).port}`
  }

  async #spawn(name: string, { follows, peers = [], flags = [], command }: StartOptions) {
    const { directory, port } = this.#place(name)
    const peerFlags = peers.flatMap((peer) => ["--peer", this.#urlOf(peer)])
    const node = await this.#scope.spawn({
      ...{ directory, port, flags: [...peerFlags, ...flags, "--log-level", "info"] },
      ...(follows === undefined ? {} : { follows: { url: this.#urlOf(follows) } }),
      ...(command === undefined ? {} : { command }),
    })
    this.#place(name).node = node
    return node
  }

  async #promote(name: string, query: string): Promise<string> {
    const response = await fetch(`${this.#urlOf(name)}/promote${query}`, {
      keepalive: false,
      method: "POST",
      signal: AbortSignal.timeout(LIMIT_MS),
    })
    return `${response.status} ${await response.text()}`
  }

  async #primaries(names: readonly string[]): Promise<string> {
    const found: string[] = []
    for (const name of names) if ((await infoOf(this.node(name))).isPrimary) found.push(name)
    return found.join(",")
  }

  async #read(name: string): Promise<string> {
    try {
      return sqlite3(this.node(name), "a.db", WORDS)
    } catch {
      return "nothing"
    }
  }
}

const WORDS = "select group_concat(x) from (select x from t order by x)"

/** The words that a node has kept for people, of all histories. */
function keptIn(directory: string): string {
  const data = join(directory, "data")
  const root = join(data, "diverged")
  if (!existsSync(root)) return ""
  const [program, ...words] = PROGRAM as [string, ...string[]]
  const found = readdirSync(root)
    .sort()
    .map((label) => {
      const path = join(directory, `${label}.db`)
      run([program, ...words, "diverged", "export", "--data-dir", data, label, path])
      return run(["sqlite3", path, WORDS]).trim()
    })
  return found.join("|")
}

async function becomes(
  wanted: string,
  look: () => Promise<string>,
  nodes: () => string,
): Promise<void> {
  let found = ""
  const isSo = async () => {
    found = await look()
    return found === wanted
  }
  const context = () => `it is ${found}\n${nodes()}`
  await until(wanted, isSo, { limitMs: LIMIT_MS, everyMs: 20, context })
}
