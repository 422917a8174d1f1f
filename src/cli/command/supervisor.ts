/**
 * Runs a node and the commands that use it, and ends both in order. `supervisor-state.ts` has the drawing.
 *
 * 1. A node that was opened is closed, on every path, and never while a child uses it.
 * 2. The exit code is that of the command, or of one before it that failed. A node that failed makes it 1. A signal
 *    that ends a node makes it 0 without a command, and 128+n with commands that have not run to their end yet: a
 *    script must not take it for success.
 * 3. A child that was told to stop has `graceMs` for it; a second SIGTERM or SIGINT cuts it short. One that hangs in
 *    the kernel, and cannot even be killed, is left behind after KILL_LIMIT_MS.
 * 4. A node that has something to give away first does so before the command is told to stop, for LEAVE_LIMIT_MS.
 * 5. The terminal sends Ctrl-C to the child as well as to us. We then leave it to the child, as a shell does: otherwise
 *    the child would get it twice, and a child like `bash` or `sqlite3` means to survive it.
 *
 * It is one file because it is one table: what each state makes of each event.
 */
import { every, keepAlive } from "../../lib/clock.ts"
import { formatDuration } from "../../lib/duration.ts"
import { LitefsError } from "../../lib/errors.ts"
import { logger } from "../../lib/log.ts"
import { type Child, type ChildExit, signalExitCode, startChild } from "./child.ts"
import { asksToStop, endsWithoutChild, type Signal, type SignalName } from "./process-events.ts"
import type {
  Event,
  In,
  State,
  SupervisedCommand,
  SupervisedNode,
  SuperviseOptions,
} from "./supervisor-state.ts"

const log = logger("supervisor")

/** Container managers (docker stop) kill everything after 10 seconds, and the node must be closed by then, too. */
const GRACE_MS = 8000

/** Whoever stops us gives us some 10 seconds in all. */
const LEAVE_LIMIT_MS = 5000

/** A killed process ends at once, unless it hangs in the kernel. */
const KILL_LIMIT_MS = 5000

/** Time between two reports of a command that waits. */
const WAITING_MS = 30_000

const NAMES_SHOWN = 10

/** Longer than a healthy close takes. One that hangs must not make this process immortal. */
const CLOSE_LIMIT_MS = 30_000

