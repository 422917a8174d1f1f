import { describe, expect, test } from "bun:test"
import { spawnSync } from "node:child_process"
import { join } from "node:path"
import { cpuMsOf } from "../../scripts/benchmark/process.ts"
import { renewedPage, reportOf } from "../../scripts/benchmark/report.ts"
import {
  type DiskSample,
  type Results,
  rowsOf,
  type Sample,
  type SideName,
} from "../../scripts/benchmark/results.ts"
import { median, quantile } from "../../scripts/benchmark/statistics.ts"
import { WORKLOADS, workloadsNamed } from "../../scripts/benchmark/workloads.ts"

const INSERT = "insert-wal-full"
const VISIBLE = "visible-wal-full-sleeps"

/** One sample for each value, in rounds 0, 1, 2, … */
function rounds(side: SideName, values: readonly number[], workload = INSERT): Sample[] {
  return values.map((value, round) => ({ workload, side, round, value, clientMs: 1 }))
}

function disk(workload: string, ...times: readonly number[]): DiskSample[] {
  return times.map((fdatasyncUs, round) => ({ workload, round, fdatasyncUs }))
}

function results(samples: readonly Sample[], more: Partial<Results> = {}): Results {
  return {
    date: "2026-11-30T00:00:00.000Z",
    command: "scripts/bench --rounds 3",
    machine: {
      ...{ processor: "Some Processor", cores: 2, memoryGiB: 24, kernel: "6.18" },
      ...{ fileSystem: "ext4", node: "v20", bun: "1.4", load: 0.25 },
    },
    rounds: 3,
    samples,
    disk: [...disk(INSERT, 150, 160, 170), ...disk(VISIBLE, 180)],
    ...more,
  }
}

/** The cells of the table's line that begins with this. */
function cellsOf(report: string, first: string): string[] {
  const line = report.split("\n").find((text) => text.startsWith(`| ${first} `))
  return line?.split("|").map((cell) => cell.trim()) ?? []
}

describe("statistics", () => {
  test("median() is the middle one, or half way between two", () => {
    expect(median([9, 1, 5])).toBe(5)
    expect(median([4, 1, 3, 2])).toBe(2.5)
    expect(median([])).toBeNaN()
  })

  test("quantile() is the least that such a share does not exceed", () => {
    const hundred = Array.from({ length: 100 }, (_, index) => 100 - index)
    expect(quantile(hundred, 0.5)).toBe(50)
    expect(quantile(hundred, 0.99)).toBe(99)
    expect(quantile(hundred, 1)).toBe(100)
    expect(quantile([7], 0.01)).toBe(7)
  })
})

describe("rowsOf()", () => {
  test("a ratio is the middle one of the rounds', not that of the middles", () => {
    // The machine is four times slower in the last round, for all.
    const samples = [...rounds("ext4", [1000, 800, 200]), ...rounds("litefs", [500, 200, 100])]
    const [row] = rowsOf({ samples, disk: disk(INSERT, 150, 600, 160) })
    expect(row?.cells.ext4).toMatchObject({ value: 800, ratio: 1 })
    expect(row?.cells.litefs).toMatchObject({ value: 200, ratio: 0.5 })
    expect(row?.fdatasyncUs).toBe(160)
  })

  test("rounds are told apart by their number, not by their place", () => {
    const samples = [...rounds("litefs", [10, 90]), ...rounds("ext4", [100, 300]).toReversed()]
    expect(rowsOf({ samples, disk: [] })[0]?.cells.litefs?.ratio).toBeCloseTo(0.2)
  })

  test("a side without ext4 beside it has values, and no ratio", () => {
    const [row] = rowsOf({ samples: rounds("litefs", [5, 7, 6]), disk: [] })
    expect(row?.cells.litefs).toMatchObject({ value: 6, ratio: Number.NaN })
    expect(row?.cells.ext4).toBeUndefined()
    expect(row?.fdatasyncUs).toBeNaN()
  })

  test("costs are middles of what there is of them", () => {
    const costs = [{ requests: 3, daemonMs: 0.5 }, { requests: 5 }, { requests: 4, daemonMs: 0.7 }]
    const samples = rounds("litefs", [1, 1, 1]).map((sample, n) => ({ ...sample, ...costs[n] }))
    const cell = rowsOf({ samples, disk: [] })[0]?.cells.litefs
    expect(cell?.requests).toBe(4)
    expect(cell?.daemonMs).toBeCloseTo(0.6)
    expect(cell?.p99).toBeUndefined()
  })

  test("rows have the order of the workloads", () => {
    const samples = [...rounds("ext4", [1], VISIBLE), ...rounds("ext4", [1])]
    const names = rowsOf({ samples, disk: [] }).map(({ workload }) => workload.name)
    expect(names).toEqual([INSERT, VISIBLE])
  })
})

