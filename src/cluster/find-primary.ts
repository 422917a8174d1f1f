/**
 * At the start: who is the primary? The newest record counts, of this node's own and those of the nodes that it asks.
 *
 * Nobody is asked by a node that would be a replica anyway: what it follows tells it. A node that cannot be reached
 * says nothing, and when none can, this node believes its own record: a whole cluster that was stopped starts again.
 * So a node that was away while another was made the primary by force should be given `--peer`.
 */
import { LitefsError, messageOf } from "../lib/errors.ts"
import { logger } from "../lib/log.ts"
import type { RoleOptions } from "../litefs-options.ts"
import type { HeardLease } from "./lease.ts"
import type { Member } from "./member.ts"
import type { StaticLease } from "./static-lease.ts"

const log = logger("member")

export interface FindPrimaryContext {
  readonly member: Member
  readonly lease: StaticLease
  readonly role: RoleOptions
  readonly url: string // of this node
  readonly peers: readonly string[]
  ask(url: string): Promise<HeardLease | undefined>
}

export async function findPrimary(context: FindPrimaryContext): Promise<void> {
  const { member, lease, role, url, peers } = context
  const wouldBePrimary =
    lease.record === undefined ? role.kind === "primary" : lease.record.primary.id === lease.id
  const others = new Set([...peers, ...(role.kind === "replica" ? [role.primaryUrl] : [])])
  others.delete(url)
  if (wouldBePrimary && others.size > 0) {
    const answers = await Promise.all([...others].map((other) => answerOf(context, other)))
    for (const heard of answers) if (heard !== undefined) member.hear(heard)
    if (answers.every((heard) => heard === undefined)) {
      log.warn("no peer answers, believing the own lease record", { peers: [...others].join(",") })
    }
  }
  const { record } = lease
  if (record === undefined) return
  const isMine = record.primary.id === lease.id
  if (isMine && role.kind === "replica" && role.databases !== undefined) {
    const advice = "start it without --databases, or promote another node"
    throw new LitefsError("unavailable", `Cannot start: this node is the primary, ${advice}`)
  }
  if (isMine === (role.kind === "primary")) return
  const { epoch, primary } = record
  log.info("the lease record says otherwise than the flags", {
    ...{ epoch, primary: primary.hostname, url: primary.url },
  })
}

async function answerOf({ ask }: FindPrimaryContext, url: string): Promise<HeardLease | undefined> {
  try {
    return await ask(url)
  } catch (error) {
    log.info("a peer cannot be asked who the primary is", { url, problem: messageOf(error) })
    return undefined
  }
}
