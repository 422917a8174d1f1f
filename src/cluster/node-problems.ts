/** The problems of this node as a whole, for everybody who asks: the present ones, or else the last one. */
import type { Clock } from "../lib/clock.ts"
import { withoutPaths } from "../lib/errors.ts"

/**
 * `disk`: the disk is full. `primary`: this node is not connected to the primary, or cannot take what it sends.
 * `readers`: what the primary has sent waits for a client here. `replicas`: too few of them acknowledge transactions.
 * `lease`: the store of the lease cannot be used, or this node cannot take the lease that nobody holds.
 * `cluster`: a node of another cluster takes this one for its primary, and has the data if that was lost here.
 */
export type ProblemKind = "disk" | "primary" | "readers" | "replicas" | "lease" | "cluster"

/** How a problem with a primary begins that was reached. */
export const CANNOT_TAKE = "cannot take what the primary sends"
export const BAD_DATA = "has sent what it should not" // after the primary's name

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
  readonly #open = new Map<string, NodeProblem>() // the newest last
  #ended: NodeProblem | undefined

  constructor(clock: Pick<Clock, "wallMs">) {
    this.#clock = clock
  }

  /** Begins the problem, or ends it when there is no text. A kind may be about several things. */
  tell(kind: ProblemKind, text: string | undefined, about?: string): void {
    if (text === undefined) this.end(kind, about)
    else this.begin(kind, text, about)
  }

  begin(kind: ProblemKind, text: string, about = ""): void {
    const key = keyOf(kind, about)
    const sinceMs = this.#open.get(key)?.sinceMs ?? this.#clock.wallMs()
    this.#open.delete(key)
    this.#open.set(key, { kind, text: withoutPaths(text), sinceMs })
  }

  end(kind: ProblemKind, about = ""): void {
    const key = keyOf(kind, about)
    const problem = this.#open.get(key)
    if (problem === undefined) return
    this.#open.delete(key)
    this.#ended = { ...problem, untilMs: this.#clock.wallMs() }
  }

  /** The node can no longer have such a problem. */
  forget(kind: ProblemKind): void {
    for (const [key, problem] of this.#open) if (problem.kind === kind) this.#open.delete(key)
    if (this.#ended?.kind === kind) this.#ended = undefined
  }

  /** The text of the problem, while it lasts; of several the newest. */
  of(kind: ProblemKind): string | undefined {
    return this.#find(kind)?.text
  }

  get last(): NodeProblem | undefined {
    return this.#find("disk") ?? [...this.#open.values()].at(-1) ?? this.#ended
  }

  #find(kind: ProblemKind): NodeProblem | undefined {
    return [...this.#open.values()].findLast((problem) => problem.kind === kind)
  }
}

function keyOf(kind: ProblemKind, about: string): string {
  return `${kind} ${about}`
}
