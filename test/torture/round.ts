/** What the kinds of torture share: writers and readers of one database, and the check of all invariants. */
import { unlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import type { TestNode } from "../support/node.ts"
import type { Random } from "../support/random.ts"
import { Client, program } from "./client.ts"
import { difference, readContent, replayHistoryTo } from "./history-check.ts"
import { CHECKS, MODES, type Mode, schemaSql, transactionSql } from "./model.ts"
import type { Pair } from "./pair.ts"

export const DATABASE = "torture.db"

/** More than a writer does before it is killed. */
const SCRIPT_LENGTH = 400
const CHECK_MS_MAX = 60_000

export interface Result {
  kills: number
  acknowledged: number
  unended: number // clients of a dead daemon that did not end by themselves
}

export class Round {
  readonly pair: Pair
  readonly random: Random
  readonly mode: Mode
  /** Of the content. */
  readonly checks: string[] = [...CHECKS]
  readonly #acknowledged = new Map<number, number>() // transaction → writer
  readonly #clients = new Set<Client>()
  /** Whether a writer may keep the database to itself until it ends. */
  mayBeExclusive = false
  #nextWriter = 1

  constructor(pair: Pair, random: Random, mode: Mode) {
    this.pair = pair
    this.random = random
    this.mode = mode
  }

  get acknowledgedCount(): number {
    return this.#acknowledged.size
  }

  async setUp(): Promise<void> {
    const { random } = this
    const pageSize = random.pick([4096, 4096, 4096, 512, 1024, 8192, 65536])
    const autoVacuum = random.pick(["none", "none", "full", "incremental"])
    const sql = schemaSql(this.mode, pageSize, autoVacuum)
    await this.run(sql, 30_000)
  }

  client(name: string, command: readonly string[], stdin?: string): Client {
    const client = new Client(name, command, stdin)
    this.#clients.add(client)
    return client
  }

  /** Runs SQL on the primary in a process of its own. */
  async run(sql: string, limitMs: number): Promise<string> {
    const path = this.#path(this.pair.primary)
    const client = this.client("sqlite3", ["sqlite3", "-bail", path, sql])
    const output = await client.output(limitMs)
    this.#clients.delete(client)
    return output
  }

  /** A writer with settings of its own. */
  startWriter(): Writer {
    const { random } = this
    const id = this.#nextWriter++
    const mode = this.mode === "mixed" ? random.pick(MODES) : this.mode
    const isExclusive = this.mayBeExclusive && random.below(8) === 0
    const setup = [
      "PRAGMA busy_timeout = 20000",
      `PRAGMA locking_mode = ${isExclusive ? "exclusive" : "normal"}`,
      `PRAGMA journal_mode = ${mode}`,
      `PRAGMA synchronous = ${random.pick(["normal", "full"])}`,
      `PRAGMA cache_size = ${random.pick([2000, 2000, 5, 10])}`, // small ones spill
      `PRAGMA wal_autocheckpoint = ${random.pick([1000, 1000, 10, 50])}`,
      `PRAGMA journal_size_limit = ${random.pick([-1, -1, 0, 10_000])}`,
    ]
    const between: [number, string][] = []
    if (random.below(3) === 0)
      between.push([random.between(5, 30), "PRAGMA incremental_vacuum(20)"])
    if (random.below(6) === 0) between.push([random.between(10, 30), "VACUUM"])
    if (random.below(4) === 0) {
      const kind = random.pick(["PASSIVE", "RESTART", "TRUNCATE"])
      const sql = `PRAGMA busy_timeout = 50; PRAGMA wal_checkpoint(${kind}); PRAGMA busy_timeout = 20000`
      between.push([random.between(3, 20), sql])
    }
    const path = this.#path(this.pair.primary)
    const transaction = transactionSql(id)
    if (random.below(4) === 0) {
      const command = program("writer", { path, setup: setup.join(";"), transaction, between })
      return new Writer(id, this.client(`writer ${id}`, command))
    }
    const script = join(this.pair.directory, `writer-${id}.sql`)
    const lines = [`${setup.join(";\n")};\n`]
    for (let count = 1; count <= SCRIPT_LENGTH; count++) {
      lines.push(`${transaction}SELECT 'ack ' || last_insert_rowid();\n`)
      for (const [every, sql] of between) if (count % every === 0) lines.push(`${sql};\n`)
    }
    writeFileSync(script, lines.join(""))
    // Line by line, or what it prints before the kill would be lost in its buffer.
    const command = ["stdbuf", "-oL", "sqlite3", "-bail", path]
    const writer = new Writer(id, this.client(`writer ${id}`, command, script))
    unlinkSync(script) // it has it open
    return writer
  }

  /** In WAL mode it holds its snapshots for long; in the others that would keep all writers out. */
  startReader(node: TestNode, { longMs = 400, timeoutMs = 60_000 } = {}): Client {
    const isLong = this.mode === "wal" || node !== this.pair.primary
    const command = program("reader", {
      path: this.#path(node),
      checks: this.checks,
      holdMs: isLong ? longMs : 0,
      pauseMs: isLong ? 5 : 150,
      timeoutMs,
    })
    return this.client(node === this.pair.primary ? "reader" : "replica's reader", command)
  }

  /** Takes note of what a writer has been told, after its end. */
  collect(writer: Writer): void {
    this.#clients.delete(writer.client)
    for (const line of writer.client.lines) {
      const match = /^ack (\d+)$/.exec(line)
      if (match === null) continue
      const n = Number(match[1])
      const other = this.#acknowledged.get(n)
      if (other !== undefined) {
        throw new Error(`LOST: transaction ${n} of writer ${other} was done again by ${writer.id}`)
      }
      this.#acknowledged.set(n, writer.id)
    }
  }

  /** Every acknowledged transaction is there, once and whole, as a client sees it. */
  async checkContent(node: TestNode): Promise<void> {
    const name = node === this.pair.primary ? "check on the primary" : "check on the replica"
    const command = program("check", { path: this.#path(node), checks: this.checks })
    const client = this.client(name, command)
    const { problems, writers } = JSON.parse(await client.output(CHECK_MS_MAX)) as {
      problems: string[]
      writers: number[]
    }
    this.#clients.delete(client)
    for (const [n, writer] of this.#acknowledged) {
      if (problems.length > 10 || writers[n - 1] === writer) continue
      const found = writers[n - 1] === undefined ? "is missing" : `is by ${writers[n - 1]}`
      problems.push(`LOST: transaction ${n} of writer ${writer} ${found} (of ${writers.length})`)
    }
    if (problems.length > 0) throw new Error(`${name}:\n${problems.join("\n")}`)
  }

  /** All invariants, when nobody writes. */
  async check(): Promise<void> {
    const { pair } = this
    await this.checkContent(pair.primary)
    await pair.settled(DATABASE)
    await this.checkContent(pair.replica)
    await this.checkHistory()
  }

  async checkHistory(): Promise<void> {
    const { pair } = this
    const pos = await pair.settled(DATABASE)
    for (const node of [pair.primary, pair.replica]) {
      const replayed = await replayHistoryTo(pos, node.data, DATABASE)
      const content = readContent(node.data, DATABASE)
      const differs = difference(replayed.bytes, content, replayed.pageSize)
      if (differs !== undefined) throw new Error(`${node.data}: log and database file: ${differs}`)
    }
  }

  /** Its end is not a failure. */
  forget(client: Client | undefined): void {
    if (client !== undefined) this.#clients.delete(client)
  }

  /** Readers end only when they find something. */
  checkReaders(): void {
    for (const client of this.#clients) {
      if (client.hasEnded) throw new Error(`${client.name} failed: ${client.stderr}`)
    }
  }

  /** Ends whoever is left. */
  async end(): Promise<void> {
    for (const client of this.#clients) await client.kill()
    this.#clients.clear()
  }

  #path(node: TestNode): string {
    return join(node.mount, DATABASE)
  }
}

export class Writer {
  readonly id: number
  readonly client: Client

  constructor(id: number, client: Client) {
    this.id = id
    this.client = client
  }

  /** Why it has ended by itself, or undefined when that is fine. */
  problem(mode: Mode): string | undefined {
    const { stderr, hasEnded } = this.client
    if (!hasEnded || stderr === "") return undefined
    // VACUUM and changes of the journal mode do not wait for others, and readers may starve a writer.
    if (mode !== "wal" && /database is locked/.test(stderr)) return undefined
    return `writer ${this.id} failed: ${stderr.slice(0, 500)}`
  }
}
