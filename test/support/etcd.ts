/** A real etcd of one member or more, from Debian's package etcd-server. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { join, resolve } from "node:path"
import type { Certificates } from "./certificates.ts"
import { freePort, MEMORY, type Scope } from "./node.ts"
import { until } from "./until.ts"

const ROOT = resolve(import.meta.dir, "../..")

/** Installs etcd through apt when it is missing. False where it cannot be had: tests are skipped there. */
export const hasEtcd = ((): boolean => {
  const { status, stderr } = spawnSync(
    "bash",
    ["-c", "source scripts/lib.sh; need_program etcd etcd-server"],
    { cwd: ROOT, encoding: "utf8", timeout: 120_000 },
  )
  if (status === 0) return true
  console.warn(`no etcd here, tests with it are left out: ${stderr.trim().split("\n").at(-1)}`)
  return false
})()

interface Ports {
  readonly client: number
  readonly peer: number
}

export class Etcd {
  readonly members: readonly EtcdMember[]

  /** Starts it, and waits until it answers. It ends with the scope. */
  static async start(
    scope: Scope,
    count = 1,
    flags: readonly string[] = [],
    authority?: Pick<Certificates, "ca" | "make">,
  ): Promise<Etcd> {
    const directory = mkdtempSync(join(MEMORY, "litefs-etcd-"))
    scope.defer(() => rmSync(directory, { recursive: true, force: true }))
    const ports: Ports[] = []
    for (let index = 0; index < count; index++) {
      ports.push({ client: await freePort(), peer: await freePort() })
    }
    const etcd = new Etcd(
      ports.map((_, index) => new EtcdMember(directory, ports, index, flags, authority)),
    )
    scope.defer(() => etcd.kill())
    await etcd.run()
    return etcd
  }

  constructor(members: readonly EtcdMember[]) {
    this.members = members
  }

  /** For `--lease`. */
  url(prefix = "litefs/test", ttl = "3s"): string {
    return `etcd://${this.members.map(({ host }) => host).join(",")}/${prefix}?ttl=${ttl}`
  }

  async run(): Promise<void> {
    for (const member of this.members) member.run()
    await until(
      "etcd answers",
      async () => (await Promise.all(this.members.map((each) => each.answers()))).every(Boolean),
      {
        limitMs: 30_000,
        everyMs: 50,
        context: () => this.members.map(({ output }) => output).join("\n"),
      },
    )
  }

  async kill(): Promise<void> {
    await Promise.all(this.members.map((member) => member.kill()))
  }

  signal(signal: NodeJS.Signals): void {
    for (const member of this.members) member.signal(signal)
  }

  /** What it has under the prefix, as texts, by key. */
  async content(prefix = "litefs/test"): Promise<Map<string, string>> {
    const base64 = (text: string) => Buffer.from(text).toString("base64")
    const { kvs = [] } = (await this.call("/v3/kv/range", {
      key: base64(`${prefix}/`),
      range_end: base64(`${prefix}0`),
    })) as { kvs?: { key: string; value?: string }[] }
    const text = (value = "") => Buffer.from(value, "base64").toString()
    return new Map(kvs.map(({ key, value }) => [text(key).slice(prefix.length + 1), text(value)]))
  }

  async call(path: string, body: unknown): Promise<unknown> {
    const member = this.members.find((each) => each.isRunning) ?? this.members[0]
    const response = await fetch(`http://${member?.host}${path}`, {
      method: "POST",
      body: JSON.stringify(body),
    })
    return await response.json()
  }
}

export class EtcdMember {
  readonly host: string
  readonly #args: readonly string[]
  /** Who may ask it whether it is well. */
  readonly #tls: { readonly ca: string; readonly cert: string; readonly key: string } | undefined
  #child: ChildProcess | undefined
  output = ""

  constructor(
    directory: string,
    ports: readonly Ports[],
    index: number,
    flags: readonly string[],
    authority?: Pick<Certificates, "ca" | "make">,
  ) {
    if (authority !== undefined) {
      const { cert, key } = authority.make("health")
      const [ca, ...own] = [authority.ca, cert, key].map((path) => readFileSync(path, "utf8"))
      this.#tls = { ca: ca ?? "", cert: own[0] ?? "", key: own[1] ?? "" }
    }
    const scheme = authority === undefined ? "http" : "https"
    const { client, peer } = ports[index] as Ports
    this.host = `127.0.0.1:${client}`
    const all = ports.map((each, at) => `m${at}=http://127.0.0.1:${each.peer}`).join(",")
    this.#args = [
      ...["--name", `m${index}`, "--data-dir", join(directory, `m${index}`)],
      ...["--listen-client-urls", `${scheme}://${this.host}`],
      ...["--advertise-client-urls", `${scheme}://${this.host}`],
      ...["--listen-peer-urls", `http://127.0.0.1:${peer}`],
      ...["--initial-advertise-peer-urls", `http://127.0.0.1:${peer}`],
      ...["--initial-cluster", all],
      ...["--logger", "zap", "--log-level", "error"],
      ...flags,
    ]
  }

  get isRunning(): boolean {
    return this.#child !== undefined
  }

  run(): void {
    const child = spawn("etcd", this.#args, { stdio: ["ignore", "pipe", "pipe"] })
    const take = (text: Buffer) => {
      this.output = `${this.output}${text}`.slice(-4000)
    }
    child.stdout.on("data", take)
    child.stderr.on("data", take)
    this.#child = child
  }

  /** Without curl: the test's own process asks. */
  async answers(): Promise<boolean> {
    try {
      const scheme = this.#tls === undefined ? "http" : "https"
      const response = await fetch(`${scheme}://${this.host}/health`, {
        signal: AbortSignal.timeout(1000),
        ...(this.#tls && { tls: this.#tls }),
      })
      return ((await response.json()) as { health?: string }).health === "true"
    } catch {
      return false
    }
  }

  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal)
  }

  async kill(): Promise<void> {
    const child = this.#child
    this.#child = undefined
    if (child === undefined || child.exitCode !== null) return
    const ended = once(child, "exit")
    child.kill("SIGKILL")
    await ended
  }
}
