/**
 * At the start: who is the primary? The newest record counts, among this node's own and those of the nodes that it
 * asks.
 *
 * A node that would be a replica anyway asks nobody: the node that it follows tells it. A node that cannot be reached
 * says nothing. When none can, this node believes its own record: a whole cluster that was stopped starts again. A node
 * that was away during a forced promotion of another should therefore be given `--peer`.
 *
 * A node does not start where it would become a second primary, or one without the data that another has:
 *
 *     what a peer says of itself                       this node
 *     it has this node's id                            is a copy of it, or the other way round
 *     its flags, too, say that it is the primary       is one of two, when no record decides
 *     it has been in a cluster, and no record decides  had lost its data, when it has none and would be the primary
 *
 * A node that would follow itself for ever does not start either. With a lease in a store nobody is asked here.
 */
import { LitefsError } from "../../lib/errors.ts"
import { logger } from "../../lib/log.ts"
import type { RoleOptions } from "../../litefs-options.ts"
import { connectProblem } from "../connect-problem.ts"
import type { Member } from "./member.ts"
import type { PeerAnswer, PeerCalls, PeerCheck } from "./peer-check.ts"
import type { StaticLease } from "./static-lease.ts"

const log = logger("member")

export interface FindPrimaryContext extends Pick<PeerCalls, "ask"> {
  readonly member: Member
  readonly lease: StaticLease
  readonly role: RoleOptions
  readonly url: string // of this node
  readonly peers: readonly string[]
  readonly check: Pick<PeerCheck, "copyProblem">
  /** Undefined on a node that has never been in a cluster. */
  clusterId(): string | undefined
  /** A peer knows the id of this node's cluster. */
  recallCluster(id: string): void
  /** Whether this node has any database. */
  hasDatabases(): boolean
  /** Whether the URL leads to this node and to no other. */
  leadsHere(url: string): Promise<boolean>
}

export async function findPrimary(context: FindPrimaryContext): Promise<void> {
  const { member, lease, role } = context
  if (role.kind === "elected") return // a store knows it, and may be asked later
  if (wouldBePrimary(context)) {
    const urls = othersOf(context)
    const answers = await Promise.all(
      urls.map(async (url) => ({ url, answer: await answerOf(context, url) })),
    )
    const given = answers.flatMap(({ url, answer }) =>
      answer === undefined ? [] : [{ url, answer }],
    )
    for (const { url, answer } of given) {
      const problem = context.check.copyProblem(answer, url)
      if (problem !== undefined) throw cannotStart(problem)
    }
    for (const { answer } of given) if (answer.lease !== undefined) member.hear(answer.lease, true)
    recallCluster(context, given)
    if (lease.record === undefined) {
      for (const { url, answer } of given) checkFirst(context, url, answer)
    }
    if (given.length === 0 && context.peers.length > 0) {
      sayAlone(context, urls.join(","))
    }
  }
  const { record } = lease
  if (record === undefined) {
    if (role.kind === "replica" && (await context.leadsHere(role.primaryUrl))) {
      throw cannotStart(
        `${role.urlSpelling ?? "the URL of the primary"} is "${role.primaryUrl}", which is this node itself, ` +
          "it should be the URL of the primary; the primary is started with --primary, or has candidate: true",
      )
    }
    return
  }
  const isMine = record.primary.id === lease.id
  if (isMine && role.kind === "replica" && role.databases !== undefined) {
    throw cannotStart(
      "this node is the primary, start it without --databases, or promote another node",
    )
  }
  if (isMine === (role.kind === "primary")) return
  const { epoch, primary } = record
  log.info("the lease record overrides the flags", {
    ...{ epoch, primary: primary.hostname, url: primary.url },
  })
}

function sayAlone({ lease, hasDatabases }: FindPrimaryContext, peers: string): void {
  if (lease.record !== undefined) {
    log.warn("no peer answers, believing this node's own lease record", { peers })
  } else if (hasDatabases()) log.warn("no peer answers, believing --primary", { peers })
  else log.info("no peer answers, this is a first start: this node is the primary", { peers })
}

function wouldBePrimary({ lease, role }: FindPrimaryContext): boolean {
  if (lease.record === undefined) return role.kind === "primary"
  return lease.record.primary.id === lease.id
}

/** Includes the address that the record has for this node, when it differs: a copy may be there. */
function othersOf({ lease, role, url, peers }: FindPrimaryContext): string[] {
  const others = new Set(peers)
  if (role.kind === "replica") others.add(role.primaryUrl)
  if (lease.record !== undefined) others.add(lease.record.primary.url)
  others.delete(url)
  return [...others]
}

async function answerOf({ ask }: FindPrimaryContext, url: string): Promise<PeerAnswer | undefined> {
  try {
    return await ask(url)
  } catch (error) {
    log.info("a node cannot be asked who the primary is", {
      ...{ url, problem: connectProblem(url, error).message },
    })
    return undefined
  }
}

/** Only flags make this node the primary: no other node may disagree. */
function checkFirst(context: FindPrimaryContext, url: string, answer: PeerAnswer): void {
  const { lease, clusterId, hasDatabases } = context
  const ours = clusterId()
  const theirs = answer.clusterId
  if (answer.id === lease.id) return // this node, by another name
  if (ours !== undefined && theirs !== undefined && ours !== theirs) {
    log.error("a peer is in another cluster", { url, theirs, ours })
    return
  }
  if (answer.isPrimaryByFlag) {
    throw cannotStart(
      `${url} is started with --primary too, start one of the two with --primary-url and the URL of the other`,
    )
  }
  if (theirs === undefined || ours !== undefined || hasDatabases()) return
  throw cannotStart(
    `there is nothing in the data directory, and ${url} has been in a cluster, ${theirs}: ` +
      `to go on with what is there, litefs promote --force --url ${url}, ` +
      "to begin from nothing, start this node without that --peer",
  )
}

/** A node that has lost its cluster id believes those that have its own record. */
function recallCluster(
  { lease, clusterId, recallCluster }: FindPrimaryContext,
  given: readonly { readonly answer: PeerAnswer }[],
): void {
  if (clusterId() !== undefined) return
  for (const { answer } of given) {
    const { record, cluster } = answer.lease ?? {}
    if (record?.primary.id === lease.id && cluster !== undefined) return recallCluster(cluster)
  }
}

function cannotStart(why: string): LitefsError {
  return new LitefsError("unavailable", `Cannot start: ${why}`)
}