/** Resolves with the exit code when everything has ended. It does not reject. */
export async function supervise(options: SuperviseOptions): Promise<number> {
  const supervisor = new Supervisor(options)
  const { events } = options
  const removeSignals = events.onSignal((signal) => supervisor.handle({ kind: "signal", signal }))
  const removeCrashes = events.onCrash((error) => supervisor.handle({ kind: "failed", error }))
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

  /** A state stays as it is on an event that it does not mention. */
  readonly #when: { readonly [Kind in State["kind"]]: (state: In<Kind>, event: Event) => State } = {
    opening: (state, event) => this.#whenOpening(state, event),
    waiting: (state, event) => this.#whenWaiting(state, event),
    preparing: (state, event) => this.#whenPreparing(state, event),
    serving: (state, event) => this.#whenServing(state, event),
    running: (state, event) => this.#whenRunning(state, event),
    leaving: (state, event) => this.#whenLeaving(state, event),
    stopping: (state, event) => this.#whenStopping(state, event),
    closing: (state, event) => this.#whenClosing(state, event),
    held: (state, event) => this.#whenHeld(state, event),
    closed: (state) => state,
  }

  #step(state: State, event: Event): State {
    // What fails in a node that closes is told when it is closed.
    const isEnding = state.kind === "closing" || state.kind === "closed"
    if (event.kind === "failed" && !isEnding) this.#options.report(event.error)
    const next = this.#when[state.kind] as (state: State, event: Event) => State
    return next(state, event)
  }

  #whenOpening(state: In<"opening">, event: Event): State {
    switch (event.kind) {
      case "opened":
        return state.code === undefined
          ? this.#wait(event.node)
          : this.#close(event.node, state.code)
      case "not-opened":
        this.#options.report(event.error)
        return state.code === undefined ? this.#hold(undefined, 1) : { kind: "closed", code: 1 }
      case "failed":
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
        state.endTimers()
        return this.#prepare(state.node, 0)
      case "sync-over":
        state.giveUp()
        log.warn("not in sync in time, going on with what is here (--sync-timeout)", {
          reason: state.node.waitsFor?.(),
        })
        return this.#prepare(state.node, 0)
      case "failed":
        state.giveUp()
        return this.#close(state.node, 1, this.#options.exitOnError === false)
      case "signal":
        if (!endsWithoutChild(event.signal.name)) return state
        state.giveUp()
        return this.#close(state.node, this.#codeWithoutChild(event.signal.name))
      default:
        return state
    }
  }

  #whenPreparing(state: In<"preparing">, event: Event): State {
    switch (event.kind) {
      case "exited": {
        const { code, error } = event.exit
        if (code === 0) return this.#prepare(state.node, state.index + 1)
        this.#options.report(error ?? this.#notPrepared(state.index, code))
        return this.#hold(state.node, code)
      }
      // Whatever the command makes of the signal, the commands after it do not run.
      case "signal":
        return this.#passOn(state, event.signal, signalExitCode(event.signal.name))
      case "failed":
        return this.#stop(state, "SIGTERM", 1)
      default:
        return state
    }
  }

  #whenServing(state: In<"serving">, event: Event): State {
    switch (event.kind) {
      case "failed":
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
        if (event.exit.error === undefined) return this.#exited(state.node, event.exit, undefined)
        this.#options.report(event.exit.error)
        return this.#hold(state.node, event.exit.code)
      case "signal":
        if (event.signal.fromKeyboard || !asksToStop(event.signal.name)) {
          return this.#passOn(state, event.signal, undefined)
        }
        return this.#leave(state, event.signal.name)
      case "failed":
        return this.#stop(state, "SIGTERM", 1)
      default:
        return state
    }
  }

  #whenLeaving(state: In<"leaving">, event: Event): State {
    switch (event.kind) {
      case "left":
        state.endLimit()
        return this.#stop(state, state.signal, undefined)
      case "exited":
        state.endLimit()
        return this.#exited(state.node, event.exit, undefined)
      case "signal":
        if (!asksToStop(event.signal.name)) return this.#passOn(state, event.signal, undefined)
        state.endLimit()
        return this.#stop(state, event.signal.name, undefined)
      case "failed":
        state.endLimit()
        return this.#stop(state, "SIGTERM", 1)
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
        return { ...state, code: 1 }
      case "grace-over":
        log.warn("command does not stop, killing it", { pid: state.child.pid })
        state.child.kill("SIGKILL")
        return { ...state, endGrace: this.#options.clock.after(KILL_LIMIT_MS, this.#killOver) }
      case "kill-over":
        this.#options.report(stuck(state.child))
        return this.#close(state.node, state.code || 1)
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
        return state.isHeld
          ? this.#hold(undefined, state.code)
          : { kind: "closed", code: state.code }
      case "not-closed":
        state.endLimit()
        this.#options.report(event.error)
        return { kind: "closed", code: state.code || 1 }
      case "signal":
        return { ...state, isHeld: state.isHeld && !endsWithoutChild(event.signal.name) }
      default:
        return state
    }
  }

  #whenHeld(state: In<"held">, event: Event): State {
    switch (event.kind) {
      case "failed":
        if (state.node === undefined) return state
        state.endHold()
        return this.#close(state.node, state.code, true)
      case "signal":
        if (!endsWithoutChild(event.signal.name)) return state
        state.endHold()
        log.info("stopping", { signal: event.signal.name })
        if (state.node === undefined) return { kind: "closed", code: state.code }
        return this.#close(state.node, state.code)
      default:
        return state
    }
  }

  #wait(node: SupervisedNode): State {
    const { skipSync, syncTimeoutMs, clock } = this.#options
    const wait = new AbortController()
    const ready = skipSync ? Promise.resolve() : node.ready(wait.signal)
    ready.then(
      () => this.handle({ kind: "ready" }),
      (error) => {
        if (!wait.signal.aborted) this.handle({ kind: "failed", error })
      },
    )
    void node.failed.then((error) => this.handle({ kind: "failed", error }))
    const endReports = every(clock, WAITING_MS, (ms) => this.#sayWaiting(node, ms))
    const over = () => this.handle({ kind: "sync-over" })
    const endLimit = syncTimeoutMs === undefined ? () => {} : clock.after(syncTimeoutMs, over)
    const endTimers = () => {
      endReports()
      endLimit()
    }
    const giveUp = () => {
      endTimers()
      wait.abort()
    }
    return { kind: "waiting", node, endTimers, giveUp }
  }

  #sayWaiting(node: SupervisedNode, ms: number): void {
    const { before = [], command } = this.#options
    const first = before[0] ?? command
    if (first === undefined) return
    log.warn("the command has not been started yet", {
      command: first.words[0],
      reason: node.waitsFor?.(),
      waited: formatDuration(Math.round(ms / 1000) * 1000),
    })
  }

  /**
   * Runs the command at `index` of those before, or the next one that should run, or continues with what follows them.
   */
  #prepare(node: SupervisedNode, index: number): State {
    const { before = [], command } = this.#options
    for (let next = index; next < before.length; next++) {
      const each = before[next] as SupervisedCommand
      if (this.#isLeftOut(node, each)) continue
      return { kind: "preparing", node, child: this.#start(node, each, false), index: next }
    }
    if (command !== undefined && !this.#isLeftOut(node, command)) {
      return { kind: "running", node, child: this.#start(node, command, true) }
    }
    log.debug("no command, waiting for a signal")
    return { kind: "serving", node }
  }

  #isLeftOut(node: SupervisedNode, { isForCandidate, words }: SupervisedCommand): boolean {
    if (!isForCandidate || node.facts().isCandidate) return false
    log.info("this node is not a candidate, command skipped", { command: words[0] })
    return true
  }

  #start(node: SupervisedNode, { words }: SupervisedCommand, hasStdin: boolean): Child {
    const { children, env } = this.#options
    const child = startChild(
      words,
      (exit) => {
        if (child.pid !== undefined) children?.delete(child.pid)
        this.handle({ kind: "exited", exit })
      },
      { env: env?.(node.facts()), hasStdin, endsWithUs: true },
    )
    if (child.pid !== undefined) {
      children?.add(child.pid)
      log.info("command started", { command: words[0], pid: child.pid })
      sayLeftOut(node)
    }
    return child
  }

  #notPrepared(index: number, code: number): LitefsError {
    const text = this.#options.before?.[index]?.words.join(" ")
    const fault = `it ended with exit code ${code}, nothing after it is run`
    return new LitefsError("unavailable", `Cannot run "${text}": ${fault}`)
  }

  #leave({ node, child }: In<"running">, signal: SignalName): State {
    const leaving = node.leave()
    if (leaving === undefined) return this.#stop({ node, child }, signal, undefined)
    log.info("leaving, before the command stops", { signal })
    const left = () => this.handle({ kind: "left" })
    leaving.then(left, left)
    const endLimit = this.#options.clock.after(LEAVE_LIMIT_MS, left)
    return { kind: "leaving", node, child, signal, endLimit }
  }

  #passOn<Running extends In<"running" | "preparing" | "leaving">>(
    state: Running,
    { name, fromKeyboard }: Signal,
    code: number | undefined,
  ): State {
    if (fromKeyboard) return state
    if (asksToStop(name)) return this.#stop(state, name, code)
    state.child.kill(name)
    return state
  }

  #stop(
    { node, child }: Pick<In<"running">, "node" | "child">,
    signal: SignalName,
    code: number | undefined,
  ): State {
    const { clock, graceMs = GRACE_MS } = this.#options
    log.info("stopping the command", { signal, pid: child.pid })
    child.kill(signal)
    const endGrace = clock.after(graceMs, () => this.handle({ kind: "grace-over" }))
    return { kind: "stopping", node, child, code, endGrace }
  }

  readonly #killOver = () => this.handle({ kind: "kill-over" })

  #exited(node: SupervisedNode, exit: ChildExit, code: number | undefined): State {
    if (exit.error === undefined) log.info("command exited", { code: exit.code })
    else this.#options.report(exit.error)
    return this.#close(node, code ?? exit.code)
  }

  /** Ends with the code, or stays as it is until a signal comes. */
  #hold(node: SupervisedNode | undefined, code: number): State {
    const { exitOnError = true, clock } = this.#options
    if (exitOnError) return node === undefined ? { kind: "closed", code } : this.#close(node, code)
    log.warn("staying up for inspection until a signal comes (--exit-on-error=false)")
    return { kind: "held", node, code, endHold: keepAlive(clock) }
  }

  #close(node: SupervisedNode, code: number, isHeld = false): State {
    node.close().then(
      () => this.handle({ kind: "node-closed" }),
      (error) => this.handle({ kind: "not-closed", error }),
    )
    const endLimit = this.#options.clock.after(CLOSE_LIMIT_MS, () => {
      const fault = `it is still busy after ${CLOSE_LIMIT_MS / 1000} s`
      const error = new LitefsError("unavailable", `Cannot close the node: ${fault}`)
      this.handle({ kind: "not-closed", error })
    })
    return { kind: "closing", code, endLimit, isHeld }
  }

  #codeWithoutChild(signal: SignalName): number {
    log.info("stopping", { signal })
    const { before = [], command } = this.#options
    return command === undefined && before.length === 0 ? 0 : signalExitCode(signal)
  }
}

function stuck({ pid }: Child): LitefsError {
  const fault = `it hangs in the kernel ${KILL_LIMIT_MS / 1000} s after it was killed`
  return new LitefsError("unavailable", `Cannot end the command with pid ${pid}: ${fault}`)
}

/** A command that does not find its database may make an empty one, or end for a reason that is hard to guess. */
function sayLeftOut(node: SupervisedNode): void {
  const names = node.leftOut?.() ?? []
  if (names.length === 0) return
  const more = names.length - NAMES_SHOWN
  log.warn("the command runs without databases that are left out, litefs info says why", {
    databases: names.slice(0, NAMES_SHOWN).join(", ") + (more > 0 ? ` and ${more} more` : ""),
  })
}
