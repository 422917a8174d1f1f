import { expect, test } from "bun:test"
import { problemOf, quartersOf, type Sample } from "../torture/trend.ts"

function samplesOf(anon: (minute: number) => number): Sample[] {
  return Array.from({ length: 60 }, (_, minute) => {
    const size = anon(minute)
    return { files: 40, threads: 11, rss: size + 40, anon: size, heap: 60, heaps: [20, 20, 20] }
  })
}

test("what goes up and down is no growth, nor what grows at the start alone", () => {
  expect(
    problemOf(
      samplesOf((minute) => 120 + (minute % 7) * 10),
      "anon",
    ),
  ).toBeUndefined()
  expect(
    problemOf(
      samplesOf((minute) => Math.min(70 + minute * 4, 130)),
      "anon",
    ),
  ).toBeUndefined()
})

test("what grows all the time is, and so is too little to tell", () => {
  const growing = samplesOf((minute) => 60 + minute / 5 + (minute % 5) * 10)
  expect(problemOf(growing, "anon")).toBe(
    "anon grows: 84.4 in the second quarter, 90.4 in the last",
  )
  expect(problemOf(growing, "files")).toBeUndefined()
  expect(problemOf(growing.slice(0, 7), "files")).toBe("files: 7 samples, too few to tell")
})

test("the table has the median of each quarter", () => {
  const quarters = quartersOf(
    samplesOf((minute) => (minute % 15 === 3 ? 1000 : minute)),
    "anon",
  )
  expect(quarters).toEqual([8, 23, 38, 53])
})
