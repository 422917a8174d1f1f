import { describe, expect, test } from "bun:test"
import { type Argument, argumentFor } from "./argued.ts"
import { differencesOf, type Report, readProgramOutput, readTclOutput } from "./report.ts"

const GOOD = "a-1.1... Ok\na-1.2... Ok\n0 errors out of 2 tests on vm Linux 64-bit little-endian\n"

describe("readTclOutput()", () => {
  test("takes a file that went well", () => {
    expect(readTclOutput(GOOD, undefined)).toEqual({ count: 2, failed: new Set() })
  })

  test("names tests with another result, and with an error", () => {
    const output =
      "a-1.1...\n! a-1.1 expected: [1]\n! a-1.1 got:      [2]\na-1.2...\nError: disk I/O error\na-1.3... Ok\n" +
      "2 errors out of 3 tests on vm\n!Failures on these tests: a-1.1 a-1.2\n"
    expect(readTclOutput(output, "exit code 1")).toEqual({
      count: 3,
      failed: new Set(["a-1.1", "a-1.2"]),
    })
  })

  test("says when it did not come to its end, and counts as far as it came", () => {
    expect(readTclOutput("a-1.1... Ok\na-1.2...\n", "SIGSEGV")).toEqual({
      count: 1,
      failed: new Set(["(ended early: SIGSEGV)"]),
    })
    const error = `/x/testfixture: invalid command name "db"\n    while executing\n"db close"\n`
    expect([...readTclOutput(`a-1.1...\n${error}`, "exit code 1").failed]).toEqual([
      '(ended early: invalid command name "db")',
    ])
  })
})

describe("readProgramOutput()", () => {
  test.each<[string, string | undefined, Report]>([
    ["Summary: 0 errors out of 81 tests\n", undefined, { count: 1, failed: new Set() }],
    [
      "2 errors out of 9 tests\n",
      "exit code 1",
      { count: 1, failed: new Set(["(2 errors)", "(ended: exit code 1)"]) },
    ],
    ["Verification Hash: 5 abc\n", undefined, { count: 1, failed: new Set(), hash: "5 abc" }],
    ["what now\n", undefined, { count: 1, failed: new Set(["(ended early: what now)"]) }],
  ])("reads %j", (output, end, report) => {
    expect(readProgramOutput(output, end)).toEqual(report)
  })
})

describe("differencesOf()", () => {
  const report = (...failed: string[]): Report => ({ count: 5, failed: new Set(failed) })

  test("finds none where both fail in the same way", () => {
    expect(differencesOf(report("a", "b"), report("b", "a"))).toEqual([])
  })

  test("finds what fails on one side", () => {
    expect(differencesOf(report("a", "b"), report("b", "c"))).toEqual([
      { name: "c", on: "mount" },
      { name: "a", on: "plain" },
    ])
  })

  test("finds tests that were not run, and other results", () => {
    expect(differencesOf(report(), { count: 4, failed: new Set() })).toEqual([
      { name: "(count)", on: "mount" },
    ])
    expect(differencesOf({ ...report(), hash: "1" }, { ...report(), hash: "2" })).toEqual([
      { name: "(hash)", on: "mount" },
    ])
  })
})

test("argumentFor() is for the tests of one file, and no others", () => {
  const argued: Argument[] = [{ tests: { "a.test": /^a-1\./ }, why: "so" }]
  const on = "mount" as const
  expect(argumentFor("a.test", { name: "a-1.2", on }, argued)?.why).toBe("so")
  expect(argumentFor("a.test", { name: "a-2.1", on }, argued)).toBeUndefined()
  expect(argumentFor("b.test", { name: "a-1.2", on }, argued)).toBeUndefined()
})
