/**
 * Clients that write through any of the proxies and read it through any other, without a pause, while something
 * happens to the nodes.
 */
import { caughtUp, sqlite3 } from "./client.ts"
import { ProxyClient, type Site } from "./proxied-site.ts"
import type { Random } from "./random.ts"
import { until } from "./until.ts"

const CLIENTS = 8

/** One in so many writes is too large to be kept by a proxy. */
const LARGE_EVERY = 16
const PADDING = "-".repeat(150_000)

const LIMIT_MS = 60_000

export interface LoadAnswer {
  readonly what: "GET" | "POST"
  readonly note: string
  readonly status: number
  readonly text: string
  readonly ms: number
  /** When it was asked, as performance.now() has it. */
  readonly startMs: number
}

type Proxied = Pick<Site, "url" | "node">

export class ProxyLoad {
  /** What was answered with 200, each once. */
  readonly acknowledged: string[] = []
  /** Every other answer, and reads that did not find what was written. */
  readonly problems: LoadAnswer[] = []
  /** Where clients go; may change while they run. */
  sites: readonly Proxied[]
  readonly #asking: Proxied[] = []
  readonly #random: Random
  readonly #clients: Promise<void>[]
  readonly #listeners = new Set<() => void>()
  #isOver = false

  constructor(sites: readonly Proxied[], random: Random) {
    this.sites = sites
    this.#random = random
    this.#clients = Array.from({ length: CLIENTS }, (_, index) => this.#run(index))
  }

  /** Resolves when so many more writes were acknowledged. */
  async more(count: number): Promise<void> {
    const goal = this.acknowledged.length + count
    const deadline = Date.now() + LIMIT_MS
    while (this.acknowledged.length < goal) {
      if (Date.now() > deadline) throw new Error(`no write goes on: ${this.describe()}`)
      await Promise.race([
        new Promise<void>((wake) => this.#listeners.add(wake)),
        Bun.sleep(1000), // to look at the deadline
      ])
    }
  }

  /** Sends nobody there any more. Resolves when nobody waits for an answer from there. */
  async withdraw(site: Proxied): Promise<void> {
    this.sites = this.sites.filter(({ url }) => url !== site.url)
    const isAsked = () => this.#asking.some(({ url }) => url === site.url)
    await until(`all answers of ${site.url}`, () => !isAsked(), { limitMs: LIMIT_MS, everyMs: 1 })
  }

  async stop(): Promise<void> {
    this.#isOver = true
    await Promise.all(this.#clients)
  }

  describe(): string {
    const some = this.problems.slice(0, 5).map((problem) => JSON.stringify(problem))
    return [
      `${this.acknowledged.length} acknowledged, ${this.problems.length} problems`,
      ...some,
    ].join("\n")
  }

  /**
   * That every acknowledged write is there exactly once, and that what nobody knows is not there twice, on all of
   * the nodes.
   */
  async check(primary: Proxied, replicas: readonly Proxied[]): Promise<void> {
    for (const { node } of [primary, ...replicas]) {
      if (node !== primary.node) await caughtUp(primary.node, node, "app.db")
      const found = sqlite3(
        node,
        "app.db",
        "select substr(text, 1, instr(text, '.')) from items",
      ).split("\n")
      const counts = new Map<string, number>()
      for (const text of found) counts.set(text, (counts.get(text) ?? 0) + 1)
      const lost = this.acknowledged.filter((text) => !counts.has(text))
      const twice = [...counts].filter(([, count]) => count > 1).map(([text]) => text)
      if (lost.length > 0 || twice.length > 0) {
        throw new Error(
          `lost: ${lost.slice(0, 5)}, there twice: ${twice.slice(0, 5)}\n${this.describe()}`,
        )
      }
    }
  }

  async #run(index: number): Promise<void> {
    const client = new ProxyClient(index % 2 === 0)
    for (let count = 0; !this.#isOver; count++) {
      const note = `${index}:${count}.`
      const isLarge = count % LARGE_EVERY === LARGE_EVERY - 1
      const text = isLarge ? note + PADDING : note
      const written = await this.#ask(client, note, "/items", text)
      if (written === undefined) continue
      this.acknowledged.push(note)
      for (const wake of [...this.#listeners]) wake()
      this.#listeners.clear()
      const found = await this.#ask(client, note, `/items/${written}`)
      if (found === undefined || found === text) continue
      this.problems.push({
        what: "GET",
        note,
        status: 200,
        text: found.slice(0, 40),
        ms: 0,
        startMs: 0,
      })
    }
  }

  /** The text of an answer with 200, of any proxy. */
  async #ask(
    client: ProxyClient,
    note: string,
    path: string,
    body?: string,
  ): Promise<string | undefined> {
    const startMs = performance.now()
    const asked = this.#random.pick(this.sites)
    this.#asking.push(asked)
    const answer = await client
      .ask(`${asked.url}${path}`, body === undefined ? {} : { method: "POST", body })
      .catch((error) => ({ status: 0, text: String(error) }))
    this.#asking.splice(this.#asking.indexOf(asked), 1)
    if (answer.status === 200) return answer.text
    const what = body === undefined ? "GET" : "POST"
    const ms = Math.round(performance.now() - startMs)
    this.problems.push({ what, note, ...answer, ms, startMs })
    return undefined
  }
}
