/** What a command may use of the world. `main.ts` passes the real one, tests pass a fake. */
import type { Clock } from "../../lib/clock.ts"
import { LitefsError, messageOf } from "../../lib/errors.ts"
import type { LiteFSOptions } from "../../litefs-options.ts"
import { systemProblem } from "../../sys/errno.ts"
import type { ProcessEvents } from "../command/process-events.ts"
import type { SupervisedNode } from "../command/supervisor-state.ts"
import type { Environment } from "./argv.ts"
import type { Screen } from "./screen.ts"
import { onLines } from "./table.ts"

export interface CliIo {
  readonly env: Environment
  stdout(text: string): void
  stderr(text: string): void
  /** The terminal behind stdout or stderr, by its number; undefined when it is none. */
  screen(fd: 1 | 2): Screen | undefined
  /** The keyboard, when stdin and stdout are a terminal. */
  keyboard?(): Keyboard | undefined
  stdin(): AsyncIterable<Uint8Array>
  /** Bytes for whoever reads stdout, at the reader's speed. */
  writeStdout(bytes: Uint8Array): Promise<void>
  /** Whether this process is PID 1, which has to take care of processes without parents. */
  readonly isInit: boolean
  readonly clock: Clock
  readonly events: ProcessEvents
  /** A node will most likely be opened: begins what can be done in advance. */
  expectNode(): void
  openNode(options: LiteFSOptions): Promise<SupervisedNode>
  /** Detaches the mount that an earlier process, now dead, has left. Throws when a living one serves it. */
  recoverStaleMount(options: Pick<LiteFSOptions, "fuseDir" | "dataDir">): Promise<void>
}

/** For those who read lines or keys: node:readline and node:tty are behind it. */
export interface Keyboard {
  readonly input: NodeJS.ReadStream
  readonly output: NodeJS.WriteStream
}

/** Prints one line for a condition of the world, and a bug in full. */
export function reportError(io: CliIo, error: unknown): void {
  const problem = systemProblem(error)
  io.stderr(`ERROR: ${onLines(problem ?? messageOf(error))}\n`)
  if (problem !== undefined || error instanceof LitefsError || !(error instanceof Error)) return
  io.stderr(`${error.stack}\n`)
}
