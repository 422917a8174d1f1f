/**
 * Work beside everything else: verifying databases after a start, trying refused ones again, removing old LTX files,
 * freeing memory.
 */
import { RetentionMonitor } from "../cluster/retention.ts"
import { Verifier } from "../cluster/verifier.ts"
import { systemClock } from "../lib/clock.ts"
import type { RetentionOptions } from "../litefs-options.ts"
import { collectWhenWorked } from "../sys/process/garbage.ts"
import { dropProgramPages } from "../sys/process/program-pages.ts"
import type { Closing } from "./closing.ts"
import type { FrontDoor } from "./front-door/front-door.ts"
import type { ServedDatabases } from "./front-door/served-databases.ts"
import type { Membership } from "./membership/membership.ts"
import { RecoveryRetries } from "./recovery-retries.ts"
import type { Storage } from "./storage/storage.ts"

/** By then nothing needs what only the start needed. */
const STARTED_MS = 2000

/** Bytes per second for verifying databases after a clean start. */
const VERIFY_RATE = 32 * 1024 * 1024

export interface UpkeepContext {
  readonly retention: RetentionOptions
  /** Databases whose saved checksums were believed. */
  readonly believed: readonly string[]
  readonly storage: Storage
  readonly membership: Membership
  readonly frontDoor: FrontDoor
  readonly closing: Closing
}

export function startUpkeep(context: UpkeepContext): void {
  const { believed, storage, membership, frontDoor, closing } = context
  closing.defer(systemClock.after(STARTED_MS, dropProgramPages))
  closing.defer(collectWhenWorked(systemClock))
  const verifying = (databases: readonly string[]) => {
    const verifier = verify(databases, frontDoor.served)
    closing.add("verifier", () => verifier.close())
  }
  verifying(believed)
  const { member, followed } = membership
  const { databases, threads } = storage
  const { fs, peer } = threads
  const retries = new RecoveryRetries({
    ...{ clock: systemClock, databases },
    canTry: (database) =>
      member.state === "replica" || (member.state === "primary" && !databases.unmade.has(database)),
    recover: (database) => peer.call("recover", database),
    take: (database, state) => fs.call("recovered", database, state),
    onRecovered: (database, isBelieved) => {
      if (isBelieved) verifying([database])
      followed.reconnect() // the primary then sends what is missing
    },
  })
  closing.add("refused databases", () => retries.close())
  const retention = retain(context)
  closing.add("retention", () => retention.close())
}

function verify(believed: readonly string[], { raw, leftOut }: ServedDatabases): Verifier {
  return new Verifier(believed, {
    clock: systemClock,
    rate: VERIFY_RATE,
    onDamaged: (database, error) => leftOut.add(database, error),
    read: async (database) => (await raw.snapshot(database))?.parts,
  })
}

function retain({ retention, storage, membership, frontDoor }: UpkeepContext): RetentionMonitor {
  const { databases, threads } = storage
  const { fs, peer } = threads
  const { positions } = databases
  const { halting } = membership
  const { served, api } = frontDoor
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
        ...{ database, isDropped, lastTxid: pos.txid },
        written:
          halting.ownerOf(database) === "fs" ? await fs.call("written", database) : undefined,
        neededTxid: needed,
        retention,
      })
      api.countReaped(database, count)
      const isOld = timestampMs < systemClock.wallMs() - retention.ageMs
      const isNeeded = needed !== undefined && needed <= pos.txid
      if (isDropped && isOld && !isNeeded) {
        if (halting.ownerOf(database) === "fs") fs.tell("retire", database)
        else peer.tell("retire", database)
      }
      return count
    },
  })
}
