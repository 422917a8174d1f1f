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
 *   What fails before the command runs leads to `held` instead, with --exit-on-error=false: there it
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
  /** Why it may not start yet, for people. */
  waitsFor?(): string | undefined
  /** Resolves when the command may be told to stop; undefined when that is at once. */
  leave(): Promise<void> | undefined
  close(): Promise<void>
  /** Resolves when the node cannot go on. */
  readonly failed: Promise<Error>
  /** As they are now. */
  facts(): NodeFacts
}

export interface SupervisedCommand {
  readonly words: readonly string[]
  /** It is left out on a node that cannot be the primary. */
  readonly isForCandidate: boolean
}

export interface SuperviseOptions {
  readonly open: () => Promise<SupervisedNode>
  /** Run one after the other, each to its end, when the node is ready. */
  readonly before?: readonly SupervisedCommand[]
  /** Runs after them, as long as the node. */
  readonly command: SupervisedCommand | undefined
  /** What the commands find in their environment, when they are started; ours when not given. */
  readonly env?: (facts: NodeFacts) => Environment
  /** Do not wait until the node is ready. */
  readonly skipSync?: boolean
  /** Wait no longer than this, and go on with what is here then; undefined: as long as it takes. */
  readonly syncTimeoutMs?: number | undefined
  /** False: stay when something fails before the command runs. */
  readonly exitOnError?: boolean
  /** Told of every child, so that somebody who reaps orphans leaves it alone. */
  readonly children?: { add(pid: number): void; delete(pid: number): void }
  readonly events: ProcessEvents
  readonly clock: Clock
  /** Tells the user what ends us, or kept the command from running. */
  readonly report: (error: Error) => void
  readonly graceMs?: number
}

export type State =
  /** `code`: the decision to close has been made, but there is nothing to close yet. */
  | { kind: "opening"; code: number | undefined }
  | { kind: "waiting"; node: SupervisedNode; endTimers: () => void; giveUp: () => void }
  /** `index`: of the child in `before`. */
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
  /** `code`: what to exit with instead of the child's code. */
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
