/** What is done for the databases beside everything else: verifying them after a start, and removing old LTX files. */
import type { Halting } from "../cluster/locks/halting.ts"
import { RetentionMonitor } from "../cluster/retention.ts"
import { Verifier } from "../cluster/verifier.ts"
import type { StatusApi } from "../http/status/status-api.ts"
import { systemClock } from "../lib/clock.ts"
import type { RetentionOptions } from "../litefs-options.ts"
import type { Databases } from "./databases.ts"
import type { ServedDatabases } from "./served-databases.ts"
import type { Threads } from "./threads.ts"

/** Bytes per second for looking at databases after a clean start. */
const VERIFY_RATE = 32 * 1024 * 1024

export function verify(believed: readonly string[], { raw, leftOut }: ServedDatabases): Verifier {
  return new Verifier(believed, {
    clock: systemClock,
    rate: VERIFY_RATE,
    onDamaged: (database, error) => leftOut.add(database, error),
    read: async (database) => (await raw.snapshot(database))?.parts,
  })
}

export interface RetentionContext {
  readonly databases: Databases
  readonly served: ServedDatabases
  readonly threads: Threads
  readonly halting: Halting
  readonly api: StatusApi
}

export function retain(retention: RetentionOptions, context: RetentionContext): RetentionMonitor {
  const { databases, served, threads, halting, api } = context
  const { fs, peer } = threads
  const { positions } = databases
  return new RetentionMonitor(retention, {
    clock: systemClock,
    databases: () => [...databases.currentPositions().keys()],
    neededTxid: (database) => served.neededTxid(database),
    maintain: async (database, needed) => {
      const slot = positions.find(database)
      if (slot === undefined) return 0 // it came and went
      const { pos, commit, timestampMs } = positions.read(slot)
      const isDropped = pos.txid > 0n && commit === 0
      const count = await peer.call("maintain", {
        ...{ database, isDropped },
        writtenTxid: halting.isCaptured(database)
          ? await fs.call("writtenTxid", database)
          : undefined,
        neededTxid: needed,
        retention,
      })
      api.countReaped(database, count)
      const isOld = timestampMs < systemClock.wallMs() - retention.ageMs
      const isNeeded = needed !== undefined && needed <= pos.txid
      if (isDropped && isOld && !isNeeded) {
        if (halting.isCaptured(database)) fs.tell("retire", database)
        else peer.tell("retire", database)
      }
      return count
    },
  })
}
