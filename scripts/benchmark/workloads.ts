/** What is measured, in the order of the tables. */

interface Measured {
  readonly name: string
  readonly journal: "wal" | "delete" | "truncate" | "persist"
  readonly synchronous: "normal" | "full"
}

/** So many operations a second. `client.mjs` says what each kind does. */
export interface Throughput extends Measured {
  readonly kind: "insert" | "load" | "read" | "scan"
  /** What is counted. */
  readonly unit: "rows" | "reads" | "MB"
  /** Of one transaction. */
  readonly rows?: number
  /** All in one read transaction. */
  readonly isInTransaction?: boolean
  /** Nothing of the database is in memory. */
  readonly isCold?: boolean
  /** At once, each with a database of its own. */
  readonly clients?: number
  /** Of a replica, where there is one, while a client of the primary writes. */
  readonly isOfReplica?: boolean
}

/** Microseconds from the return of a commit until another process sees it. `visible.mjs` says what each reader does. */
export interface Visibility extends Measured {
  readonly kind: "visible"
  readonly unit: "µs"
  readonly reader: "spins" | "sleeps" | "listens"
}

export type Workload = Throughput | Visibility

const SYNCED = ["normal", "full"] as const
const VISIBLE = [
  ["wal", "normal"],
  ["wal", "full"],
  ["delete", "full"],
] as const

const inserts = (["wal", "delete", "truncate", "persist"] as const).flatMap((journal) =>
  SYNCED.map((synchronous): Throughput => {
    const name = `insert-${journal}-${synchronous}`
    return { name, kind: "insert", unit: "rows", journal, synchronous }
  }),
)

const transactions = VISIBLE.map(([journal, synchronous]): Throughput => {
  const name = `transaction-${journal}-${synchronous}`
  return { name, kind: "insert", unit: "rows", journal, synchronous, rows: 1000 }
})

const atOnce = SYNCED.map((synchronous): Throughput => {
  const name = `databases-wal-${synchronous}`
  return { name, kind: "insert", unit: "rows", journal: "wal", synchronous, clients: 8 }
})

const reads = { kind: "read", unit: "reads", journal: "wal", synchronous: "normal" } as const
const scans = { ...reads, kind: "scan", unit: "MB" } as const

const visible = (["spins", "sleeps", "listens"] as const).flatMap((reader) =>
  VISIBLE.map(([journal, synchronous]): Visibility => {
    const name = `visible-${journal}-${synchronous}-${reader}`
    return { name, kind: "visible", unit: "µs", journal, synchronous, reader }
  }),
)

export const WORKLOADS: readonly Workload[] = [
  ...inserts,
  ...transactions,
  { name: "load-wal", kind: "load", unit: "MB", journal: "wal", synchronous: "normal" },
  { name: "load-delete", kind: "load", unit: "MB", journal: "delete", synchronous: "full" },
  ...atOnce,
  { name: "read-wal", ...reads },
  { name: "read-delete", ...reads, journal: "delete" },
  { name: "read-wal-transaction", ...reads, isInTransaction: true },
  { name: "read-wal-replica", ...reads, isOfReplica: true },
  { name: "scan-cold", ...scans, isCold: true },
  { name: "scan-warm", ...scans },
  ...visible,
]

/** Those whose names are, or begin with, one of the words; all without a word. A RangeError names a word for none. */
export function workloadsNamed(words: readonly string[]): readonly Workload[] {
  const isNamed = ({ name }: Workload, word: string) => name === word || name.startsWith(`${word}-`)
  for (const word of words) {
    if (WORKLOADS.some((workload) => isNamed(workload, word))) continue
    const known = WORKLOADS.map(({ name }) => name).join(", ")
    throw new RangeError(`Cannot measure "${word}": the workloads are ${known}, or how these begin`)
  }
  if (words.length === 0) return WORKLOADS
  return WORKLOADS.filter((workload) => words.some((word) => isNamed(workload, word)))
}
