/**
 * What the supervisor is given, its states, and what happens to it.
 *
 *            opened          ready            prepare()          leave()             left
 *   opening ────────▶ waiting ─────▶ preparing ────────▶ running ───────▶ leaving ────────▶ stopping
 *      │                 │            │  │  └──── stop() ────│────────────────│──────▶   │
 *      │ not opened      │            │  ▼ no command        │ exited         │ exited   │ exited
 *      │                 │            │ serving              │                │          │
 *      ▼                 ▼            ▼  ▼     close()       ▼                ▼          │
 *   closed ◀───────── closing ◀──────────────────────────────────────────────────────────┘
 *         node closed
 *
 *   A failure before the command runs leads to `held` instead, with --exit-on-error=false: there it
 *   stays, for somebody to look at, until a signal comes.
 */
import type { Clock } from "../../lib/clock.ts"
import type { Environment } from "../terminal/argv.ts"
import type { Child, ChildExit } from "./child.ts"
import type { NodeFacts } from "./child-environment.ts"
import type { ProcessEvents, Signal, SignalName } from "./process-events.ts"

export interface SupervisedNode {
  /** Resolves when the command may start. */
  ready(signal: AbortSignal): Promise<void>
  /** Why the command may not start yet, for people. */
  waitsFor?(): string | undefined
  /** Names of databases that are left out: the command does not find them as they should be. */
  leftOut?(): readonly string[]
  /** Resolves when the command may be told to stop; undefined: at once. */
  leave(): Promise<void> | undefined
  close(): Promise<void>
  /** Resolves when the node cannot go on. */
  readonly failed: Promise<Error>
  facts(): NodeFacts
  /** What a person wants to see of it at its start. */
  summary?(): NodeSummary
  /** What is coming from the primary; undefined on a primary. */
  arriving?(): Arriving | undefined
}

export interface NodeSummary {
  readonly version: string
  readonly role: "primary" | "replica"
  /** On a replica, if it is known. */
  readonly primaryUrl: string | undefined
  readonly databases: readonly {
    readonly name: string
    readonly position: string
    readonly size: number // bytes
    /** Why it is left out. */
    readonly problem: string | undefined
  }[]
}

export interface Arriving {
  readonly isReady: boolean
  readonly snapshots: readonly {
    readonly database: string
    readonly size: number // bytes so far
    readonly sizeMax: number
  }[]
  /** Transactions, or runs of them, that were applied since the start. */
  readonly appliedCount: number
  /** Transactions that are known to be missing. */
  readonly missingCount: number
}

export interface SupervisedCommand {
  readonly words: readonly string[]
  /** Whether nodes that cannot be the primary leave it out. */
  readonly isForCandidate: boolean
}

export interface SuperviseOptions {
  readonly open: () => Promise<SupervisedNode>
  /** Run one after the other, each to its end, once the node is ready. */
  readonly before?: readonly SupervisedCommand[]
  /** Runs after them, for as long as the node. */
  readonly command: SupervisedCommand | undefined
  /** The environment of the commands, read when they start; undefined: ours. */
  readonly env?: (facts: NodeFacts) => Environment
  /** Starts without waiting until the node is ready. */
  readonly skipSync?: boolean
  /** Waits at most this long, and then goes on with what is here; undefined: without a limit. */
  readonly syncTimeoutMs?: number | undefined
  /** False: stays when something fails before the command runs. */
  readonly exitOnError?: boolean
  /** Hears of every child, so that a reaper of orphans leaves it alone. */
  readonly children?: { add(pid: number): void; delete(pid: number): void }
  readonly events: ProcessEvents
  readonly clock: Clock
  /** Tells the user why we end, or why the command does not run. */
  readonly report: (error: Error) => void
  readonly graceMs?: number
}

export type State =
  /** `code`: we have decided to close, but there is nothing to close yet. */
  | { kind: "opening"; code: number | undefined }
  | { kind: "waiting"; node: SupervisedNode; endTimers: () => void; giveUp: () => void }
  /** `index`: the child's place in `before`. */
  | { kind: "preparing"; node: SupervisedNode; child: Child; index: number }
  | { kind: "serving"; node: SupervisedNode }
  | { kind: "running"; node: SupervisedNode; child: Child }
  | {
      kind: "leaving"
      node: SupervisedNode
      child: Child
      signal: SignalName
      endLimit: () => void
    }
  /** `code`: the exit code that replaces the child's. */
  | {
      kind: "stopping"
      node: SupervisedNode
      child: Child
      code: number | undefined
      endGrace: () => void
    }
  | { kind: "closing"; code: number; endLimit: () => void; isHeld: boolean }
  | { kind: "held"; node: SupervisedNode | undefined; code: number; endHold: () => void }
  | { kind: "closed"; code: number }

export type Event =
  | { kind: "opened"; node: SupervisedNode }
  | { kind: "not-opened"; error: Error }
  | { kind: "ready" }
  | { kind: "sync-over" }
  | { kind: "signal"; signal: Signal }
  | { kind: "failed"; error: Error }
  | { kind: "exited"; exit: ChildExit }
  | { kind: "left" }
  | { kind: "grace-over" }
  | { kind: "kill-over" }
  | { kind: "node-closed" }
  | { kind: "not-closed"; error: Error }

export type In<Kind extends State["kind"]> = Extract<State, { kind: Kind }>
