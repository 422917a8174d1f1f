/**
 * What a replica does to follow the primary of the newest record: at the addresses where it may be found
 * (primary-urls.ts), with both nodes telling each other what they know.
 *
 * A node of which this node knows that it is the primary no more is not followed. It has heard so with the request.
 */
import type { IncomingHttpHeaders } from "node:http"
import { LitefsError } from "../../lib/errors.ts"
import { Replica, type ReplicaOptions } from "../replica/replica.ts"
import { decodeLease, isNewer, leaseOf } from "./lease.ts"
import type { Member } from "./member.ts"
import type { PrimaryUrls } from "./primary-urls.ts"
import type { StaticLease } from "./static-lease.ts"

export interface FollowingContext {
  readonly member: Member
  readonly lease: StaticLease
  readonly urls: PrimaryUrls
  /** Throws when a node that answers so is not to be followed. */
  check(answer: IncomingHttpHeaders, url: string): void
  /** With what other nodes are to be told of this one. */
  headers(): Record<string, string>
  readonly replica: Omit<
    ReplicaOptions,
    "primaryUrl" | "headers" | "onHandoff" | "onAnswer" | "moveOn"
  >
  /** The primary offers its role: all that it had is applied here. */
  onOffer(token: string, url: string): void
}

export function follow(context: FollowingContext): Replica {
  const { member, urls, headers, replica, onOffer } = context
  return new Replica({
    ...replica,
    get primaryUrl() {
      return urls.current
    },
    get headers() {
      return headers()
    },
    onHandoff: (text) => {
      const heard = decodeLease(text)
      if (heard === undefined) onOffer(text, urls.current)
      else member.hear(heard, true)
    },
    onAnswer: (answer, isStream) => hear(context, answer, isStream),
    moveOn: () => urls.moveOn(),
  })
}

function hear(context: FollowingContext, answer: IncomingHttpHeaders, isStream: boolean): void {
  const { member, lease, urls } = context
  context.check(answer, urls.current)
  const heard = leaseOf(answer)
  if (heard === undefined) return
  if (isStream && lease.record !== undefined && isNewer(lease.record, heard.record)) {
    throw new LitefsError("unavailable", "it is the primary no more")
  }
  if (isStream) lease.setReached(heard.record.primary.id, urls.current)
  member.hear(heard, true)
}
