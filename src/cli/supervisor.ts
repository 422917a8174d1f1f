/**
 * Runs a node and the command that uses it, and ends both in order.
 *
 *             opened           start()              stop()
 *   opening ──────────▶ waiting ──────▶ running ─────────────▶ stopping
 *      │                 │   │             │ child exited         │ child exited
 *      │ not opened      │   ▼ ready       │                      │
 *      │                 │ serving         │                      │
 *      │                 ▼   ▼    close()  ▼                      │
 *      │               closing ◀───────────┴──────────────────────┘
 *      ▼                  │
 *   closed ◀──────────────┘ node closed
 *
 * 1. A node that was opened is closed, on every path, and never while a child uses it.
 * 2. The exit code is the child's. A node that failed makes it 1. A signal that ends a node
 *    without a child makes it 0, unless there was a command that has not run yet: then 128+n, so
 *    that a script does not take it for one that succeeded.
 * 3. A child that was told to stop has `graceMs` for it; a second SIGTERM or SIGINT cuts it short.
 * 4. The terminal sends Ctrl-C to the child as well as to us. We leave it to the child then, as a
 *    shell does: it would get it twice, and one like `bash` or `sqlite3` means to survive it.
 */
import { unreachable } from "../lib/assert.ts"
import type { Clock } from "../lib/clock.ts"
import { LitefsError } from "../lib/errors.ts"
import { logger } from "../lib/log.ts"
import { type Child, type ChildExit, signalExitCode, startChild } from "./child.ts"
import type { ProcessEvents, Signal, SignalName } from "./process-events.ts"

const log = logger("supervisor")

const GRACE_MS = 10_000

/** Longer than an honest close takes. One that hangs must not make this process immortal. */
const CLOSE_LIMIT_MS = 30_000

export interface SupervisedNode {
  /** Resolves when the command may start. */
  ready(signal: AbortSignal): Promise<void>
  close(): Promise<void>
  /** Resolves when the node cannot go on. */
  readonly failed: Promise<Error>
}

export interface SuperviseOptions {
  readonly open: () => Promise<SupervisedNode>
  readonly command: readonly string[] | undefined
  readonly events: ProcessEvents
  readonly clock: Clock
  /** Tells the user what ends us, or kept the command from running. */
  readonly report: (error: Error) => void
  readonly graceMs?: number
}

type State =
  /** `code`: the decision to close has been made, but there is nothing to close yet. */
  | { kind: "opening"; code: number | undefined }
  | { kind: "waiting"; node: SupervisedNode; wait: AbortController }
  | { kind: "serving"; node: SupervisedNode }
  | { kind: "running"; node: SupervisedNode; child: Child }
  /** `code`: what to exit with instead of the child's code. */
  | {
      kind: "stopping"
      node: SupervisedNode
      child: Child
      code: number | undefined
      endGrace: () => void
    }
  | { kind: "closing"; code: number; endLimit: () => void }
  | { kind: "closed"; code: number }

type Event =
  | { kind: "opened"; node: SupervisedNode }
  | { kind: "not-opened"; error: Error }
  | { kind: "ready" }
  | { kind: "signal"; signal: Signal }
  | { kind: "failed"; error: Error }
  | { kind: "exited"; exit: ChildExit }
  | { kind: "grace-over" }
  | { kind: "node-closed" }
  | { kind: "not-closed"; error: Error }

type In<Kind extends State["kind"]> = Extract<State, { kind: Kind }>

/** Resolves with the exit code when everything has ended. It does not reject. */
export async function supervise(options: SuperviseOptions): Promise<number> {
  const supervisor = new Supervisor(options)
  const removeSignals = options.events.onSignal((signal) =>
    supervisor.handle({ kind: "signal", signal }),
  )
  const removeCrashes = options.events.onCrash((error) =>
    supervisor.handle({ kind: "failed", error }),
  )
  const code = await supervisor.run()
  removeSignals()
  removeCrashes()
  return code
}

class Supervisor {
  readonly #options: SuperviseOptions
  readonly #closed = Promise.withResolvers<number>()
  #state: State = { kind: "opening", code: undefined }

  constructor(options: SuperviseOptions) {
    this.#options = options
  }

