/**
 * How a replica follows the primary of the newest record: at the addresses where it may be (primary-urls.ts), while
 * both nodes tell each other what they know.
 *
 * A replica that answers says where its primary is, and that address is asked next.
 *
 * This node does not follow a node that it knows to be the primary no longer. That node has heard so with the request.
 */
import type { IncomingHttpHeaders } from "node:http"
import { LitefsError } from "../../lib/errors.ts"
import { logger } from "../../lib/log.ts"
import { PRIMARY_URL_HEADER } from "../../wire/protocol.ts"
import { Replica, type ReplicaOptions } from "../replica/replica.ts"
import { CLUSTER_KEY_HEADER } from "./cluster-key.ts"
import { decodeLease, isNewer, type LeaseRecord, leaseOf } from "./lease.ts"
import type { Member } from "./member.ts"
import type { PrimaryUrls } from "./primary-urls.ts"
import type { StaticLease } from "./static-lease.ts"

const log = logger("replica")

export interface FollowingContext {
  readonly member: Member
  readonly lease: StaticLease
  readonly urls: PrimaryUrls
  /** Throws when a node with such an answer must not be followed. */
  check(answer: IncomingHttpHeaders, url: string): void
  /** The cluster's key, from the primary. */
  learnKey(text: unknown): void
  /** Headers that tell other nodes of this one. */
  headers(): Record<string, string>
  readonly replica: Omit<
    ReplicaOptions,
    "primaryUrl" | "headers" | "onHandoff" | "onAnswer" | "moveOn"
  >
  /** The primary offers its role: everything that it had is applied here. */
  onOffer(token: string, url: string): void
}

export function follow(context: FollowingContext): Replica {
  const { member, urls, headers, replica, onOffer } = context
  const told = new Set<string>()
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
    onAnswer: (answer, isStream) => {
      const url = urls.current
      hear(context, answer, isStream)
      if (!isStream) sendOn(context, url, answer, told)
    },
    moveOn: () => urls.moveOn(),
  })
}

function hear(context: FollowingContext, answer: IncomingHttpHeaders, isStream: boolean): void {
  const { member, lease, urls } = context
  const url = urls.current
  context.check(answer, url)
  const heard = leaseOf(answer)
  const { record } = lease
  if (isStream && heard !== undefined && isNoMore(heard.record, answer, record)) {
    member.hear(heard, true)
    throw new LitefsError("unavailable", "it is no longer the primary")
  }
  if (isStream) {
    urls.arrived()
    context.learnKey(answer[CLUSTER_KEY_HEADER])
    if (heard !== undefined) lease.setReached(heard.record.primary.id, url)
  }
  if (heard !== undefined) member.hear(heard, true)
}

/** Also of a node whose role has moved on while it began the stream. */
function isNoMore(
  theirs: LeaseRecord,
  answer: IncomingHttpHeaders,
  ours: LeaseRecord | undefined,
): boolean {
  if (ours !== undefined && isNewer(ours, theirs)) return true
  const id = answer["litefs-id"]
  return id !== undefined && id !== theirs.primary.id
}

/** A replica has answered. The address that it tells of its primary is next, unless it has already led here. */
function sendOn(
  { urls }: FollowingContext,
  url: string,
  answer: IncomingHttpHeaders,
  told: Set<string>,
): void {
  const primary = answer[PRIMARY_URL_HEADER]
  if (urls.current !== url || typeof primary !== "string" || !urls.sendOn(primary)) return
  const text = `${url} is a replica, its primary is ${primary}`
  if (!told.has(text)) log.info(text)
  told.clear()
  told.add(text) // an address that cannot be reached is told over and over
}
