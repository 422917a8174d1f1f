/**
 * Who takes a lease that nobody holds. Candidates tell each other through the store what they have, once they see that
 * it is free:
 *
 *   this node lacks something that the last holder had      never, by itself: it would undo what that has answered
 *   a candidate has not told what it has since              wait a moment for it; then its earlier word counts
 *   a candidate has more                                    wait, as long as that one lives
 *   this node was cut off from the store until now          wait a while: others may have been, too, and what they have
 *                                                           told before is gone from the store
 *   otherwise                                               take it; of several that do, the store lets one through
 *
 * A history is compared by its epoch first: what a former primary alone has is longer, but the others have left it.
 */
import { formatPos, type Pos } from "../../ltx/pos.ts"
import type { Candidate, LastHolder, ToldPositions } from "./store-content.ts"

/** How long a candidate may take to tell what it has. */
export const TELL_MS_MAX = 2000

/** For a node without data, before the first holder of all: nobody knows who else is about to start. */
export const FIRST_MS = 1000

/** For who was cut off from the store: it may come back, fail to be asked once more, and tell what it has. */
export const BACK_MS = 2 * TELL_MS_MAX

export type Verdict =
  | { readonly kind: "take" }
  | { readonly kind: "wait"; readonly for: string }
  | { readonly kind: "behind"; readonly problem: string }

export interface Electorate {
  readonly own: Candidate
  readonly others: readonly Candidate[]
  readonly last: LastHolder | undefined
  /** Since this node has seen that nobody holds the lease. */
  readonly vacantMs: number
  /** How long it waits for others before the first holder of all. */
  readonly firstMs: number
  /** The same before a later one. */
  readonly backMs?: number
}

export function verdictOf(electorate: Electorate): Verdict {
  const { own, others, last, vacantMs, firstMs, backMs = 0 } = electorate
  const problem = last && lackOf(own, last)
  if (problem !== undefined) return { kind: "behind", problem }
  const able = others.filter(({ id, isAble }) => id !== own.id && isAble)
  for (const other of able) {
    const hasTold = other.vacancy !== undefined && other.vacancy === own.vacancy
    if (hasTold || vacantMs >= TELL_MS_MAX ? hasMore(other, own) : true) {
      return { kind: "wait", for: other.id }
    }
  }
  const waitMs = last === undefined ? firstMs : backMs
  if (vacantMs < waitMs) return { kind: "wait", for: "others" }
  return { kind: "take" }
}

/** What a node lacks of what the last holder had; undefined when it has everything. */
export function lackOf(
  { epoch, told }: Pick<Candidate, "epoch" | "told">,
  { record, told: theirs }: Pick<LastHolder, "record" | "told">,
): string | undefined {
  for (const [name, pos] of theirs.positions) {
    const own = told.positions.get(name)
    if (own === undefined && !told.isWhole) continue // the sum tells
    if (own?.txid === pos.txid && own.checksum === pos.checksum) continue
    // A position further on follows on that of the holder only when it has come from that one.
    if (own !== undefined && own.txid > pos.txid && epoch >= record.epoch) continue
    return `"${name}" is at ${shown(own)} here, the last primary had ${formatPos(pos)}`
  }
  if (told.sum >= theirs.sum) return undefined
  return `it has ${told.sum} transactions, the last primary had ${theirs.sum}`
}

export function hasMore(a: Candidate, b: Candidate): boolean {
  if (a.epoch !== b.epoch) return a.epoch > b.epoch
  if (!a.told.isWhole || !b.told.isWhole) return a.told.sum > b.told.sum
  return missing(b.told, a.told) > missing(a.told, b.told)
}

/** How many transactions of the others are missing. */
function missing({ positions }: ToldPositions, others: ToldPositions): bigint {
  let count = 0n
  for (const [name, { txid }] of others.positions) {
    const own = positions.get(name)?.txid ?? 0n
    if (txid > own) count += txid - own
  }
  return count
}

function shown(pos: Pos | undefined): string {
  return pos === undefined ? "nothing" : formatPos(pos)
}
