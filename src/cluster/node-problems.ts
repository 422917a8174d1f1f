/** The problems of this node as a whole, for everybody who asks: the present ones, or else the last one. */
import type { Clock } from "../lib/clock.ts"
import { withoutPaths } from "../lib/errors.ts"

/** `disk`: the disk is full. `primary`: this node is not connected to the primary, or cannot take what it sends. */
export type ProblemKind = "disk" | "primary"

export interface NodeProblem {
  readonly kind: ProblemKind
  readonly text: string
  /** By the wall clock. */
  readonly sinceMs: number
  /** Undefined while the problem lasts. */
  readonly untilMs?: number
}

export class NodeProblems {
  readonly #clock: Pick<Clock, "wallMs">
  readonly #open = new Map<ProblemKind, NodeProblem>()
  #ended: NodeProblem | undefined

  constructor(clock: Pick<Clock, "wallMs">) {
    this.#clock = clock
  }

  begin(kind: ProblemKind, text: string): void {
    const sinceMs = this.#open.get(kind)?.sinceMs ?? this.#clock.wallMs()
    this.#open.delete(kind) // the newest comes last
    this.#open.set(kind, { kind, text: withoutPaths(text), sinceMs })
  }

  end(kind: ProblemKind): void {
    const problem = this.#open.get(kind)
    if (problem === undefined) return
    this.#open.delete(kind)
    this.#ended = { ...problem, untilMs: this.#clock.wallMs() }
  }

  /** The node can no longer have such a problem. */
  forget(kind: ProblemKind): void {
    this.#open.delete(kind)
    if (this.#ended?.kind === kind) this.#ended = undefined
  }

  /** The text of the problem, while it lasts. */
  of(kind: ProblemKind): string | undefined {
    return this.#open.get(kind)?.text
  }

  get last(): NodeProblem | undefined {
    return this.of("disk") !== undefined
      ? this.#open.get("disk")
      : ([...this.#open.values()].at(-1) ?? this.#ended)
  }
}
