/** A real application on nodes, behind their proxies. */
import { spawn } from "node:child_process"
import { join } from "node:path"
import { freePort, type NodeOptions, type Scope, type TestNode } from "./node.ts"
import type { Random } from "./random.ts"

/** proxy-app.mjs */
export const APP = join(import.meta.dir, "proxy-app.mjs")

export interface Site {
  readonly node: TestNode
  readonly proxyPort: number
  readonly appPort: number
  readonly url: string
  readonly app: App
}

/** The application as a process of its own: LiteFS would end with it. */
class App {
  readonly #start: () => ReturnType<typeof spawn>
  #child: ReturnType<typeof spawn> | undefined

  constructor(node: TestNode, port: number, journalMode: string) {
    const JOURNAL_MODE = journalMode
    const env = {
      ...process.env,
      JOURNAL_MODE,
      PORT: String(port),
      DATABASE: `${node.mount}/app.db`,
    }
    this.#start = () => spawn("node", [APP], { env, stdio: ["ignore", "pipe", "inherit"] })
  }

  async start(): Promise<void> {
    const child = this.#start()
    this.#child = child
    await new Promise<void>((done) => child.stdout?.once("data", () => done()))
  }

  async kill(): Promise<void> {
    const child = this.#child
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const exited = new Promise<void>((done) => child.once("exit", () => done()))
    child.kill("SIGKILL")
    await exited
  }
}

export async function site(
  scope: Scope,
  follows?: Site,
  flags: string[] = [],
  again: Pick<NodeOptions, "directory" | "port"> & {
    proxyPort?: number
    journalMode?: string
  } = {},
): Promise<Site> {
  const [proxyPort, appPort] = [again.proxyPort ?? (await freePort()), await freePort()]
  const node = await scope.node({
    ...again,
    ...(follows === undefined ? {} : { follows: follows.node }),
    flags: [
      ...["--proxy-addr", `127.0.0.1:${proxyPort}`, "--proxy-target", `:${appPort}`],
      ...["--proxy-db", "app.db", ...flags],
      ...(flags.includes("--proxy-read-timeout") ? [] : ["--proxy-read-timeout", "15s"]),
    ],
  })
  const app = new App(node, appPort, again.journalMode ?? "wal")
  await app.start()
  scope.defer(() => app.kill())
  return { node, proxyPort, appPort, url: `http://127.0.0.1:${proxyPort}`, app }
}

export async function threeSites(
  scope: Scope,
  flags: string[] = [],
  journalMode = "wal",
): Promise<[Site, Site, Site]> {
  const start = (follows?: Site) => site(scope, follows, flags, { journalMode })
  const primary = await start()
  return [primary, await start(primary), await start(primary)]
}

/** A client that keeps its position as browsers do, or by the header. */
export class ProxyClient {
  readonly #keepsCookies: boolean
  #token: string | undefined

  constructor(keepsCookies: boolean) {
    this.#keepsCookies = keepsCookies
  }

  async ask(url: string, init: RequestInit = {}): Promise<{ status: number; text: string }> {
    const headers: Record<string, string> = {}
    if (this.#keepsCookies && this.#token !== undefined) headers.Cookie = `__txid=${this.#token}`
    if (!this.#keepsCookies) headers["Litefs-Position"] = this.#token ?? ""
    const response = await fetch(url, { ...init, headers })
    const cookie = /^__txid=([^;]+)/.exec(response.headers.get("set-cookie") ?? "")?.[1]
    const told = response.headers.get("litefs-position") ?? undefined
    this.#token = (this.#keepsCookies ? cookie : told) ?? this.#token
    return { status: response.status, text: await response.text() }
  }
}

/**
 * Clients that write on any node and read it on any other, at once. Returns what they did not find: nothing, when the
 * proxies do what they are for.
 */
export async function writeThenRead(
  sites: readonly Site[],
  random: Random,
  pairCount: number,
): Promise<string[]> {
  const missing: string[] = []
  let pairs = 0
  const clients = Array.from({ length: 8 }, async (_, index) => {
    const client = new ProxyClient(index % 2 === 0)
    while (pairs < pairCount) {
      const note = `${index}: ${pairs++}`
      const [writer, reader] = [random.pick(sites), random.pick(sites)]
      const written = await client.ask(`${writer.url}/items`, { method: "POST", body: note })
      if (written.status !== 200) throw new Error(`POST: ${written.status} ${written.text}`)
      const found = await client.ask(`${reader.url}/items/${written.text}`)
      if (found.text !== note) missing.push(`${note}: ${found.status} ${found.text}`)
    }
  })
  await Promise.all(clients)
  return missing
}
