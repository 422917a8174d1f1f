import { type Clock, systemClock } from "../../src/lib/clock.ts"
import type { ProxyOptions } from "../../src/litefs-options.ts"
import { ProxyServer } from "../../src/proxy/proxy-server.ts"
import { FakeProxyCluster } from "./fake-proxy-cluster.ts"
import { RawSocket } from "./raw-socket.ts"

/** A proxy in front of a server of the test, on a node that is as the test says. */
export class ProxyUnderTest implements Disposable {
  readonly cluster = new FakeProxyCluster()
  readonly server: ProxyServer
  readonly #clients: RawSocket[] = []

  constructor(
    targetPort: number,
    options: Partial<ProxyOptions> = {},
    clock: Clock = systemClock,
    connectionsMax?: number,
  ) {
    this.server = new ProxyServer(
      {
        address: { host: "127.0.0.1", port: 0 },
        target: { host: "127.0.0.1", port: targetPort },
        databases: ["a.db"],
        passthrough: [],
        alwaysForward: [],
        mode: "forward",
        maxLagMs: 10_000,
        redirectTimeoutMs: 20_000,
        readTimeoutMs: 20_000,
        isDebugging: false,
        ...options,
      },
      this.cluster,
      clock,
      connectionsMax,
    )
  }

  get url(): string {
    return `http://127.0.0.1:${this.server.port}`
  }

  /** Makes this node a replica of that one. */
  follow(primary: ProxyUnderTest): void {
    this.cluster.set({ isPrimary: false, primaryName: "node-p", primaryProxyUrl: primary.url })
  }

  async client(): Promise<RawSocket> {
    const client = await RawSocket.connect(this.server.port)
    this.#clients.push(client)
    return client
  }

  /** Samples of a metric with their labels: `{outcome="local"} 3`. */
  metric(name: string): string[] {
    return [...this.server.families()]
      .filter((family) => family.name === name)
      .flatMap((family) => [...family.samples()])
      .map(({ suffix = "", labels = {}, value }) => `${suffix}${JSON.stringify(labels)} ${value}`)
  }

  [Symbol.dispose](): void {
    for (const client of this.#clients) client.destroy()
    this.server.close()
  }
}