  run(): Promise<number> {
    this.#options.open().then(
      (node) => this.handle({ kind: "opened", node }),
      (error) => this.handle({ kind: "not-opened", error }),
    )
    return this.#closed.promise
  }

  /** Synchronous, and every event comes from the event loop: none arrives inside another. */
  handle(event: Event): void {
    this.#state = this.#step(this.#state, event)
    if (this.#state.kind === "closed") this.#closed.resolve(this.#state.code)
  }

  /** An event that a state says nothing about leaves it as it is. */
  #step(state: State, event: Event): State {
    switch (state.kind) {
      case "opening":
        return this.#whenOpening(state, event)
      case "waiting":
        return this.#whenWaiting(state, event)
      case "serving":
        return this.#whenServing(state, event)
      case "running":
        return this.#whenRunning(state, event)
      case "stopping":
        return this.#whenStopping(state, event)
      case "closing":
        return this.#whenClosing(state, event)
      case "closed":
        return state
      default:
        return unreachable(state)
    }
  }

  #whenOpening(state: In<"opening">, event: Event): State {
    switch (event.kind) {
      case "opened":
        return state.code === undefined
          ? this.#wait(event.node)
          : this.#close(event.node, state.code)
      case "not-opened":
        this.#options.report(event.error)
        return { kind: "closed", code: 1 }
      case "failed":
        this.#options.report(event.error)
        return { kind: "opening", code: 1 }
      case "signal":
        if (!endsWithoutChild(event.signal.name)) return state
        return { kind: "opening", code: this.#codeWithoutChild(event.signal.name) }
      default:
        return state
    }
  }

  #whenWaiting(state: In<"waiting">, event: Event): State {
    switch (event.kind) {
      case "ready":
        return this.#start(state.node)
      case "failed":
        this.#options.report(event.error)
        state.wait.abort()
        return this.#close(state.node, 1)
      case "signal":
        if (!endsWithoutChild(event.signal.name)) return state
        state.wait.abort()
        return this.#close(state.node, this.#codeWithoutChild(event.signal.name))
      default:
        return state
    }
  }

  #whenServing(state: In<"serving">, event: Event): State {
    switch (event.kind) {
      case "failed":
        this.#options.report(event.error)
        return this.#close(state.node, 1)
      case "signal":
        if (!endsWithoutChild(event.signal.name)) return state
        log.info("stopping", { signal: event.signal.name })
        return this.#close(state.node, 0)
      default:
        return state
    }
  }

  #whenRunning(state: In<"running">, event: Event): State {
    switch (event.kind) {
      case "exited":
        return this.#exited(state.node, event.exit, undefined)
      case "failed":
        this.#options.report(event.error)
        return this.#stop(state, "SIGTERM", 1)
      case "signal": {
        const { name, fromKeyboard } = event.signal
        if (fromKeyboard) return state
        if (asksToStop(name)) return this.#stop(state, name, undefined)
        state.child.kill(name)
        return state
      }
      default:
        return state
    }
  }

  #whenStopping(state: In<"stopping">, event: Event): State {
    switch (event.kind) {
      case "exited":
        state.endGrace()
        return this.#exited(state.node, event.exit, state.code)
      case "failed":
        this.#options.report(event.error)
        return { ...state, code: 1 }
      case "grace-over":
        log.warn("command does not stop, killing it", { pid: state.child.pid })
        state.child.kill("SIGKILL")
        return state
      case "signal":
        state.child.kill(asksToStop(event.signal.name) ? "SIGKILL" : event.signal.name)
        return state
      default:
        return state
    }
  }

  #whenClosing(state: In<"closing">, event: Event): State {
    switch (event.kind) {
      case "node-closed":
        state.endLimit()
        return { kind: "closed", code: state.code }
      case "not-closed":
        state.endLimit()
        this.#options.report(event.error)
        return { kind: "closed", code: state.code || 1 }
      default:
        return state
    }
  }

  #wait(node: SupervisedNode): State {
    const wait = new AbortController()
    node.ready(wait.signal).then(
      () => this.handle({ kind: "ready" }),
      (error) => this.handle({ kind: "failed", error }),
    )
    void node.failed.then((error) => this.handle({ kind: "failed", error }))
    return { kind: "waiting", node, wait }
  }

  #start(node: SupervisedNode): State {
    const { command } = this.#options
    if (command === undefined) return { kind: "serving", node }

    const child = startChild(command, (exit) => this.handle({ kind: "exited", exit }))
    log.info("command started", { command: command[0], pid: child.pid })
    return { kind: "running", node, child }
  }

  #stop({ node, child }: In<"running">, signal: SignalName, code: number | undefined): State {
    const { clock, graceMs = GRACE_MS } = this.#options
    log.info("stopping the command", { signal, pid: child.pid })
    child.kill(signal)
    const endGrace = clock.after(graceMs, () => this.handle({ kind: "grace-over" }))
    return { kind: "stopping", node, child, code, endGrace }
  }

  #exited(node: SupervisedNode, exit: ChildExit, code: number | undefined): State {
    if (exit.error === undefined) log.info("command exited", { code: exit.code })
    else this.#options.report(exit.error)
    return this.#close(node, code ?? exit.code)
  }

  #close(node: SupervisedNode, code: number): State {
    node.close().then(
      () => this.handle({ kind: "node-closed" }),
      (error) => this.handle({ kind: "not-closed", error }),
    )
    const endLimit = this.#options.clock.after(CLOSE_LIMIT_MS, () => {
      const fault = `it is still busy after ${CLOSE_LIMIT_MS / 1000} s`
      const error = new LitefsError("unavailable", `Cannot close the node: ${fault}`)
      this.handle({ kind: "not-closed", error })
    })
    return { kind: "closing", code, endLimit }
  }

  #codeWithoutChild(signal: SignalName): number {
    log.info("stopping", { signal })
    return this.#options.command === undefined ? 0 : signalExitCode(signal)
  }
}

/** What a service manager or a user sends to end a program. */
function asksToStop(name: SignalName): boolean {
  return name === "SIGTERM" || name === "SIGINT"
}

/** A child may take SIGHUP for "reload"; without one, it and SIGQUIT mean what they always mean. */
function endsWithoutChild(name: SignalName): boolean {
  return asksToStop(name) || name === "SIGHUP" || name === "SIGQUIT"
}
