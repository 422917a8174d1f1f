/** http2-bridge.mjs, before a node: what is in its way speaks the original's HTTP. */
import { type ChildProcess, spawn } from "node:child_process"
import { join } from "node:path"
import { freePort, type Scope } from "./node.ts"
import { until } from "./until.ts"

const PROGRAM = join(import.meta.dir, "http2-bridge.mjs")

export class Http2Bridge {
  readonly port: number
  readonly #child: ChildProcess
  #said = ""

  private constructor(side: "primary" | "replica", port: number, to: number) {
    this.port = port
    const args = [PROGRAM, side, String(port), String(to)]
    this.#child = spawn("node", args, { stdio: ["ignore", "pipe", "pipe"] })
    const take = (text: Buffer) => {
      this.#said += text.toString()
    }
    this.#child.stdout?.on("data", take)
    this.#child.stderr?.on("data", take)
  }

  /** `to` is the port of a node. Ends with the scope. */
  static async start(
    scope: Scope,
    side: "primary" | "replica",
    to: number,
    at?: number,
  ): Promise<Http2Bridge> {
    const bridge = new Http2Bridge(side, at ?? (await freePort()), to)
    scope.defer(() => bridge.stop())
    await bridge.said(/^ready$/m)
    return bridge
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`
  }

  /** `METHOD /path STATUS` of each request. */
  get lines(): string[] {
    return this.#said.trim().split("\n").slice(1)
  }

  async said(pattern: RegExp): Promise<void> {
    const context = () => this.#said
    await until(`the bridge has said ${pattern}`, () => pattern.test(this.#said), { context })
  }

  /** Breaks what is open. */
  hangUp(): void {
    this.#child.kill("SIGHUP")
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const exited = new Promise<void>((done) => this.#child.once("exit", () => done()))
    this.#child.kill("SIGKILL")
    await exited
  }
}
