/**
 * Whether the primary's history leads through a state that will be replaced. If it does, nothing is lost; if it does
 * not, or nobody knows, the state is kept.
 *
 *   the state's TXID        the primary's word      is kept
 *   none                    —                       only if there is a file: nobody knows what it is
 *   that of the snapshot    —                       only if the checksums differ
 *   above the snapshot's    —                       yes: it is ahead
 *   below the snapshot's    "same"                  no: it was behind, and its LTX files are gone
 *                           "other"                 yes: it was behind, on another history
 *                           none, or of another     yes: the primary cannot tell any more
 */
import { type Pos, posEquals } from "../../ltx/pos.ts"

/** The primary's word on a position of a replica. */
export interface HistoryVerdict {
  readonly pos: Pos
  readonly is: "same" | "other"
}

/** Why to keep the state at `pos` when one at `next` replaces it; undefined when nothing is lost. */
export function divergence(
  pos: Pos,
  next: Pos,
  verdict: HistoryVerdict | undefined,
  hasFile: boolean,
): string | undefined {
  if (pos.txid === 0n && hasFile)
    return "it has no LTX files, it is not known whether the primary has it"
  if (pos.txid === 0n || posEquals(pos, next)) return undefined
  const known = verdict !== undefined && posEquals(verdict.pos, pos) ? verdict.is : undefined
  if (known === "same") return undefined
  if (pos.txid === next.txid) return "the primary has another transaction with this TXID"
  if (pos.txid > next.txid) return "it is ahead of the primary"
  if (known === "other") return "it is behind the primary, on another history"
  return "it is behind the primary, which no longer knows whether this was its history"
}
