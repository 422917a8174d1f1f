/**
 * The flags of acknowledgements (cluster/sync-replicas.ts). The timeout is not named `--sync-timeout`, because there is
 * one, which is about the start: how long commands wait until a replica is in sync.
 */
import type { LiteFSOptions } from "../../litefs-options.ts"
import type { ParsedArgs } from "../terminal/argv.ts"
import { type FlagTable, Unfit } from "../terminal/flags.ts"

export const SYNC_FLAGS = {
  "sync-replicas": {
    kind: "special",
    placeholder: "N",
    default: "0",
    read: countOf,
    help: "a commit returns when N replicas have it durably",
    more: "no write is lost with the primary then",
  },
  "sync-mode": {
    kind: "choice",
    choices: ["strict", "degrade"],
    default: "strict",
    help: "with fewer replicas: commits wait or are refused, or go on without them",
    more: "`degrade`: they go on",
  },
  "sync-commit-timeout": {
    kind: "duration",
    isPositive: true,
    default: "10s",
    help: "how long a commit waits for replicas before that",
  },
} as const satisfies FlagTable

/** No more replicas can acknowledge (http/server/crowd.ts). */
const COUNT_MAX = 128

export function syncOptions(args: ParsedArgs<typeof SYNC_FLAGS>): Pick<LiteFSOptions, "sync"> {
  const { values } = args
  const replicas = values["sync-replicas"]
  if (replicas === 0) {
    const stray = (["sync-mode", "sync-commit-timeout"] as const).find((flag) => args.isGiven(flag))
    if (stray === undefined || args.isGiven("sync-replicas")) return {}
    throw args.usageError(
      `${args.spelling(stray)} is given and no --sync-replicas, say how many are to have a commit`,
    )
  }
  return {
    sync: { replicas, mode: values["sync-mode"], timeoutMs: values["sync-commit-timeout"] },
  }
}

function countOf(text: string): number {
  const count = /^\d{1,3}$/.test(text) ? Number(text) : Number.NaN
  if (count <= COUNT_MAX) return count
  throw new Unfit(`it should be a number of replicas, 0 to ${COUNT_MAX}`)
}
