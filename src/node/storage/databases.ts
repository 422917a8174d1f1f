/**
 * What the main thread knows of the databases of this node: where they are, on which history, and which of them the
 * primary does not have; and who hears when that changes.
 *
 * The memory is shared. The thread that has a database writes it, and everybody reads it.
 */
import type { LeaseRecord } from "../../cluster/role/lease.ts"
import { logger } from "../../lib/log.ts"
import type { Pos } from "../../ltx/pos.ts"
import { Counters } from "../../store/counters.ts"
import { RecentTransactions } from "../../store/ltx/recent-transactions.ts"
import { Positions } from "../../store/positions.ts"
import { SharedFlags } from "../../store/shared-flags.ts"

const log = logger("litefs")

/** Grows with every change of the primary; 1 while the flags name it. */
export function epochOf(record: LeaseRecord | undefined): bigint {
  return BigInt(record?.epoch ?? 0) + 1n
}

export class Databases {
  readonly positions = Positions.create()
  readonly recent = RecentTransactions.create()
  readonly counters = Counters.create()
  readonly flags = SharedFlags.create()
  readonly #listeners = new Set<() => void>()
  /**
   * The epoch of the history that the databases here are on. After a change of the primary it grows when they are known
   * to be on the new one's.
   */
  #epoch = epochOf(undefined)
  /** Databases that nobody may use, with the reason: until the next start, or until they are recovered. */
  readonly refused = new Map<string, string>()
  /** Those whose reason may pass. */
  readonly retried = new Set<string>()
  #refusalCount = 0
  /** Databases that take no transaction, with the reason. It may pass at any time. */
  unmade: ReadonlyMap<string, string> = new Map()
  /** Databases that the primary has never had, or lost. They stay as they are: nothing replaces them. */
  readonly #unknown = new Set<string>()

  get epoch(): bigint {
    return this.#epoch
  }

  /** The positions of existing databases. */
  livePositions(): Map<string, Pos> {
    const positions = new Map<string, Pos>()
    for (const [name, slot] of this.positions.entries()) {
      const { pos, commit } = this.positions.read(slot)
      if (commit > 0) positions.set(name, pos)
    }
    return positions
  }

  currentPositions(): Map<string, Pos> {
    const positions = new Map<string, Pos>()
    for (const [name, slot] of this.positions.entries()) {
      positions.set(name, this.positions.read(slot).pos)
    }
    return positions
  }

  /** What is on the disk. What clients of this node commit is durable at once, though its LTX file may follow. */
  durablePositions(isCaptured: (database: string) => boolean): Map<string, Pos> {
    const positions = new Map<string, Pos>()
    for (const [name, slot] of this.positions.entries()) {
      const { pos, stored } = this.positions.read(slot)
      positions.set(name, isCaptured(name) ? pos : stored)
    }
    return positions
  }

  position(database: string): Pos | undefined {
    const slot = this.positions.find(database)
    return slot === undefined ? undefined : this.positions.read(slot).pos
  }

  hasHistory(database: string): boolean {
    return (this.position(database)?.txid ?? 0n) > 0n
  }

  reachEpoch(epoch: bigint): void {
    if (epoch <= this.#epoch) return
    this.#epoch = epoch
    this.announceChange() // reads wait for it
  }

  noteUnknown(database: string): void {
    const slot = this.positions.find(database)
    const isThere = slot !== undefined && this.positions.read(slot).commit > 0
    if (!isThere || this.#unknown.has(database)) return
    this.#unknown.add(database)
    log.warn("the primary does not have a database that is here, it stays as it is", {
      db: database,
      advice: "to bring it there, litefs export here, litefs import on the primary",
    })
  }

  /** The first reason stays, except that another one may follow on one that may pass. */
  noteRefused(database: string, problem: string, mayPass: boolean): void {
    if (this.refused.has(database) && !this.retried.has(database)) return
    if (mayPass) this.retried.add(database)
    else this.retried.delete(database)
    this.#change(() => {
      this.refused.set(database, mayPass ? `${problem}, it is tried again` : problem)
    })
  }

  /** A database that was refused can be used, or there is nothing of it. */
  noteRecovered(database: string): void {
    this.retried.delete(database)
    this.#change(() => this.refused.delete(database))
  }

  /** Grows when a database is refused, or no longer is. */
  get refusalCount(): number {
    return this.#refusalCount
  }

  #change(act: () => void): void {
    act()
    this.#refusalCount += 1
    this.announceChange()
  }

  noteUnmade(problems: [database: string, problem: string][]): void {
    if (problems.length === 0 && this.unmade.size === 0) return
    this.unmade = new Map(problems)
    this.announceChange()
  }

  announceChange(): void {
    this.flags.lowerChanged()
    for (const listener of this.#listeners) listener()
  }

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }
}
