import type { Applier } from "../../src/peer/receive/applier.ts"

/** Applies nothing, and has nothing open. */
export const idleApplier: Applier = {
  frames: { entries: () => [] },
  apply: async () => {},
  writtenTxid: (current) => current,
  lockedOut: undefined,
  yield: () => false,
  attach: async () => {},
  isShown: true,
  reopen: async () => {},
  mendIndex: async () => {},
  rejoin: async () => {},
  handOver: () => ({ wal: undefined, isWalOpen: false }),
  detach: () => {},
  close: () => {},
  settle: () => {},
  dropped: () => {},
}
