import type { FrozenState } from "../capture/frozen-view.ts"

/** A database that is kept as it was, for a snapshot. */
export interface FrozenDatabase {
  /** Tells it apart from all others that are frozen, by whichever thread. */
  readonly snapshot: number
  readonly state: FrozenState
  thaw(): void
}

let lastSnapshot = 0

/** Has one of the threads freeze a database. Undefined: it has none of that name. */
export async function freezeDatabase(
  freeze: (snapshot: number) => Promise<FrozenState | undefined>,
  thaw: (snapshot: number) => void,
): Promise<FrozenDatabase | undefined> {
  lastSnapshot += 1
  const snapshot = lastSnapshot
  const state = await freeze(snapshot)
  return state && { snapshot, state, thaw: () => thaw(snapshot) }
}
