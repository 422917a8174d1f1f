import type { ProcessEvents, Signal, SignalName } from "../../src/cli/command/process-events.ts"
import type { CliIo } from "../../src/cli/terminal/io.ts"
import type { Screen } from "../../src/cli/terminal/screen.ts"
import type { LiteFSOptions } from "../../src/litefs-options.ts"
import { FakeClock } from "./fake-clock.ts"
import { FakeNode } from "./fake-node.ts"

/** Signals and crashes that the test sends. */
export class FakeEvents implements ProcessEvents {
  readonly #signalListeners = new Set<(signal: Signal) => void>()
  readonly #childListeners = new Set<() => void>()
  readonly #crashListeners = new Set<(error: Error) => void>()

  onSignal(listener: (signal: Signal) => void): () => void {
    this.#signalListeners.add(listener)
    return () => this.#signalListeners.delete(listener)
  }

  onCrash(listener: (error: Error) => void): () => void {
    this.#crashListeners.add(listener)
    return () => this.#crashListeners.delete(listener)
  }

  onChildEnd(listener: () => void): () => void {
    this.#childListeners.add(listener)
    return () => this.#childListeners.delete(listener)
  }

  get listenerCount(): number {
    return this.#signalListeners.size + this.#crashListeners.size + this.#childListeners.size
  }

  signal(name: SignalName, fromKeyboard = false): void {
    for (const listener of this.#signalListeners) listener({ name, fromKeyboard })
  }

  crash(error: Error): void {
    for (const listener of this.#crashListeners) listener(error)
  }
}

export const WIDE: Screen = { columns: 100, rows: 30, isDumb: false, hasColors: false }

/** The world of a command: what it prints, and the nodes it opens, which are ready at once. */
export class FakeIo implements CliIo {
  readonly env: Record<string, string>
  readonly clock = new FakeClock()
  readonly events = new FakeEvents()
  readonly opened: LiteFSOptions[] = []
  /** What was done to the machine, in order. */
  readonly effects: string[] = []
  out = ""
  /** What was written as bytes. */
  bytes = new Uint8Array(0)
  input: Uint8Array[] = []
  /** What stdout and stderr are shown on. */
  screens: { [fd in 1 | 2]?: Screen } = {}
  isInit = false
  err = ""

  constructor(env: Record<string, string> = {}) {
    this.env = env
  }

  screen(fd: 1 | 2): Screen | undefined {
    return this.screens[fd]
  }

  stdout(text: string): void {
    this.out += text
  }

  stderr(text: string): void {
    this.err += text
  }

  async *stdin(): AsyncGenerator<Uint8Array> {
    yield* this.input
  }

  async writeStdout(bytes: Uint8Array): Promise<void> {
    this.bytes = new Uint8Array(Buffer.concat([this.bytes, bytes]))
  }

  async recoverStaleMount({ fuseDir }: { fuseDir: string }): Promise<void> {
    this.effects.push(`recover ${fuseDir}`)
  }

  expectNode(): void {
    this.effects.push("expect")
  }

  async openNode(options: LiteFSOptions): Promise<FakeNode> {
    this.effects.push("open")
    this.opened.push(options)
    const node = new FakeNode()
    node.becomeReady.resolve()
    return node
  }
}
