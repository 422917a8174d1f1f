/**
 * Who has a database. One thread of the node at most writes to its files and to its log, under the clients that have
 * them open; the other one only reads. It follows from the role of the node, and from its write lock:
 *
 *                on a primary                                          on a replica
 *
 *   home         the fs thread captures          handOver ─▶ inherit   the peer thread applies
 *                what clients commit             inherit  ◀─ handOver  what the primary sends
 *                  │ lend         ▲ takeBack                             │ lend         ▲ takeBack
 *                  ▼ borrow       │ giveBack                             ▼ borrow       │ giveBack
 *   lent         the peer thread applies                               the fs thread captures, and asks
 *                what another node commits                             the primary for every commit
 *
 *   state        who writes     what has it
 *   home, lent   fs thread      a MountedDatabase with a Capture; of one that is borrowed on a ProposingLog
 *                peer thread    a ReplicaDatabase with a DatabaseApplier; the MountedDatabase has no Capture meanwhile
 *   on its way   nobody         a DatabaseHandover, in the hands of the main thread: RoleSwitch when all databases go,
 *                               DatabaseLoans when one does. Whoever cannot take it leaves it to the one it came from
 *   damaged      nobody         its files stay as they are until the next start, or until a system call that failed
 *                               succeeds (node/recovery-retries.ts)
 *
 * 1. The giver is called first, and has ended when it answers. Between the two calls clients can commit nothing.
 * 2. The peer thread's open files in the mount keep clients from taking the WAL away. They stay open until the fs
 *    thread has the database; then the peer thread lets go (PeerThread.letGo).
 * 3. All databases move with the role, and one moves with its write lock. The role moves only when nothing is lent:
 *    lent databases come back first (HaltLocks.revokeAll, Halting.endBorrowing).
 */
import type { DatabaseHandover } from "./handover.ts"

/** What each of the two threads can be told: to give and to take. The words are the same on both sides. */
export interface DatabaseOwner {
  /**
   * The role goes: gives all databases, for inherit() of the other thread. The fs thread throws "unavailable" when it is
   * to be asked again.
   */
  handOver(): readonly DatabaseHandover[]
  /**
   * The role comes: takes them. Also takes back what this thread has handed over, when the other one does not take it.
   */
  inherit(handovers: readonly DatabaseHandover[]): void
  /** Gives one database that is at home here, for borrow() of the other thread. When it fails nothing has changed. */
  lend(database: string): DatabaseHandover
  /**
   * Takes one database that is at home in the other thread. The fs thread may have a transaction for the primary first,
   * before it answers.
   */
  borrow(handover: DatabaseHandover): void
  /** Gives one database that was borrowed, for takeBack() of the other thread. */
  giveBack(database: string): DatabaseHandover
  /** Takes one database that was lent. Also when the other thread could not borrow it. */
  takeBack(handover: DatabaseHandover): void
}

export type Owner = "fs" | "peer"

/** Which thread has a database that is, or is not, lent. */
export function ownerOf(isPrimary: boolean, isLent: boolean): Owner {
  return isPrimary === isLent ? "peer" : "fs"
}

/** Which databases a thread has. */
export class Ownership {
  #isHome: boolean
  readonly #lent = new Set<string>()
  readonly #borrowed = new Set<string>()

  /** `isHome`: the node has the role in which databases are at home here. */
  constructor(isHome: boolean) {
    this.#isHome = isHome
  }

  has(database: string): boolean {
    return this.#isHome ? !this.#lent.has(database) : this.#borrowed.has(database)
  }

  handOver(): void {
    this.#change(false)
  }

  inherit(): void {
    this.#change(true)
  }

  lend(database: string): void {
    this.#lent.add(database)
  }

  borrow(database: string): void {
    this.#borrowed.add(database)
  }

  giveBack(database: string): void {
    this.#borrowed.delete(database)
  }

  takeBack(database: string): void {
    this.#lent.delete(database)
  }

  #change(isHome: boolean): void {
    this.#isHome = isHome
    this.#lent.clear()
    this.#borrowed.clear()
  }
}