describe("reportOf()", () => {
  test("has rates, latencies and costs beside the disk's own time", () => {
    const visible = {
      ...rounds("litefs", [812.4], VISIBLE)[0],
      p99: 4321,
      requests: 8.71,
    } as Sample
    const report = reportOf(
      results([...rounds("ext4", [5452, 5452]), ...rounds("litefs", [1363, 1363]), visible]),
    )
    expect(cellsOf(report, INSERT).slice(2, 9)).toEqual([
      "rows/s",
      "160",
      "5,452",
      "–",
      "–",
      "1,363",
      "0.25",
    ])
    const latency = ["180", "–", "–", "–", "–", "812", "4,321", "–"]
    expect(cellsOf(report, VISIBLE).slice(2, 10)).toEqual(latency)
    expect(report).toContain("8.71")
    expect(cellsOf(report, "machine")[2]).toBe("2 × Some Processor, 24 GiB")
    expect(cellsOf(report, "fdatasync of a page, µs")[2]).toBe("150–180")
  })

  test("says why there is nothing of the peer", () => {
    const peerProblem = "Cannot mount: libfuse.so.2: cannot open shared object file"
    const report = reportOf(results(rounds("ext4", [1]), { peerProblem }))
    expect(cellsOf(report, "fuse-native")[2]).toBe(peerProblem)
  })
})

describe("renewedPage()", () => {
  const page = "# Benchmarks\n\nHow.\n\n## Results\n\nThe earlier ones.\n"

  test("replaces the results, and leaves the words before them", () => {
    const renewed = renewedPage(page, results(rounds("ext4", [77])))
    expect(renewed).toStartWith("# Benchmarks\n\nHow.\n\n## Results\n\n|")
    expect(renewed).toContain("| 77.0 |")
    expect(renewed).not.toContain("earlier")
    expect(renewedPage(renewed, results(rounds("ext4", [77])))).toBe(renewed)
  })

  test("refuses a page without a place for them", () => {
    expect(() => renewedPage("# Benchmarks\n", results([]))).toThrow("has no heading")
  })
})

describe("workloadsNamed()", () => {
  test("takes names and how they begin, and all without a word", () => {
    expect(workloadsNamed([])).toBe(WORKLOADS)
    expect(workloadsNamed(["scan", INSERT]).map(({ name }) => name)).toEqual([
      INSERT,
      "scan-cold",
      "scan-warm",
    ])
    expect(workloadsNamed(["visible-wal"]).length).toBe(6)
  })

  test("refuses a word for none", () => {
    expect(() => workloadsNamed(["scan", "insrt"])).toThrow('Cannot measure "insrt"')
  })

  test("no two have one name", () => {
    expect(new Set(WORKLOADS.map(({ name }) => name)).size).toBe(WORKLOADS.length)
  })
})

test("cpuMsOf() has what a process took, and nothing of one that has ended", () => {
  const before = process.cpuUsage()
  const measured = cpuMsOf(process.pid)
  const after = process.cpuUsage()
  expect(measured).toBeGreaterThanOrEqual((before.user + before.system) / 1000 - 20)
  expect(measured).toBeLessThanOrEqual((after.user + after.system) / 1000 + 20)
  expect(cpuMsOf(spawnSync("true").pid)).toBeNaN()
})

test.each([
  [["--only", "insrt"], 'Cannot measure "insrt"'],
  [["--rounds", "0"], "Cannot measure 0 rounds"],
  [["insert"], 'Cannot measure "insert"'],
  [["--fast"], "--fast"],
])("bench.ts %p is a usage error", (args, message) => {
  const program = join(import.meta.dirname, "../../scripts/bench.ts")
  const { status, stderr } = spawnSync(process.execPath, [program, ...args], { encoding: "utf8" })
  expect(stderr).toStartWith("ERROR: ")
  expect(stderr).toContain(message)
  expect(stderr).not.toContain("    at ")
  expect(status).toBe(2)
})
