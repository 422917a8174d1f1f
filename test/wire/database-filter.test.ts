import { describe, expect, test } from "bun:test"
import { DatabaseFilter } from "../../src/wire/database-filter.ts"
import { testRandom } from "../support/random.ts"

const random = testRandom()

describe("DatabaseFilter", () => {
  test.each<[string, string[], string[]]>([
    ["a.db", ["a.db"], ["b.db", "a.db2", "xa.db", "A.db", ""]],
    ["a.db, b.db", ["a.db", "b.db"], ["c.db"]],
    ["*", ["a.db", "x"], []],
    ["log-*.db", ["log-.db", "log-1.db", "log-a.b.db"], ["log.db", "log-1.db2", "xlog-1.db"]],
    ["*a*b", ["ab", "xaxb", "aab", "abb"], ["ba", "a", "abx"]],
    ["a**b", ["ab", "axb"], ["a", "b"]],
    ["a.b", ["a.b"], ["axb"]],
  ])("%p selects %p and not %p", (text, selected, others) => {
    const filter = DatabaseFilter.parse(text)
    for (const name of selected) expect([name, filter.matches(name)]).toEqual([name, true])
    for (const name of others) expect([name, filter.matches(name)]).toEqual([name, false])
  })

  test("matches as a regular expression would", () => {
    for (let i = 0; i < 2000; i++) {
      const text = (letters: string, size: number) =>
        Array.from({ length: size }, () => random.pick([...letters])).join("")
      const pattern = `x${text("ab*", random.below(8))}`
      const name = `x${text("ab", random.below(10))}`
      const expected = new RegExp(`^${pattern.replaceAll("*", "[^]*")}$`).test(name)
      expect([pattern, name, DatabaseFilter.of([pattern]).matches(name)]).toEqual([
        pattern,
        name,
        expected,
      ])
    }
  })

  test("takes no time for a pattern that would have a regular expression try everything", () => {
    const filter = DatabaseFilter.of([`${"*a".repeat(60)}*b`])
    expect(filter.matches("a".repeat(240))).toBe(false)
  })

  test.each(["a.db", "a.db,b*.db", "grün und blau.db,100%.db,a*"])(
    "decodes what it encodes: %p",
    (text) => {
      const filter = DatabaseFilter.parse(text)
      expect(filter.encode()).toMatch(/^[!-~]+$/)
      expect(DatabaseFilter.decode(filter.encode())).toEqual(filter)
    },
  )

  test("knows its names when it has no star, and when it is everything", () => {
    expect(DatabaseFilter.parse("a.db,b.db").names).toEqual(["a.db", "b.db"])
    expect(DatabaseFilter.parse("a.db,b*").names).toBeUndefined()
    expect(DatabaseFilter.parse("a.db,*").isAll).toBe(true)
    expect(DatabaseFilter.all.isAll).toBe(true)
    expect(DatabaseFilter.parse("a*").isAll).toBe(false)
  })

  test.each(["", ",", "a.db,", "../a.db", "a/b", ".", "..", "a.db-wal", "*-journal", ".primary*"])(
    "refuses %p",
    (text) => {
      expect(() => DatabaseFilter.parse(text)).toThrow("Cannot select databases: ")
    },
  )

  test("refuses more than 100", () => {
    expect(() => DatabaseFilter.of(Array(101).fill("a"))).toThrow("there are 101 names")
  })
})
