import { expect, test } from "bun:test"
import { problemOf, type Sample } from "../torture/trend.ts"

function samplesOf(rss: (minute: number) => number): Sample[] {
  return Array.from({ length: 60 }, (_, minute) => {
    return { files: 40, threads: 11, rss: rss(minute), heap: 60, heaps: [20, 20, 20] }
  })
}

test("what goes up and down is no growth, nor what grows at the start alone", () => {
  expect(
    problemOf(
      samplesOf((minute) => 120 + (minute % 7) * 10),
      "rss",
    ),
  ).toBeUndefined()
  expect(
    problemOf(
      samplesOf((minute) => Math.min(90 + minute * 4, 130)),
      "rss",
    ),
  ).toBeUndefined()
})

test("what grows all the time is, and so is too little to tell", () => {
  const growing = samplesOf((minute) => 100 + minute + (minute % 5) * 10)
  expect(problemOf(growing, "rss")).toMatch(
    /^rss grows: at least 1\d\d\.0, later at least 1\d\d\.0$/,
  )
  expect(problemOf(growing, "files")).toBeUndefined()
  expect(problemOf(growing.slice(0, 3), "files")).toMatch(/too few to tell/)
})
