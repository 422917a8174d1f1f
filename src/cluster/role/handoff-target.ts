/**
 * Whether a node can be the primary of those that follow this one. Before a handoff it is asked at the address that the
 * record would have for it, since everybody will look for it there.
 *
 *   who answers there                           handoff
 *   the target, of the same cluster             goes on
 *   the target, which knows of no cluster       refused: nobody would believe its records
 *   this node, another, something else, nobody  refused: the cluster would fall apart
 */
import { isIP } from "node:net"
import type { Clock } from "../../lib/clock.ts"
import { LitefsError } from "../../lib/errors.ts"
import { inTime } from "../../lib/until.ts"
import { connectProblem } from "../connect-problem.ts"
import { NO_CLUSTER } from "./cluster-id.ts"
import type { LeaseNode } from "./lease.ts"
import type { PeerAnswer } from "./peer-answer.ts"

/** A stop waits for it, too. */
const ANSWER_MS_MAX = 3000

const ADVICE = "give it --http-addr and --advertise-url that other nodes reach"

export interface ReachOptions {
  /** What the node at an address says of itself. Rejects when it lets this node not in, or is not LiteFS. */
  reach(url: string): Promise<PeerAnswer>
  readonly clock: Clock
  /** Of this node. */
  readonly id: string
}

/** Throws when the target must not become the primary. */
export async function checkTarget(
  target: LeaseNode,
  ownCluster: string | undefined,
  options: ReachOptions,
): Promise<void> {
  const refuse = (problem: string) => {
    throw new LitefsError("unavailable", `Cannot hand over to ${target.hostname}: ${problem}`)
  }
  if (ownCluster === undefined) refuse(`the primary ${NO_CLUSTER}`)
  const answer = await answerAt(target, options)
  if (typeof answer === "string") return refuse(answer)
  const { clusterId } = answer
  if (clusterId === undefined) refuse(`it ${NO_CLUSTER}`)
  if (clusterId !== ownCluster)
    refuse(`it is in cluster ${clusterId}, the primary in ${ownCluster}`)
}

/** Why others cannot reach the node, with what to do; undefined when this node can. */
export async function reachProblem(
  node: LeaseNode,
  options: ReachOptions,
): Promise<string | undefined> {
  const answer = await answerAt(node, options)
  return typeof answer === "string" ? answer : undefined
}

async function answerAt(node: LeaseNode, options: ReachOptions): Promise<PeerAnswer | string> {
  const { reach, clock, id } = options
  const { hostname } = new URL(node.url)
  const late = () => {
    // A name server that is away takes longer to be given up.
    const guess = isAddress(hostname) ? "" : `, perhaps the primary cannot resolve "${hostname}"`
    return new LitefsError("unavailable", `no answer in ${ANSWER_MS_MAX / 1000} s${guess}`)
  }
  try {
    const answer = await inTime(reach(node.url), { clock, limitMs: ANSWER_MS_MAX }, late)
    if (answer.id === node.id) return answer
    return unreachable(
      node.url,
      `${answer.id === id ? "the primary itself" : "another node"} answers there`,
    )
  } catch (error) {
    return unreachable(node.url, connectProblem(node.url, error).message)
  }
}

function isAddress(host: string): boolean {
  return isIP(host.replace(/^\[|\]$/g, "")) !== 0
}

export function unreachable(url: string, why: string): string {
  return `it cannot be reached at ${url} (${why}), ${ADVICE}`
}
