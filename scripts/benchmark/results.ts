/**
 * What a run has measured, as `--json` writes it, and the rows that come of it.
 *
 * A ratio is that of one round, in which the sides took turns; the row has the middle one of all rounds. That is not the
 * ratio of the middle values: a machine that gets slower from round to round leaves it alone.
 */
import { median } from "./statistics.ts"
import { WORKLOADS, type Workload } from "./workloads.ts"

export const SIDES = ["ext4", "fuse-native", "litefs"] as const
export type SideName = (typeof SIDES)[number]

/** Of one workload on one side, in one round or in the middle of all. */
export interface Figures {
  /** Operations a second; of visibility microseconds, the middle of all commits. */
  readonly value: number
  /** Microseconds. */
  readonly p99?: number | undefined
  /** CPU time for an operation: of the clients (of visibility, of its reader), and of the daemons. */
  readonly clientMs: number
  readonly daemonMs?: number | undefined
  /** Of the kernel to the daemon, for an operation. */
  readonly requests?: number | undefined
}

export interface Sample extends Figures {
  readonly workload: string
  readonly side: SideName
  readonly round: number
}

/** What the disk itself took to sync a page, just before. */
export interface DiskSample {
  readonly workload: string
  readonly round: number
  readonly fdatasyncUs: number
}

export interface Machine {
  readonly processor: string
  readonly cores: number
  readonly memoryGiB: number
  readonly kernel: string
  readonly fileSystem: string
  readonly node: string
  readonly bun: string
  /** Processes that wanted a core in the minute before. */
  readonly load: number
}

export interface Results {
  /** ISO 8601. */
  readonly date: string
  readonly command: string
  readonly machine: Machine
  readonly rounds: number
  /** Why there is nothing of the peer. */
  readonly peerProblem?: string | undefined
  readonly samples: readonly Sample[]
  readonly disk: readonly DiskSample[]
}

export interface Cell extends Figures {
  /** To ext4. */
  readonly ratio: number
}

export interface Row {
  readonly workload: Workload
  readonly fdatasyncUs: number
  readonly cells: Partial<Record<SideName, Cell>>
}

/** One for each workload that was measured. */
export function rowsOf({ samples, disk }: Pick<Results, "samples" | "disk">): Row[] {
  return WORKLOADS.flatMap((workload) => {
    const own = samples.filter((sample) => sample.workload === workload.name)
    if (own.length === 0) return []
    const syncs = disk.filter((sample) => sample.workload === workload.name)
    const cells = SIDES.flatMap((side) => {
      const ofSide = own.filter((sample) => sample.side === side)
      return ofSide.length === 0 ? [] : [[side, cellOf(ofSide, own)] as const]
    })
    const fdatasyncUs = median(syncs.map((sample) => sample.fdatasyncUs))
    return [{ workload, fdatasyncUs, cells: Object.fromEntries(cells) }]
  })
}

function cellOf(samples: readonly Sample[], all: readonly Sample[]): Cell {
  const ratios = samples.flatMap(({ round, value }) => {
    const base = all.find((sample) => sample.side === "ext4" && sample.round === round)
    return base === undefined ? [] : [value / base.value]
  })
  const middle = (key: keyof Figures) => {
    const numbers = samples.flatMap((sample) => sample[key] ?? [])
    return numbers.length === 0 ? undefined : median(numbers)
  }
  return {
    value: middle("value") ?? Number.NaN,
    p99: middle("p99"),
    clientMs: middle("clientMs") ?? Number.NaN,
    daemonMs: middle("daemonMs"),
    requests: middle("requests"),
    ratio: median(ratios),
  }
}
